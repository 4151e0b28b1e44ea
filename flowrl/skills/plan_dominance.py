"""When one state makes another not worth looking at: all that the other can do, it can do too.

More is better, of levels, flags and amounts alike: what is gained beyond a capacity is lost and does no harm.
Where an agent is must be the same.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

from flowrl.skills.facts import FactKind
from flowrl.skills.plan_problem import Problem, State

_COMPARED = 200
"""With how many known states a new one is compared at most, latest first; pruning less is never wrong."""


@dataclass
class _Kept:
    """Known states at the same place."""

    states: list[State] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)


class Dominance:
    """Remembers states and tells which new ones add nothing."""

    def __init__(self, problem: Problem) -> None:
        self._where = tuple(i for i, kind in enumerate(problem.kinds) if kind is FactKind.PLACE)
        self._kept: dict[State, _Kept] = {}
        self._least_depth: dict[State, int] = {}

    def adds_nothing(self, state: State, depth: int) -> bool:
        """Whether a known state, reached in no more steps, covers this one. If not, it is now known too."""
        if self._least_depth.get(state, depth + 1) <= depth:
            return True
        kept = self._kept.setdefault(tuple(state[fact] for fact in self._where), _Kept())
        for known, reached in zip(
            reversed(kept.states[-_COMPARED:]), reversed(kept.depths[-_COMPARED:]), strict=True
        ):
            if reached <= depth and all(map(operator.ge, known, state)):
                return True
        kept.states.append(state)
        kept.depths.append(depth)
        self._least_depth[state] = depth
        return False
