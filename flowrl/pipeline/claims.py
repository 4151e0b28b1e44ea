"""Who is at which skill: nobody proposes what another is already proposing, waiting with, or training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowrl.skills.operator import Operator


@dataclass(frozen=True)
class _Claim:
    name: str
    operator: Operator | None


@dataclass(frozen=True)
class Others:
    """What everybody else is at, at one moment.

    Attributes:
        operators: by name, of the skills whose operator is known.
        undecided: names of those that are still being written.
    """

    operators: Mapping[str, Operator]
    undecided: tuple[str, ...]


class Claims:
    """Skills on their way into the graph, each claimed by the number of its conversation. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[int, _Claim] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all skills on their way, in the order in which they were claimed."""
        with self._lock:
            return tuple(dict.fromkeys(claim.name for claim in self._claims.values()))

    def choose(self, who: int, name: str) -> None:
        """Notes that ``who`` writes a skill of that name, whose operator is not known, or not any more."""
        with self._lock:
            self._claims[who] = _Claim(name, None)

    def claim(
        self, who: int, name: str, operator: Operator, check: Callable[[Mapping[str, Operator]], None]
    ) -> Others:
        """Claims a skill for ``who``, unless ``check`` refuses it: of two that gain the same, one is refused.

        Args:
            check: is given the operators that others have claimed, by name, while nobody else can claim;
                raises to refuse. Look at the graph in it, not before: a claim ends once it is in the graph.

        Returns:
            What the others were at when the claim was made.
        """
        with self._lock:
            others = [claim for other, claim in self._claims.items() if other != who]
            operators = {claim.name: claim.operator for claim in others if claim.operator is not None}
            check(operators)
            self._claims[who] = _Claim(name, operator)
            return Others(operators, tuple(claim.name for claim in others if claim.operator is None))

    def release(self, who: int) -> None:
        """Ends the claim of ``who``, if there is one."""
        with self._lock:
            self._claims.pop(who, None)
