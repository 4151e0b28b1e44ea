"""What could ever be reached, judged kindly: nothing is used up.

What is kept exact is where the agent stands and what is within its reach. That is cheap, because what is
within reach after a step depends on that step alone: what it requires and what it gains. So an answer
"no" is a proof that no plan exists, also for two places that never hold together.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowrl.skills.facts import FactKind
from flowrl.skills.plan_problem import ENDLESS, Action, Problem, State


@dataclass(frozen=True)
class Reach:
    """Upper bounds on what any plan from the start can do.

    Attributes:
        waves: per action, after how many rounds it is first possible; None when it never is.
        states: one for each reachable combination of places and things within reach, every other fact at
            the most that it can ever be.
        possible: whether the goal holds in one of them.
    """

    waves: tuple[int | None, ...]
    states: tuple[State, ...]
    possible: bool


def explore(problem: Problem) -> Reach:
    """Grows the bounds until nothing changes: at most one round an action, fact level and combination."""
    most = list(problem.start)
    where = [i for i, kind in enumerate(problem.kinds) if kind in (FactKind.PLACE, FactKind.REACH)]
    able = frozenset(range(len(problem.actions)))
    settings = {tuple(problem.start[i] for i in where): set(able)}
    waves: list[int | None] = [None] * len(problem.actions)
    wave, growing = 0, True
    while growing:
        growing = False
        wave += 1
        known = tuple(most)
        for setting, untried in list(settings.items()):
            state = _placed(known, where, setting)
            for index in sorted(untried):
                action = problem.actions[index]
                if not action.affordable(state, action.least):
                    continue
                untried.discard(index)
                growing = True
                if waves[index] is None:
                    waves[index] = wave
                    _raise_bounds(most, action)
                moved = _setting_after(state, where, action)
                settings.setdefault(moved, set(able))
    states = tuple(_placed(tuple(most), where, setting) for setting in settings)
    return Reach(tuple(waves), states, any(problem.reached(state) for state in states))


def _placed(most: State, where: list[int], setting: State) -> State:
    state = list(most)
    for fact, value in zip(where, setting, strict=True):
        state[fact] = value
    return tuple(state)


def _setting_after(state: State, where: list[int], action: Action) -> State:
    values = list(state)
    for fact, value in action.moves:
        values[fact] = value
    for fact in action.lapses:
        values[fact] = 0
    for fact in action.reaches:
        values[fact] = 1
    return tuple(values[fact] for fact in where)


def _raise_bounds(most: list[float], action: Action) -> None:
    for gain in action.adds:
        most[gain.fact] = max(most[gain.fact], ENDLESS if gain.capacity is None else gain.capacity)
    for gain in action.raises:
        most[gain.fact] = max(most[gain.fact], gain.at(action.most))
