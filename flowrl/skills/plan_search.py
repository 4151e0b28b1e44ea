"""Best-first search through states, bounded, with nothing visited twice.

Three searches are made of it. The *quick* one follows only what the estimate asks for and finds plans for
games in milliseconds, but may miss one. The *shortest* one (A*) tries everything and finds the least
number of steps. The *thorough* one tries everything too, but in the order of the estimate, whatever the
number of steps.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from flowrl.skills.plan_dominance import Dominance
from flowrl.skills.plan_estimate import Estimator
from flowrl.skills.plan_problem import Action, Problem, State

Run = tuple[int, int]
"""``(index of the action, n)``."""


class Effort(Enum):
    """Which of the three searches."""

    QUICK = "quick"
    SHORTEST = "shortest"
    THOROUGH = "thorough"


@dataclass
class Outcome:
    """What a search came to.

    Attributes:
        runs: the steps, or None when none were found.
        exhausted: every state was visited; without runs, that proves (for a search that tries everything)
            that there are none.
        states: the states that were looked at, in order, the start first.
        lacking: the fact that ruled out the first state that was ruled out, when one was: more of it is
            needed from there than is there, and nothing gains it.
    """

    runs: tuple[Run, ...] | None = None
    exhausted: bool = False
    states: list[State] = field(default_factory=list)
    lacking: int | None = None


def search(
    problem: Problem, estimator: Estimator, effort: Effort, max_states: int, shorter_than: int | None = None
) -> Outcome:
    """Searches from the start to the goal.

    Args:
        problem: with only those actions that are possible at all.
        estimator: made for the same problem.
        effort: which search.
        max_states: how many states may be looked at: the bound on time and memory.
        shorter_than: only plans of fewer steps than this are of interest (SHORTEST only).
    """
    outcome = Outcome()
    dominance = Dominance(problem)
    dominance.adds_nothing(problem.start, 0)
    outcome.states.append(problem.start)
    came_by: list[tuple[int, Run]] = [(-1, (-1, 0))]
    depths = [0]
    waiting: list[tuple[int, int, int]] = []
    shortest = effort is Effort.SHORTEST

    def rank(number: int) -> None:
        """Puts a state in line, unless the goal is out of its reach or too far."""
        estimate = estimator.estimate(outcome.states[number], optimistic=shortest)
        depth = depths[number]
        if shortest:
            if estimate.lacking is not None:
                outcome.lacking = estimate.lacking if outcome.lacking is None else outcome.lacking
                return
            if shorter_than is not None and depth + estimate.steps >= shorter_than:
                return
            heapq.heappush(waiting, (depth + estimate.steps, -depth, number))
        else:
            heapq.heappush(waiting, (estimate.steps, depth, number))

    rank(0)
    while waiting:
        number = heapq.heappop(waiting)[2]
        state = outcome.states[number]
        if problem.reached(state):
            outcome.runs = _path(came_by, number)
            return outcome
        for run, after in _continuations(problem, estimator, dominance, effort, state):
            if dominance.adds_nothing(after, depths[number] + 1 if shortest else 0):
                continue
            if len(outcome.states) >= max_states:
                return outcome
            outcome.states.append(after)
            came_by.append((number, run))
            depths.append(depths[number] + 1)
            rank(len(outcome.states) - 1)
    outcome.exhausted = True
    return outcome


def _path(came_by: list[tuple[int, Run]], number: int) -> tuple[Run, ...]:
    runs: list[Run] = []
    while number:
        number, run = came_by[number]
        runs.append(run)
    return tuple(reversed(runs))


def _continuations(
    problem: Problem, estimator: Estimator, dominance: Dominance, effort: Effort, state: State
) -> Iterator[tuple[Run, State]]:
    """The steps worth trying in a state."""
    if effort is Effort.QUICK:
        for index, repeats in estimator.estimate(state, optimistic=False).runs.items():
            action = problem.actions[index]
            most = _most_at_once(action, state)
            if most is None:
                continue
            for n in dict.fromkeys((min(repeats, most[0]), most[0])):
                after = action.after(state, n)
                if after is not None:
                    yield (index, n), after
        return
    for index, action in enumerate(problem.actions):
        most = _most_at_once(action, state) if len(action.repeats) > 1 else None
        if most is not None and dominance.fills_up(action, most[1]):
            yield (index, most[0]), most[1]
            continue
        for n, after in action.runs(state):
            yield (index, n), after


def _most_at_once(action: Action, state: State) -> tuple[int, State] | None:
    """The largest n that is possible, taking it that whatever is possible is so for every smaller n too.

    (It is not for a skill that uses up more of a fact than it gains of it; n is then possible, not largest.)
    """
    best: tuple[int, State] | None = None
    low, high = action.repeats[0], action.repeats[-1]
    while low <= high:
        middle = (low + high) // 2
        after = action.after(state, middle) if action.affordable(state, middle) else None
        if after is None:
            high = middle - 1
        else:
            best, low = (middle, after), middle + 1
    return best
