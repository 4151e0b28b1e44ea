"""Makes a found plan smaller: endless repeats get an end; steps and repeats that are not needed go."""

from __future__ import annotations

from collections.abc import Mapping

from flowrl.skills.plan_problem import ENDLESS, Action, Problem, State
from flowrl.skills.plan_search import Run

_ROUNDS = 4
"""Passes over the plan at most; two are usual."""


def shorten(problem: Problem, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """A plan with no more steps and no larger n that reaches the goal like the given one; each n is an int.

    The last steps are cut first, so that what a later trip fetched may be fetched on an earlier one.
    """
    runs = _with_an_end(problem, runs)
    for _ in range(_ROUNDS):
        smaller = _one_pass(problem, _gathered_early(problem, runs))
        if smaller == runs:
            break
        runs = smaller
    return runs


def _with_an_end(problem: Problem, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """The runs with, for ENDLESS, a number that is enough for all that follows, whatever was there before."""
    wanted = _wanted_before(problem.goal, problem.goal.least, {})
    settled: list[Run] = []
    for index, n in reversed(runs):
        action = problem.actions[index]
        if n == ENDLESS:
            # Also what only fills up: it was filled by as many repeats as it takes.
            grows = (gain for gain in action.gains() if gain.slope)
            n = max([1, *(gain.least_for(wanted.get(gain.fact, 0)) for gain in grows)])
        wanted = _wanted_before(action, n, wanted)
        settled.append((index, n))
    return tuple(reversed(settled))


def _wanted_before(action: Action, n: float, after: Mapping[int, float]) -> dict[int, float]:
    """How much of everything there must be before a run, given how much there must be after it."""
    wanted = dict(after)
    for gain in action.adds:
        wanted[gain.fact] = max(0, wanted.get(gain.fact, 0) - gain.at(n))
    for gain in action.raises:
        if gain.at(n) >= wanted.get(gain.fact, 0):
            wanted[gain.fact] = 0
    for used in action.consumes:
        wanted[used.fact] = wanted.get(used.fact, 0) + used.at(n)
    for need in action.at_least:
        wanted[need.fact] = max(wanted.get(need.fact, 0), need.at(n))
    return wanted


def _gathered_early(problem: Problem, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """Joins each step with a later one of the same skill where one run can do the work of both."""
    index = 0
    while index < len(runs):
        action, n = runs[index]
        later = next((i for i in range(index + 1, len(runs)) if runs[i][0] == action), None)
        joined = None
        if later is not None and n + runs[later][1] <= problem.actions[action].most:
            joined = (
                *runs[:index],
                (action, n + runs[later][1]),
                *runs[index + 1 : later],
                *runs[later + 1 :],
            )
        if joined is not None and _works(problem, problem.start, joined):
            runs = joined
        else:
            index += 1
    return runs


def _one_pass(problem: Problem, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    before = [problem.start]
    for run in runs:
        before.append(_must(_after(problem, before[-1], run)))
    for index in range(len(runs) - 1, -1, -1):
        rest = runs[index + 1 :]
        if _works(problem, before[index], rest):
            runs = (*runs[:index], *rest)
            continue
        action, n = runs[index]
        low: float = 1
        while low < n:
            middle = (low + n) // 2
            if _works(problem, before[index], ((action, middle), *rest)):
                n = middle
            else:
                low = middle + 1
        runs = (*runs[:index], (action, n), *rest)
    return runs


def _works(problem: Problem, state: State, runs: tuple[Run, ...]) -> bool:
    for run in runs:
        after = _after(problem, state, run)
        if after is None:
            return False
        state = after
    return problem.reached(state)


def _after(problem: Problem, state: State, run: Run) -> State | None:
    action = problem.actions[run[0]]
    return action.after(state, run[1]) if action.affordable(state, run[1]) else None


def _must(state: State | None) -> State:
    if state is None:
        raise AssertionError("a found plan does not run: a bug in the planner")
    return state
