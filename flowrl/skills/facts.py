"""Facts: the namespaced symbolic quantities that operators speak about.

A fact is ``namespace:name`` (``inventory:wood``) or a bare name (``floor``). Its *kind* decides what an
effect on it means; see :class:`FactKind`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from flowrl.errors import nearest


class FactKind(StrEnum):
    """How a gain, a consumption and a requirement on a fact are read (docs/ARCHITECTURE.md, "Facts")."""

    COUNT = "count"
    """An amount. A gain adds, refused beyond the capacity; ``consumes`` subtracts; requires: at least."""

    VITAL = "vital"
    """An amount that decays by itself (food, health). A gain adds and saturates; requires: at least."""

    TIER = "tier"
    """A level. A gain raises it to that level; requires: at least (a better tool serves for a lesser)."""

    FLAG = "flag"
    """True from the first gain on; requires: true."""

    PLACE = "place"
    """Where the agent is. A gain moves there and every REACH fact lapses; requires: one of some values."""

    REACH = "reach"
    """True while it holds: a gain lasts until a skill that does not itself require it runs."""


_KIND_OF_NAMESPACE = {
    "inventory": FactKind.COUNT,
    "vital": FactKind.VITAL,
    "stat": FactKind.TIER,
    "achievement": FactKind.FLAG,
    "floor": FactKind.PLACE,
    "near": FactKind.REACH,
}


def kind_from_namespace(name: str) -> FactKind | None:
    """The kind that a fact's namespace implies, or None when the namespace tells nothing."""
    return _KIND_OF_NAMESPACE.get(name.partition(":")[0])


@dataclass(frozen=True)
class Fact:
    """One symbolic quantity.

    Attributes:
        name: ``namespace:name`` or a bare name.
        kind: what effects on it mean.
        capacity: the largest value that COUNT, VITAL and TIER facts can take; None for no limit.
        meaning: one line for prompts and docs.
    """

    name: str
    kind: FactKind
    capacity: int | None = None
    meaning: str = ""


class Vocabulary(Mapping[str, Fact]):
    """The facts that exist in a world, by name. Looking up an unknown one offers the nearest.

    Raises:
        KeyError: from ``vocabulary[name]``, with the nearest valid name in its message.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._facts = {fact.name: fact for fact in facts}

    def __getitem__(self, name: str) -> Fact:
        try:
            return self._facts[name]
        except KeyError:
            raise KeyError(f"unknown fact {name!r}. {nearest(name, self._facts)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._facts

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def of_kind(self, kind: FactKind) -> tuple[Fact, ...]:
        """All facts of one kind, in the order in which the world lists them."""
        return tuple(fact for fact in self._facts.values() if fact.kind is kind)
