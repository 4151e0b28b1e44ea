"""Runs plans on facts, step by step, and proves that they reach their goal.

Written from the meaning of the fact kinds alone. It shares no code with the planner, so that a mistake there
cannot hide here; the planner may not be imported from this module, nor this module from the planner.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowrl.errors import FlowrlError, nearest
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import FactGoal, Goal, Plan, PlanStep


class PlanDisproved(FlowrlError):
    """A plan does not do what it claims: our bug, or a plan made for other facts or operators.

    Args:
        step: index of the step that fails; ``len(plan.steps)`` when it is the goal that does not hold.
        reason: what is wrong, with the values.
    """

    exit_code = 1

    def __init__(self, step: int, reason: str) -> None:
        self.step = step
        self.reason = reason
        super().__init__(f"plan disproved at step {step}: {reason}")


def prove(
    plan: Plan,
    facts: Mapping[str, int],
    operators: Mapping[str, Operator],
    goal: Goal,
    vocabulary: Vocabulary,
) -> None:
    """Runs ``plan`` from ``facts`` and checks every step and the goal.

    Args:
        plan: what is to be proved.
        facts: the facts at the start; what is not named is 0.
        operators: the skills by name.
        goal: what must hold at the end. A :class:`SkillGoal` with ``include`` asks that the last step runs
            just this skill, with its n.
        vocabulary: the kinds and capacities of all facts.

    Raises:
        PlanDisproved: naming the step and what it lacks.
    """
    trail = facts_along(plan, facts, operators, vocabulary)
    end, final = len(plan.steps), trail[-1]
    if isinstance(goal, FactGoal):
        for name, wanted in goal.facts.items():
            count: Count = wanted if isinstance(wanted, tuple) else Linear(0, wanted)
            _demand(end, "the goal", name, count, 1, final, vocabulary)
        return
    if goal.include:
        if not plan.steps or plan.steps[-1] != PlanStep(goal.skill, goal.n):
            raise PlanDisproved(end, f"it does not end with the goal, {goal.skill!r} with n = {goal.n}")
        return
    facts_after(PlanStep(goal.skill, goal.n), final, operators, vocabulary, index=end)


def facts_along(
    plan: Plan, facts: Mapping[str, int], operators: Mapping[str, Operator], vocabulary: Vocabulary
) -> tuple[dict[str, int], ...]:
    """The facts before the first step and after each one: ``len(plan.steps) + 1`` mappings.

    Every fact of the vocabulary is in each of them. Raises :class:`PlanDisproved` like :func:`prove`.
    """
    for name in facts:
        if name not in vocabulary:
            raise PlanDisproved(0, f"the start names the unknown fact {name!r}. {nearest(name, vocabulary)}")
    trail = [{name: facts.get(name, 0) for name in vocabulary}]
    for index, step in enumerate(plan.steps):
        trail.append(facts_after(step, trail[-1], operators, vocabulary, index=index))
    return tuple(trail)


def facts_after(
    step: PlanStep,
    facts: Mapping[str, int],
    operators: Mapping[str, Operator],
    vocabulary: Vocabulary,
    *,
    index: int = 0,
) -> dict[str, int]:
    """The facts after one step. ``index`` is the step's place in its plan, for the error message.

    Raises:
        PlanDisproved: the skill is unknown, its n is not one it can have, or it lacks something.
    """
    if step.skill not in operators:
        raise PlanDisproved(index, f"unknown skill {step.skill!r}. {nearest(step.skill, operators)}")
    operator = operators[step.skill]
    who = f"{step.skill!r} with n = {step.n}"
    if step.n < 1 or (step.n > 1 and not operator.scales):
        raise PlanDisproved(index, f"{who}: n must be {'at least 1' if operator.scales else '1'}")
    for name, count in operator.requires.items():
        _demand(index, who, name, count, step.n, facts, vocabulary)
    for name, used in operator.consumes.items():
        _demand(index, who, name, used, step.n, facts, vocabulary)

    after = {name: facts.get(name, 0) for name in vocabulary}
    for name, used in operator.consumes.items():
        after[name] -= used.at(step.n)
    moved = any(vocabulary[name].kind is FactKind.PLACE for name in operator.gains)
    for fact in vocabulary.of_kind(FactKind.REACH):
        if moved or fact.name not in operator.requires:
            after[fact.name] = 0
    for name, count in operator.gains.items():
        after[name] = _gained(index, who, name, count, step.n, after[name], vocabulary)
    return after


def _gained(index: int, who: str, name: str, count: Count, n: int, value: int, vocabulary: Vocabulary) -> int:
    """What a gain makes of ``value``."""
    kind, capacity = vocabulary[name].kind, vocabulary[name].capacity
    if isinstance(count, tuple):
        return count[0]
    gain = count.at(n)
    if kind in (FactKind.COUNT, FactKind.VITAL):
        # What there is no room for is lost; what there is already is not.
        return value + gain if capacity is None else max(value, min(capacity, value + gain))
    if kind in (FactKind.FLAG, FactKind.REACH):
        return 1
    if capacity is not None and gain > capacity:
        raise PlanDisproved(
            index, f"{who} would make {name!r} {gain}, beyond its highest level of {capacity}"
        )
    return max(value, gain)


def _demand(
    index: int, who: str, name: str, count: Count, n: int, facts: Mapping[str, int], vocabulary: Vocabulary
) -> None:
    """Checks one requirement against the facts."""
    if name not in vocabulary:
        raise PlanDisproved(index, f"{who} names the unknown fact {name!r}. {nearest(name, vocabulary)}")
    value = facts.get(name, 0)
    if vocabulary[name].kind is FactKind.PLACE:
        allowed = count if isinstance(count, tuple) else (count.at(n),)
        if value not in allowed:
            raise PlanDisproved(
                index, f"{who} needs {name!r} to be one of {list(allowed)}, but it is {value}"
            )
        return
    if isinstance(count, tuple):
        raise PlanDisproved(index, f"{who} gives {name!r} a list of values, but it is not a place")
    if value < count.at(n):
        raise PlanDisproved(index, f"{who} needs {count.at(n)} of {name!r}, but there is {value}")
