"""When one state makes another not worth looking at: all that the other can do, it can do too.

More is better for levels, flags, vitals, and for amounts that nothing adds to or that have no capacity.
More of an amount with a capacity can be worse (the bag is full), unless collecting is all that adds to
it: a *gathered* fact is added to one by one, by skills that use up nothing which could grow and give
nothing else but levels and flags. Who has more of it can leave that collecting out, and loses only those
levels and flags, so they must be there already. Where an agent is must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowrl.skills.facts import FactKind
from flowrl.skills.plan_problem import Action, Amount, Problem, State

_COMPARED = 200
"""With how many known states a new one is compared at most, latest first; pruning less is never wrong."""


@dataclass
class _Kept:
    """Known states that are equal in all that must be equal."""

    states: list[State] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)


class Dominance:
    """Remembers states and tells which new ones add nothing."""

    def __init__(self, problem: Problem) -> None:
        self._earned: dict[int, tuple[Amount, ...]] = {}
        exact: list[int] = []
        for fact, kind in enumerate(problem.kinds):
            providers = [a for a in problem.actions if any(gain.fact == fact for gain in a.adds)]
            grows = bool(providers) or any(gain.fact == fact for gain in problem.goal.adds)
            if kind is FactKind.PLACE:
                exact.append(fact)
            elif kind is FactKind.COUNT and grows and problem.capacities[fact] is not None:
                if _is_gathered(fact, providers, problem):
                    self._earned[fact] = tuple(level for action in providers for level in action.raises)
                else:
                    exact.append(fact)
        self._exact = tuple(exact)
        self._more = tuple(fact for fact in range(len(problem.kinds)) if fact not in set(exact))
        self._fills_up = {
            action.name: fact
            for action in problem.actions
            for fact in self._earned
            if any(gain.fact == fact and gain.slope for gain in action.adds)
            and not any(used.slope for used in action.consumes)
        }
        self._kept: dict[State, _Kept] = {}
        self._least_depth: dict[State, int] = {}

    def fills_up(self, action: Action, after: State) -> bool:
        """Whether collecting as much as fits, which led to ``after``, makes collecting less pointless."""
        fact = self._fills_up.get(action.name)
        return fact is not None and self._has_earned(fact, after)

    def adds_nothing(self, state: State, depth: int) -> bool:
        """Whether a known state, reached in no more steps, covers this one. If not, it is now known too."""
        if self._least_depth.get(state, depth + 1) <= depth:
            return True
        kept = self._kept.setdefault(tuple(state[fact] for fact in self._exact), _Kept())
        for known, reached in zip(
            reversed(kept.states[-_COMPARED:]), reversed(kept.depths[-_COMPARED:]), strict=True
        ):
            if reached <= depth and self._covers(known, state):
                return True
        kept.states.append(state)
        kept.depths.append(depth)
        self._least_depth[state] = depth
        return False

    def _covers(self, known: State, state: State) -> bool:
        for fact in self._more:
            if known[fact] < state[fact]:
                return False
        return all(known[fact] == state[fact] or self._has_earned(fact, known) for fact in self._earned)

    def _has_earned(self, fact: int, state: State) -> bool:
        return all(state[level.fact] >= level.offset for level in self._earned[fact])


def _is_gathered(fact: int, providers: list[Action], problem: Problem) -> bool:
    grows = {gain.fact for action in problem.actions for gain in action.adds}
    return not any(gain.fact == fact for gain in problem.goal.adds) and all(
        len(action.adds) == 1
        and (action.adds[0].slope, action.adds[0].offset) in ((1, 0), (0, 1))
        and not action.fills
        and not action.moves
        and not action.reaches
        and not any(level.slope for level in action.raises)
        and not any(used.fact in grows for used in action.consumes)
        for action in providers
    )
