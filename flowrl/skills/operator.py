"""Operators: what a skill requires, consumes and gains, as linear counts in the repeat count ``n``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flowrl.errors import ProposalRefused, nearest
from flowrl.skills.facts import Fact, FactKind, Vocabulary

_TERM = r"(?:(?P<{0}a>\d+)\s*\*\s*n|n\s*\*\s*(?P<{0}b>\d+)|(?P<{0}n>n)|(?P<{0}c>\d+))"
_LINEAR = re.compile(rf"\s*{_TERM.format('x')}(?:\s*(?P<sign>[+-])\s*{_TERM.format('y')})?\s*", re.ASCII)


@dataclass(frozen=True)
class Linear:
    """The count ``slope * n + offset``.

    >>> Linear.parse("2*n + 1").at(3)
    7
    """

    slope: int = 0
    offset: int = 0

    def at(self, n: int) -> int:
        """The count for ``n`` repeats."""
        return self.slope * n + self.offset

    @staticmethod
    def parse(value: int | str) -> Linear:
        """Reads an int or an expression such as ``"n"``, ``"1*n"``, ``"2*n + 1"``, ``"n*3-1"``.

        A fixed grammar, never ``eval``.

        Raises:
            ValueError: when it is neither, or is negative at n = 1.
        """
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"{value!r} is not a count: write an int or an expression like '2*n + 1'")
        if isinstance(value, int):
            linear = Linear(0, value)
        else:
            match = _LINEAR.fullmatch(value)
            if match is None:
                raise ValueError(f"{value!r} is not a count: write an int or an expression like '2*n + 1'")
            slope, offset = _term(match, "x")
            if match["sign"]:
                sign = 1 if match["sign"] == "+" else -1
                more_slope, more_offset = _term(match, "y")
                slope, offset = slope + sign * more_slope, offset + sign * more_offset
            linear = Linear(slope, offset)
        if linear.slope < 0 or linear.at(1) < 0:
            raise ValueError(f"{value!r} is negative or falls with n: counts are at least 0 and never fall")
        return linear

    def __str__(self) -> str:
        if not self.slope:
            return str(self.offset)
        if not self.offset:
            return f"{self.slope}*n"
        return f"{self.slope}*n {'+' if self.offset > 0 else '-'} {abs(self.offset)}"

    def to_json(self) -> int | str:
        """The form that :meth:`parse` reads: an int when constant, else text."""
        return str(self) if self.slope else self.offset


def _term(match: re.Match[str], prefix: str) -> tuple[int, int]:
    """``(slope, offset)`` of one matched term."""
    factor = match[f"{prefix}a"] or match[f"{prefix}b"]
    if factor:
        return int(factor), 0
    if match[f"{prefix}n"]:
        return 1, 0
    return 0, int(match[f"{prefix}c"])


Count = Linear | tuple[int, ...]
"""A linear count, or, for a PLACE fact, the allowed values (a gain has exactly one)."""


@dataclass(frozen=True)
class Operator:
    """What a skill needs and does. Build it with :func:`parse_operator`.

    Attributes:
        requires: facts that must hold at the start and are not used up.
        consumes: COUNT facts that are used up; having them is required too.
        gains: facts that hold, or have grown by that much, at the end.
    """

    requires: Mapping[str, Count]
    consumes: Mapping[str, Linear]
    gains: Mapping[str, Count]

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only view cannot be pickled; what it shows can.
        return Operator, (dict(self.requires), dict(self.consumes), dict(self.gains))

    @property
    def scales(self) -> bool:
        """Whether any gain grows with ``n``: only then do repeats differ from n = 1."""
        return any(isinstance(gain, Linear) and gain.slope for gain in self.gains.values())

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The three maps in the form that a model writes them."""
        return {
            section: {name: _count_to_json(count) for name, count in getattr(self, section).items()}
            for section in ("requires", "consumes", "gains")
        }


def _count_to_json(count: Count) -> Any:
    if isinstance(count, Linear):
        return count.to_json()
    return count[0] if len(count) == 1 else list(count)


def parse_operator(data: Mapping[str, Any], vocabulary: Vocabulary) -> Operator:
    """Reads ``requires``, ``consumes`` and ``gains`` from parsed JSON.

    Args:
        data: holds the three sections; other keys are ignored here (the proposal parser refuses them).
        vocabulary: the world's facts.

    Raises:
        ProposalRefused: stage ``parse``; names the section, the fact, the value and the fix.
    """
    sections: dict[str, dict[str, Count]] = {}
    for section in ("requires", "consumes", "gains"):
        raw = data.get(section, {})
        if not isinstance(raw, Mapping):
            raise ProposalRefused(
                "parse",
                f"{section!r} is {raw!r}, not an object.",
                f'Write "{section}": {{}} when there is none.',
            )
        sections[section] = {
            name: _parse_count(section, name, value, _known(section, name, vocabulary))
            for name, value in raw.items()
        }
    if not sections["gains"]:
        raise ProposalRefused("parse", "'gains' is empty.", "A skill must gain at least one fact.")
    consumes: dict[str, Linear] = {}
    for name, count in sections["consumes"].items():
        if vocabulary[name].kind is not FactKind.COUNT or not isinstance(count, Linear):
            raise ProposalRefused(
                "parse",
                f"'consumes' names {name!r}, a {vocabulary[name].kind} fact.",
                "Only amounts (inventory counts) are consumed; put what must merely hold in 'requires'.",
            )
        consumes[name] = count
    return Operator(
        MappingProxyType(sections["requires"]),
        MappingProxyType(consumes),
        MappingProxyType(sections["gains"]),
    )


def _known(section: str, name: str, vocabulary: Vocabulary) -> Fact:
    if name not in vocabulary:
        raise ProposalRefused(
            "parse", f"{section!r} names the unknown fact {name!r}.", nearest(name, vocabulary)
        )
    return vocabulary[name]


def _parse_count(section: str, name: str, value: Any, fact: Fact) -> Count:
    if fact.kind is FactKind.PLACE:
        values = value if isinstance(value, list) and section == "requires" else [value]
        if not values or any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in values):
            raise ProposalRefused(
                "parse",
                f"{section!r} gives {name!r} the value {value!r}.",
                "Write one number, or in 'requires' a list of allowed numbers.",
            )
        return tuple(values)
    if isinstance(value, bool) and fact.kind in (FactKind.FLAG, FactKind.REACH):
        value = int(value)
    try:
        count = Linear.parse(value)
    except ValueError as error:
        raise ProposalRefused("parse", f"{section!r} gives {name!r} a bad count: {error}.") from None
    if fact.kind in (FactKind.FLAG, FactKind.REACH) and count != Linear(0, 1):
        raise ProposalRefused(
            "parse",
            f"{section!r} gives {name!r} the value {value!r}.",
            f"A {fact.kind} fact is true or not: write 1.",
        )
    if section != "requires" and count.at(1) < 1:
        raise ProposalRefused(
            "parse", f"{section!r} gives {name!r} the value {value!r}.", "Leave out what does not change."
        )
    if fact.capacity is not None and count.at(1) > fact.capacity:
        raise ProposalRefused(
            "parse",
            f"{section!r} gives {name!r} the value {value!r}, beyond its capacity of {fact.capacity}.",
            "Ask for less at once.",
        )
    return count
