"""What a graph is played for: targets, each with a proved plan, their order, and which go together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from flowrl.errors import UserError, nearest
from flowrl.pipeline.what_helps import gains_one_of
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.plan import FactGoal, Goal, Impossible, Plan, PlanningGaveUp, PlanStep, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import prove
from flowrl.skills.teleo import Bounds, Condition
from flowrl.worlds.base import World

ACHIEVEMENT = "achievement:"


@dataclass(frozen=True)
class Target:
    """Something to pursue.

    Attributes:
        name: a fact or a skill; of several facts, all of them.
        goal: it, for the planner.
        condition: it, as what must hold.
        plan: proved, from a fresh world.
    """

    name: str
    goal: Goal
    condition: Condition
    plan: Plan

    @property
    def last(self) -> str:
        """The skill that its plan ends with."""
        return self.plan.steps[-1].skill


def target_of(name: str, graph: SkillGraph, world: World) -> Target:
    """A skill of the graph or a fact as a target.

    Raises:
        UserError: there is neither.
        Impossible: no plan leads to it.
    """
    if name in graph.names:
        gains = graph.node(name).operator.gains
        condition = {
            fact: Bounds(gain.at(1)) if isinstance(gain, Linear) else Bounds(gain[0], gain[0])
            for fact, gain in gains.items()
        }
        goal = SkillGoal(name, include=True)
        return Target(name, goal, condition, _proved(goal, graph, world))
    if name not in world.vocabulary:
        raise UserError(
            f"--target {name!r} is no skill and no fact. {nearest(name, [*graph.names, *world.vocabulary])}"
        )
    return _facts_target([name], graph, world)


def achievements(graph: SkillGraph) -> list[str]:
    """The achievements that accepted skills gain.

    Raises:
        UserError: there is none.
    """
    gained = [fact for node in graph.nodes for fact in node.operator.gains if fact.startswith(ACHIEVEMENT)]
    if not gained:
        raise UserError(
            "no accepted skill gains an achievement, so it is not known what to play for. Name it with "
            "flowrl evaluate --target."
        )
    return list(dict.fromkeys(gained))


def in_order(
    targets: Sequence[Target],
    operators: Mapping[str, Operator],
    by_itself: Set[str],
    helps: Set[str],
    env_steps: Callable[[PlanStep], float],
    world: World,
) -> list[Target]:
    """What comes with a tool that helps first, then what takes few env steps; rivals next to each other.

    Of rivals the one that helps goes first, then what others wait for: the first iron is for the pickaxe that
    diamonds need, not for a sword that nothing needs, unless fights have shown what that is worth.

    Args:
        operators: of all skills that occur in plans.
        by_itself: facts that are gained by what is done anyway; they come last.
        helps: tools that surely make fights cheaper (:mod:`flowrl.pipeline.what_helps`).
        env_steps: what a step is expected to take.
    """

    def steps_of(target: Target) -> float:
        return sum(map(env_steps, target.plan.steps))

    def helped(target: Target) -> bool:
        return gains_one_of(operators[target.last], helps, world)

    def key(target: Target) -> tuple[bool, bool, float, bool, int, float]:
        group = [other for other in targets if other is target or rivals(target, other, operators)]
        waiting = sum(
            other is not target and any(step.skill == target.last for step in other.plan.steps)
            for other in targets
        )
        return (
            target.name in by_itself,
            not any(map(helped, group)),
            min(map(steps_of, group)),
            not helped(target),
            -waiting,
            steps_of(target),
        )

    return sorted(targets, key=key)


def rivals(one: Target, other: Target, operators: Mapping[str, Operator]) -> bool:
    """Whether two plans part at the last step only, in which they use up the same thing."""
    return one.plan.steps[:-1] == other.plan.steps[:-1] and not _used_up(one, operators).isdisjoint(
        _used_up(other, operators)
    )


def with_rivals_together(
    targets: Sequence[Target], operators: Mapping[str, Operator], graph: SkillGraph, world: World
) -> list[Target]:
    """``targets``, before the first of some rivals all of them as one, where that costs no more than repeats.

    So a player gathers once for the pickaxe and the sword that are made at the same table. Where their common
    plan has more steps than that, something has to be searched for once more, and the first waits for it.

    Args:
        targets: in order; achievements are joined, for those last.
        graph: whose skills may be used.
    """
    joined: dict[str, Target | None] = {}
    achieved = sorted(
        (target for target in targets if target.name.startswith(ACHIEVEMENT)), key=lambda one: one.name
    )
    for target in achieved:
        group = {target.last: target}
        for other in achieved:
            if rivals(target, other, operators):
                group.setdefault(other.last, other)
        if len(group) == 1 or target.last in joined:
            continue
        joined |= dict.fromkeys(group)
        with contextlib.suppress(Impossible, PlanningGaveUp):
            together = _facts_target([one.name for one in group.values()], graph, world)
            if len(together.plan.steps) == len(target.plan.steps) + len(group) - 1:
                joined |= dict.fromkeys(group, together)
    ordered: list[Target] = []
    for target in targets:
        company = joined.get(target.last)
        if company is not None and company not in ordered:
            ordered.append(company)
        ordered.append(target)
    return ordered


def _facts_target(names: Sequence[str], graph: SkillGraph, world: World) -> Target:
    goal = FactGoal(dict.fromkeys(names, 1))
    name = " and ".join([names[0], *(other.removeprefix(ACHIEVEMENT) for other in names[1:])])
    return Target(name, goal, {fact: Bounds(1) for fact in names}, _proved(goal, graph, world))


def _proved(goal: Goal, graph: SkillGraph, world: World) -> Plan:
    facts, vocabulary = world.initial_facts, world.vocabulary
    found = plan(facts, graph.operators, goal, vocabulary)
    prove(found, facts, graph.operators, goal, vocabulary)
    return found


def _used_up(target: Target, operators: Mapping[str, Operator]) -> Set[str]:
    return operators[target.last].consumes.keys()
