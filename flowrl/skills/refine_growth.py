"""How needs grow with the repeat count, put together from what episodes with each n show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flowrl.skills.change import MIN_EPISODES
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.refine_needs import Needs, refined_needs
from flowrl.skills.refine_ranges import Need, NeedRange
from flowrl.skills.repeat_counts import best_separating, closest
from flowrl.skills.trajectories import Trajectories

NOTHING = Linear(0, 0)


@dataclass(frozen=True)
class Growth:
    """One need as a count in n, and the n that it was measured for.

    Attributes:
        line: the count; what is consumed is needed anyway and may be more.
        repeats: every n for which enough episodes with less tell something.
        evidence: counts of episodes for each of them beyond n = 1, by what they count.
    """

    line: Linear
    repeats: tuple[int, ...]
    evidence: Mapping[str, int]


def declared_lines(operator: Operator) -> dict[str, Linear]:
    """What is needed of each fact as a count: what is required or, if no less, what is consumed."""
    lines = {name: count for name, count in operator.requires.items() if isinstance(count, Linear)}
    for name, used in operator.consumes.items():
        if used.at(1) >= lines.get(name, NOTHING).at(1):
            lines[name] = used
    return lines


def growths(
    declared: Mapping[str, Linear],
    uses: Mapping[str, Linear],
    found: Needs,
    episodes: Trajectories,
    success: np.ndarray,
    vocabulary: Vocabulary,
) -> dict[str, Growth]:
    """Every need but places, with the slope that episodes of several n show; the declared form elsewhere.

    For each n beyond 1, needs are raised and lowered as they are for n = 1, from where that left them, and
    the count is taken that agrees with all of them.

    Args:
        declared: fact -> the need as declared.
        uses: fact -> what is consumed, as it was found.
        found: for n = 1.
        episodes: of every n that the skill was played for.
        success: bool ``[E]``.
    """
    now: dict[str, Linear] = {}
    for name, need in found.needs.items():
        if not isinstance(need, tuple):
            line = declared.get(name, NOTHING)
            same = need == max(line.at(1), uses.get(name, NOTHING).at(1))
            now[name] = line if same else closest({1: need}, line)
    ranges = {name: {1: measured} for name, measured in found.ranges.items()}
    gone = {name for name, line in now.items() if line.at(1) < declared.get(name, NOTHING).at(1)}
    for n in map(int, np.unique(episodes.n[episodes.n > 1])):
        used = {name: count.at(n) for name, count in uses.items()}
        needs = dict(found.needs)
        for name, line in now.items():
            if vocabulary[name].kind is FactKind.COUNT:
                needs[name] = max(min(line.at(n), _had(episodes, name, n)), used.get(name, 0))
        missing: dict[str, Need] = {name: declared[name].at(n) for name in gone}
        measured_at_n = refined_needs(needs, used, episodes, success, vocabulary, n, missing).ranges
        for name, measured in measured_at_n.items():
            if name in now and vocabulary[name].kind is FactKind.COUNT:
                ranges.setdefault(name, {})[n] = measured
                if measured.high < declared.get(name, NOTHING).at(n):
                    gone.add(name)
    return {
        name: _growth(ranges.get(name, {}), uses.get(name, NOTHING), declared.get(name, NOTHING), line)
        for name, line in now.items()
    }


def _had(episodes: Trajectories, name: str, n: int) -> int:
    """The most that enough episodes had at the start: whether more is needed, none can say."""
    values = np.sort(episodes.start[episodes.n == n, episodes.column(name)])
    return int(values[-MIN_EPISODES]) if len(values) >= MIN_EPISODES else 0


def _growth(ranges: Mapping[int, NeedRange], used: Linear, declared: Linear, now: Linear) -> Growth:
    line = now
    if max(ranges, default=1) > 1:
        line = best_separating(
            {n: (measured.low, measured.high) for n, measured in ranges.items()},
            lambda n, amount: ranges[n].misfits(amount),
            used,
            declared,
            now,
        )
    repeats: list[int] = []
    evidence: dict[str, int] = {}
    for n, measured in ranges.items():
        need, had = (max(count.at(n), used.at(n)) for count in (line, declared))
        # Of a need that went down, those tell that began with less than was declared and no less than it is.
        with_it = measured.count(max(need, had))
        without = measured.count(need if need < had else 0, max(need, had))
        if without[1] < MIN_EPISODES:
            continue
        repeats.append(n)
        if n > 1:
            evidence |= {f"with_for_n_{n}": with_it[1], f"with_success_for_n_{n}": with_it[0]}
            evidence |= {f"without_for_n_{n}": without[1], f"without_success_for_n_{n}": without[0]}
    return Growth(line, tuple(repeats), evidence)
