"""From facts, operators and a goal to an ordered list of ``(skill, n)``. Pure Python, deterministic,
bounded.

1. An optimistic exploration (``plan_reach``) proves many a goal impossible at once and drops the skills
   that can never run.
2. A quick search finds a plan for most goals within a few hundred states.
3. A search for the shortest plan improves on it, or proves that nothing shorter exists, within a bound.
4. When neither found one, complete searches go on, within a larger bound.
5. Steps and repeats that are not needed are cut.

A search that visits everything and finds nothing proves that there is no plan. One that reaches its bound
proves nothing and says so (:class:`PlanningGaveUp`), and so does one for a plan of more than
``plan_search.LONGEST`` steps. Prove every plan with ``simulator.prove`` before use.
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
from flowrl.skills.plan_problem import ENDLESS, Problem, compile_problem
from flowrl.skills.plan_reach import Reach, explore
from flowrl.skills.plan_search import LONGEST, Effort, Run, search
from flowrl.skills.plan_shorten import shorten

QUICK_STATES = 1_500
"""How many states the quick search looks at."""

IMPROVING_STATES = 3_000
"""How many states the search for a shorter plan looks at when there is a plan."""

GRANTED_STATES = 300
"""How many states are looked at to see whether a plan fails for lack of one fact, when there is no plan."""

MAX_STATES = 10_000
"""How many states each of the last two searches looks at: a few seconds each. Random problems of forty skills
(``tests/skills/random_problems.py``), 800 of them, took 501 at most."""


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
        max_states: bound on each search; beyond it planning gives up.

    Returns:
        A plan with few steps: the fewest possible whenever the search for it stays within its bound, which it
        does for problems of the size of Craftax-Classic.

    Raises:
        Impossible: there is no plan, and why.
        PlanningGaveUp: a bound was reached first; the message says which.
        UserError: an unknown skill or fact, a value out of range.
    """
    check_input(facts, operators, goal, vocabulary)
    problem = compile_problem(facts, operators, goal, vocabulary)
    reach = explore(problem)
    pruned, estimator = _able(problem, reach)
    if not reach.possible:
        raise Explainer(problem, reach.states, possible=[action.name for action in pruned.actions]).explain()
    runs = _find(problem, pruned, estimator, max_states)
    steps = [PlanStep(pruned.actions[index].name, int(n)) for index, n in runs]
    if problem.last is not None:
        steps.append(PlanStep(*problem.last))
    return Plan(tuple(steps), goal)


def _able(problem: Problem, reach: Reach) -> tuple[Problem, Estimator]:
    """The problem with only those skills that are possible at all, and the estimates for it."""
    able = [(a, wave) for a, wave in zip(problem.actions, reach.waves, strict=True) if wave is not None]
    pruned = replace(problem, actions=tuple(a for a, _ in able))
    return pruned, Estimator(pruned, [wave for _, wave in able])


def _find(problem: Problem, pruned: Problem, estimator: Estimator, max_states: int) -> tuple[Run, ...]:
    at_least = estimator.estimate(pruned.start, optimistic=True).steps
    by_loops = False
    for effort, states in (
        (Effort.QUICK, QUICK_STATES),
        (Effort.SHORTEST, QUICK_STATES),
        (Effort.THOROUGH, QUICK_STATES),
        (Effort.SHORTEST, max_states),
        (Effort.THOROUGH, max_states),
    ):
        # Loops prove more. Once it is known that they lead to the goal, only a plan without them is of use.
        loops = effort is Effort.SHORTEST and not by_loops
        if at_least > LONGEST and not loops:
            continue
        outcome = search(pruned, estimator, effort, min(states, max_states), loops=loops)
        if outcome.runs is not None:
            found = shorten(pruned, outcome.runs)
            return found if effort is Effort.SHORTEST else _improved(pruned, estimator, found)
        if outcome.exhausted:
            short_of = _short_of(problem)
            raise Explainer(
                problem, outcome.states, ruled_out_by=outcome.lacking, short_of=short_of
            ).explain()
        by_loops = by_loops or outcome.by_loops
    raise _gave_up(at_least, by_loops, max_states)


def _improved(pruned: Problem, estimator: Estimator, found: tuple[Run, ...]) -> tuple[Run, ...]:
    """A plan with fewer steps, if a search of some length finds one; else the given one."""
    better = search(pruned, estimator, Effort.SHORTEST, IMPROVING_STATES, shorter_than=len(found)).runs
    return found if better is None else shorten(pruned, better)


def _gave_up(at_least: int, by_loops: bool, max_states: int) -> PlanningGaveUp:
    """What is known when nothing was found and nothing proved."""
    if at_least > LONGEST:
        return PlanningGaveUp(
            f"Planning gave up: every plan takes at least {at_least} steps, and none of more than {LONGEST} "
            "is looked for. Ask for less at once, or for a skill that gives more of it in one run."
        )
    known = "There is a plan, but it repeats some steps very often, and it was not found"
    unknown = "No plan was found, and no proof that there is none,"
    return PlanningGaveUp(
        f"Planning gave up: {known if by_loops else unknown} within {max_states} states. "
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
        plenty = ENDLESS if capacity is None else capacity
        granted = replace(problem, start=(*problem.start[:fact], plenty, *problem.start[fact + 1 :]))
        pruned, estimator = _able(granted, explore(granted))
        if search(pruned, estimator, Effort.QUICK, GRANTED_STATES).runs is not None:
            return fact
    return None
