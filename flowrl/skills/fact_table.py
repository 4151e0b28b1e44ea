"""What trajectories showed, fact by fact: for the journal, and as the table that an analyst is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowrl.skills.evidence import wilson_interval
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Operator
from flowrl.skills.strict_json import encode
from flowrl.skills.trajectories import Trajectories

SHOWN_LEVELS = 6
"""Start values of one fact that are listed one by one, from the lowest; the rest share a row."""

NOTEWORTHY = 0.02
"""Share of episodes in which a fact must change, or start unlike most, for it to have a row."""


@dataclass(frozen=True)
class ChangeOf:
    """How one fact changed from start to end in one group of episodes.

    Attributes:
        episodes: in the group.
        mean: of end minus start; 0.0 without episodes.
        low, median, high: its 5%, 50% and 95% quantiles.
        rose, fell: share of episodes that end higher, or lower, than they began.
        used: mean of what was lost on the way, whether or not it was found again.
    """

    episodes: int
    mean: float
    low: float
    median: float
    high: float
    rose: float
    fell: float
    used: float


@dataclass(frozen=True)
class StartLevel:
    """Success of the episodes that started with one value of a fact.

    Attributes:
        value: of the fact at the start.
        or_more: whether larger values are meant as well.
        low, high: the Wilson interval of the success rate.
    """

    value: int
    or_more: bool
    episodes: int
    successes: int
    low: float
    high: float


@dataclass(frozen=True)
class FactRow:
    """One fact that is part of the operator, changed, or differed at the start."""

    fact: str
    kind: str
    successes: ChangeOf
    failures: ChangeOf
    by_start: tuple[StartLevel, ...]


@dataclass(frozen=True)
class FactTable:
    """See :meth:`of`.

    Attributes:
        successes, failures: episodes of each kind.
        deaths: episodes that ended in death.
        done_without_gains: failures in which the skill's own ``is_done`` was true and the player alive.
        rows: one a fact, in the order of the world's facts.
    """

    successes: int
    failures: int
    deaths: int
    done_without_gains: int
    rows: tuple[FactRow, ...]

    @staticmethod
    def of(operator: Operator, episodes: Trajectories, vocabulary: Vocabulary) -> FactTable:
        """The table of ``episodes``; a success is done, alive, with every gain of ``operator`` there."""
        success = episodes.succeeded(operator, vocabulary)
        named = {*operator.requires, *operator.consumes, *operator.gains}
        rows = []
        for column, name in enumerate(episodes.facts):
            start = episodes.start[:, column]
            moved = (episodes.fell[:, column] > 0) | (episodes.rose[:, column] > 0)
            unlike = start != np.median(start)
            if name in named or max(moved.mean(), unlike.mean()) >= NOTEWORTHY:
                rows.append(
                    FactRow(
                        name,
                        str(vocabulary[name].kind),
                        _change_of(episodes.select(success), column),
                        _change_of(episodes.select(~success), column),
                        tuple(_by_start(start, success)),
                    )
                )
        return FactTable(
            successes=int(success.sum()),
            failures=int((~success).sum()),
            deaths=int(episodes.died.sum()),
            done_without_gains=int((episodes.done & ~success).sum()),
            rows=tuple(rows),
        )

    def to_json(self) -> Mapping[str, Any]:
        """As plain data."""
        data: Mapping[str, Any] = encode(self)
        return data

    def markdown(self) -> str:
        """What the analyst reads. Vitals decay by themselves, and say so."""
        head = (
            f"{self.successes} successes, {self.failures} failures ({self.deaths} deaths; "
            f"{self.done_without_gains} where is_done was true without every declared gain).\n"
            "Changes are end minus start: 5% / 50% / 95% of the episodes. Used: lost on the way, on average."
            "\n\n"
            "| fact | kind | change in successes | rose | used | change in failures | used "
            "| success by value at the start |\n|---|---|---|---|---|---|---|---|\n"
        )
        return head + "\n".join(_line(row) for row in self.rows)


def _change_of(episodes: Trajectories, column: int) -> ChangeOf:
    if not len(episodes):
        return ChangeOf(0, *(0.0,) * 7)
    change = episodes.end[:, column] - episodes.start[:, column]
    quantiles = np.quantile(change, [0.05, 0.5, 0.95], method="inverted_cdf")
    return ChangeOf(
        episodes=len(episodes),
        mean=float(change.mean()),
        low=float(quantiles[0]),
        median=float(quantiles[1]),
        high=float(quantiles[2]),
        rose=float((change > 0).mean()),
        fell=float((change < 0).mean()),
        used=float(episodes.fell[:, column].mean()),
    )


def _by_start(start: np.ndarray, success: np.ndarray) -> Iterator[StartLevel]:
    values = np.unique(start)
    for position, value in enumerate(values[:SHOWN_LEVELS]):
        or_more = position == SHOWN_LEVELS - 1 and len(values) > SHOWN_LEVELS
        rows = start >= value if or_more else start == value
        hits, episodes = int((success & rows).sum()), int(rows.sum())
        yield StartLevel(int(value), or_more, episodes, hits, *wilson_interval(hits, episodes))


def _line(row: FactRow) -> str:
    note = " (decays)" if row.kind == FactKind.VITAL else ""
    levels = "; ".join(
        f"{level.value}{' or more' if level.or_more else ''}: {level.successes} of {level.episodes} "
        f"({level.low:.0%} to {level.high:.0%})"
        for level in row.by_start
    )
    return (
        f"| `{row.fact}` | {row.kind}{note} | {_quantiles(row.successes)} | {row.successes.rose:.0%} "
        f"| {row.successes.used:.1f} | {_quantiles(row.failures)} | {row.failures.used:.1f} | {levels} |"
    )


def _quantiles(change: ChangeOf) -> str:
    if not change.episodes:
        return "no episodes"
    return " / ".join(f"{value:+.0f}" if value else "0" for value in (change.low, change.median, change.high))
