"""Best-first search through states, bounded, with nothing visited twice.

Three searches are made of it. The *quick* one follows only what the estimate asks for and finds plans for
games in milliseconds, but may miss one. The *shortest* one (A*) tries everything and finds the least
number of steps. The *thorough* one goes in the order of the estimate, whatever the number of steps.

Where amounts have no capacity there are states without end. To see nevertheless that there is no plan, a
search can take *loops*: what steps that lead back to where they began have made more of, they can make any
amount of (Karp and Miller's acceleration; it is exact, because more of such a fact never hurts). A goal that
is reached that way can be reached, but the plan would repeat the loop very often, so none is made of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from flowrl.skills.plan_dominance import Dominance
from flowrl.skills.plan_estimate import Estimator
from flowrl.skills.plan_problem import ENDLESS, Action, Problem, State

Run = tuple[int, float]
"""``(index of the action, n)``; n is an int or ENDLESS."""

LONGEST = 1_000
"""Steps of a plan at most. Games take some dozens; making a plan of this length smaller takes a second."""

_TRIED_PER_STATE = 50
"""Steps tried at most for each state that may be looked at: many lead to nothing new."""

_MANY = 100
"""More repeat counts than this of one skill are not all tried by the thorough search."""


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
        by_loops: the goal was reached, but only by a loop that is repeated without end.
        exhausted: every state was visited; without runs, that proves (for a search that tries everything)
            that there are none.
        states: the states that were looked at, in order, the start first.
        lacking: the fact that ruled out the first state that was ruled out, when one was: more of it is
            needed from there than is there, and nothing gains it.
    """

    runs: tuple[Run, ...] | None = None
    by_loops: bool = False
    exhausted: bool = False
    states: list[State] = field(default_factory=list)
    lacking: int | None = None


def search(
    problem: Problem,
    estimator: Estimator,
    effort: Effort,
    max_states: int,
    *,
    shorter_than: int | None = None,
    loops: bool = False,
) -> Outcome:
    """Searches from the start to the goal.

    Args:
        problem: with only those actions that are possible at all.
        estimator: made for the same problem.
        effort: which search.
        max_states: how many states may be looked at: the bound on time and memory.
        shorter_than: only plans of fewer steps than this are of interest (SHORTEST only).
        loops: whether to take loops: more is proved, but a plan may be missed.
    """
    outcome = Outcome()
    dominance = Dominance(problem)
    dominance.adds_nothing(problem.start, 0)
    continuations = _Continuations(problem, estimator, effort)
    outcome.states.append(problem.start)
    came_by: list[tuple[int, Run]] = [(-1, (-1, 0))]
    depths = [0]
    waiting: list[tuple[int, int, int]] = []
    shortest = effort is Effort.SHORTEST
    growing = _growing(problem) if loops else frozenset()
    looped: set[int] = set()
    cut, tried = False, 0

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
            outcome.by_loops = number in looped
            outcome.runs = None if outcome.by_loops else _path(came_by, number)
            return outcome
        if depths[number] >= LONGEST:
            cut = True
            continue
        for run, after in continuations.of(state):
            tried += 1
            reached = _with_loops(after, outcome.states, came_by, number, growing) if growing else after
            if tried > _TRIED_PER_STATE * max_states:
                return outcome
            if dominance.adds_nothing(reached, depths[number] + 1 if shortest else 0):
                continue
            if len(outcome.states) >= max_states:
                return outcome
            if number in looped or reached != after:
                looped.add(len(outcome.states))
            outcome.states.append(reached)
            came_by.append((number, run))
            depths.append(depths[number] + 1)
            rank(len(outcome.states) - 1)
    outcome.exhausted = not cut and not continuations.left_out
    return outcome


def _path(came_by: list[tuple[int, Run]], number: int) -> tuple[Run, ...]:
    runs: list[Run] = []
    while number:
        number, run = came_by[number]
        runs.append(run)
    return tuple(reversed(runs))


def _growing(problem: Problem) -> frozenset[int]:
    """The amounts that steps add to and no capacity limits."""
    return frozenset(gain.fact for action in problem.actions for gain in action.adds if gain.capacity is None)


def _with_loops(
    state: State, states: list[State], came_by: list[tuple[int, Run]], number: int, growing: frozenset[int]
) -> State:
    """``state``, with ENDLESS for what the steps from an earlier state on the way to it have added.

    The two must be alike but for that: then the same steps can follow again, and again. ``number`` is the
    last state before it.
    """
    while number >= 0:
        before = states[number]
        if before != state and all(
            now == then or (now > then and fact in growing)
            for fact, (now, then) in enumerate(zip(state, before, strict=True))
        ):
            state = tuple(ENDLESS if now > then else now for now, then in zip(state, before, strict=True))
        number = came_by[number][0]
    return state


class _Continuations:
    """The steps worth trying.

    Attributes:
        left_out: whether some were not tried that might be of use.
    """

    def __init__(self, problem: Problem, estimator: Estimator, effort: Effort) -> None:
        self.left_out = effort is Effort.QUICK
        self._actions = problem.actions
        self._estimator = estimator
        self._effort = effort
        self._wanted_in: State | None = None
        self._runs: dict[int, float] = {}
        self._asked_for: dict[int, set[float]] = {}
        for action in (*problem.actions, problem.goal):
            for need in (*action.at_least, *action.consumes):
                self._asked_for.setdefault(need.fact, {0}).add(need.at(action.least))

    def of(self, state: State) -> Iterator[tuple[Run, State]]:
        """The steps from ``state``, with the states that they lead to."""
        indices: Iterable[int] = range(len(self._actions))
        if self._effort is Effort.QUICK:
            indices = self._wanted(state)
        for index in indices:
            action = self._actions[index]
            for n in self._repeats(index, action, state):
                yield (index, n), action.after(state, n)

    def _repeats(self, index: int, action: Action, state: State) -> Iterable[float]:
        least, most = action.least, action.most_in(state)
        if not most:
            return ()
        if not any(used.slope for used in action.consumes):
            # Nothing is spent on more of it, and more never hurts.
            return (most,)
        if least == most or most == ENDLESS:
            return (most,)
        if self._effort is Effort.QUICK:
            return dict.fromkeys((min(most, max(least, self._wanted(state)[index])), most))
        if self._effort is Effort.THOROUGH and most - least >= _MANY:
            self.left_out = True
            return self._telling(index, action, state, least, most)
        return range(int(least), int(most) + 1)

    def _wanted(self, state: State) -> dict[int, float]:
        """The actions that the estimate asks for, and how often."""
        if self._wanted_in != state:
            self._wanted_in = state
            self._runs = self._estimator.estimate(state, optimistic=False).runs
        return self._runs

    def _telling(
        self, index: int, action: Action, state: State, least: float, most: float
    ) -> Iterable[float]:
        """The repeat counts that just reach what some skill asks for, or just leave it."""
        found = {least, most, self._wanted(state).get(index, least)}
        for gain in action.adds:
            if state[gain.fact] != ENDLESS:
                found.update(gain.least_for(a - state[gain.fact]) for a in self._asked_for.get(gain.fact, ()))
        for used in action.consumes:
            if state[used.fact] != ENDLESS:
                found.update(used.most_for(state[used.fact] - a) for a in self._asked_for[used.fact])
        return sorted(n for n in found if least <= n <= most)
