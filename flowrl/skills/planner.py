"""From facts, operators and a goal to an ordered list of ``(skill, n)``. Pure Python, deterministic,
bounded.

1. An optimistic exploration (``plan_reach``) proves many a goal impossible at once and drops the skills
   that can never run.
2. A quick search finds a plan for most goals within a few hundred states.
3. A search for the shortest plan improves on it, or proves that nothing shorter exists, within a bound.
4. When neither found one, a thorough search goes on, within a larger bound.
5. Steps and repeats that are not needed are cut.

A search that visits everything and finds nothing proves that there is no plan. One that reaches its bound
proves nothing and says so (:class:`PlanningGaveUp`). Prove every plan with ``simulator.prove`` before
use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flowrl.skills.facts import Vocabulary
from flowrl.skills.operator import Operator
from flowrl.skills.plan import Goal, Plan, PlanningGaveUp, PlanStep
from flowrl.skills.plan_estimate import Estimator
from flowrl.skills.plan_explain import Explainer
from flowrl.skills.plan_input import check_input
from flowrl.skills.plan_problem import LARGEST_FREE_REPEAT, Problem, compile_problem
from flowrl.skills.plan_reach import Reach, explore
from flowrl.skills.plan_search import Effort, Run, search
from flowrl.skills.plan_shorten import shorten

QUICK_STATES = 1_500
"""How many states the quick search looks at."""

IMPROVING_STATES = 3_000
"""How many states the search for a shorter plan looks at when there is a plan."""

GRANTED_STATES = 300
"""How many states are looked at to see whether a plan fails for lack of one fact, when there is no plan."""

MAX_STATES = 60_000
"""How many states each of the two complete searches looks at when there is none: about ten seconds each."""


def plan(
    facts: Mapping[str, int],
    operators: Mapping[str, Operator],
    goal: Goal,
    vocabulary: Vocabulary,
    *,
    max_states: int = MAX_STATES,
) -> Plan:
    """Plans from ``facts`` to ``goal``.

    Args:
        facts: the facts at the start; what is not named is 0 (a PLACE fact too).
        operators: the skills that may be used, by name. Their order decides between equals.
        goal: a skill to make possible (and run), or facts to make true at the same time.
        vocabulary: kinds and capacities of all facts that occur.
        max_states: bound on each complete search; beyond it planning gives up.

    Returns:
        A plan with few steps: the fewest possible whenever the search for it stays within its bound, which it
        does for problems of the size of Craftax-Classic.

    Raises:
        Impossible: there is no plan, and why.
        PlanningGaveUp: the bound was reached first.
        UserError: an unknown skill or fact, a value out of range.
    """
    check_input(facts, operators, goal, vocabulary)
    problem = compile_problem(facts, operators, goal, vocabulary)
    reach = explore(problem)
    pruned, estimator = _able(problem, reach)
    if not reach.possible:
        raise Explainer(problem, reach.states, possible=[action.name for action in pruned.actions]).explain()
    runs = _find(problem, pruned, estimator, max_states)
    steps = [PlanStep(pruned.actions[index].name, n) for index, n in runs]
    if problem.last is not None:
        steps.append(PlanStep(*problem.last))
    return Plan(tuple(steps), goal)


def _able(problem: Problem, reach: Reach) -> tuple[Problem, Estimator]:
    """The problem with only those skills that are possible at all, and the estimates for it."""
    able = [(a, wave) for a, wave in zip(problem.actions, reach.waves, strict=True) if wave is not None]
    pruned = replace(problem, actions=tuple(a for a, _ in able))
    return pruned, Estimator(pruned, [wave for _, wave in able])


def _find(problem: Problem, pruned: Problem, estimator: Estimator, max_states: int) -> tuple[Run, ...]:
    for effort in (Effort.QUICK, Effort.THOROUGH):
        runs = search(pruned, estimator, effort, QUICK_STATES).runs
        if runs is not None:
            found = shorten(pruned, runs)
            better = search(pruned, estimator, Effort.SHORTEST, IMPROVING_STATES, shorter_than=len(found))
            return found if better.runs is None else shorten(pruned, better.runs)
    for effort in (Effort.SHORTEST, Effort.THOROUGH):
        outcome = search(pruned, estimator, effort, max_states)
        if outcome.runs is not None:
            return shorten(pruned, outcome.runs)
        if outcome.exhausted:
            short_of = _short_of(problem)
            raise Explainer(
                problem, outcome.states, ruled_out_by=outcome.lacking, short_of=short_of
            ).explain()
    raise PlanningGaveUp(
        f"No plan was found, and no proof that there is none, within {max_states} states. "
        "Ask for less at once, or for a goal on the way."
    )


def _short_of(problem: Problem) -> int | None:
    """The first fact that is used up, that nothing gains, and of which a full bag would do."""
    gained = {gain.fact for action in problem.actions for gain in action.adds}
    used = dict.fromkeys(use.fact for action in (*problem.actions, problem.goal) for use in action.consumes)
    for fact in used:
        if fact in gained:
            continue
        capacity = problem.capacities[fact]
        plenty = problem.start[fact] + LARGEST_FREE_REPEAT if capacity is None else capacity
        granted = replace(problem, start=(*problem.start[:fact], plenty, *problem.start[fact + 1 :]))
        pruned, estimator = _able(granted, explore(granted))
        if search(pruned, estimator, Effort.QUICK, GRANTED_STATES).runs is not None:
            return fact
    return None
