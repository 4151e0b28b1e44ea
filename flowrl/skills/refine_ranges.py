"""Episodes with one repeat count by what they started with, and between which values they put a need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from flowrl.skills.change import almost_never, frequent
from flowrl.skills.trajectories import Trajectories

Need = int | tuple[int, ...]
"""At least so much of a fact; of a PLACE fact, one of these values."""


@dataclass(frozen=True)
class Finding:
    """A need as it was found. ``evidence`` counts episodes by what they count."""

    fact: str
    need: Need
    evidence: Mapping[str, int]
    reason: str


@dataclass
class Starts:
    """Episodes with one n by what they started with, and what was found so far.

    Attributes:
        needs: as they are by now.
        missing: what must be missing as well in a start that speaks against a need.
        lowered: what needs were before, of those that were lowered.
    """

    episodes: Trajectories
    success: np.ndarray
    needs: dict[str, Need]
    missing: Mapping[str, Need]
    findings: dict[str, Finding] = field(default_factory=dict)
    lowered: dict[str, Need] = field(default_factory=dict)

    def values(self, fact: str) -> np.ndarray:
        return np.asarray(self.episodes.start[:, self.episodes.column(fact)])

    def holds(self, fact: str, need: Need) -> np.ndarray:
        values = self.values(fact)
        return np.isin(values, need) if isinstance(need, tuple) else np.asarray(values >= need)

    def all_hold(self, apart_from: Iterable[str] = ()) -> np.ndarray:
        rows = np.ones(len(self.episodes), bool)
        for fact, need in self.needs.items():
            if fact not in apart_from:
                rows &= self.holds(fact, need)
        return rows

    def count(self, rows: np.ndarray) -> tuple[int, int]:
        """``(successes, episodes)``."""
        return int((self.success & rows).sum()), int(rows.sum())


@dataclass(frozen=True)
class NeedRange:
    """Between which values one need lies.

    Attributes:
        low: with less, episodes almost never succeed; 0 where none shows that.
        high: with so much, they do succeed.
        levels: value at the start -> successes and episodes, of those that had all else.
    """

    low: int
    high: int
    levels: Mapping[int, tuple[int, int]]

    def misfits(self, need: int) -> int:
        """Episodes that a need cannot explain: that succeeded without it or failed with it."""
        return sum(
            hits if value < need else episodes - hits for value, (hits, episodes) in self.levels.items()
        )

    def count(self, least: int, below: int | None = None) -> tuple[int, int]:
        """``(successes, episodes)`` of values from ``least`` on, to below ``below``."""
        counts = [
            count
            for value, count in self.levels.items()
            if value >= least and (below is None or value < below)
        ]
        return sum(hits for hits, _ in counts), sum(episodes for _, episodes in counts)


def ranges_of(starts: Starts, before: Mapping[str, Need], undecided: Iterable[str]) -> dict[str, NeedRange]:
    """Where each amount may lie, if the skill works with all that was found to be needed."""
    if not frequent(*starts.count(starts.all_hold())):
        return {}
    ranges = {}
    for name, need in starts.needs.items():
        if isinstance(need, tuple) or name in undecided:
            continue
        values, rows = starts.values(name), starts.all_hold(apart_from=(name,))
        low, high = _too_little(starts, rows & (values < need), values), _enough(starts, rows, values, need)
        found, had = starts.findings.get(name), before.get(name, 0)
        if found is not None and isinstance(had, int):
            # What was found says so as well, with levels that are too rare each to say it alone.
            low, high = (max(low, had + 1), high) if had < need else (low, need)
        levels = {int(level): starts.count(rows & (values == level)) for level in np.unique(values[rows])}
        ranges[name] = NeedRange(low, high, levels)
    return ranges


def _too_little(starts: Starts, rows: np.ndarray, values: np.ndarray) -> int:
    """One more than the greatest value with which episodes almost never succeed; 0 when none is known.

    Who has more does no worse: what almost never succeeds together with some who have more never does alone.
    """
    levels = np.unique(values[rows])
    for least in levels[::-1]:
        for most in levels[levels >= least]:
            if almost_never(*starts.count(rows & (values >= least) & (values <= most))):
                return int(least) + 1
    return 0


def _enough(starts: Starts, rows: np.ndarray, values: np.ndarray, need: int) -> int:
    """The least value, from ``need`` on, with which episodes often succeed, those with less among them."""
    levels = np.unique(values[rows & (values >= need)])
    for most in levels:
        if frequent(*starts.count(rows & (values >= need) & (values <= most))):
            return int(most)
    return int(levels[-1])
