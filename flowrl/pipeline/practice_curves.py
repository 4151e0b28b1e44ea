"""The training curves of a practice: several updates as one point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowrl.rl.practice_tally import PracticeReport


class CurveWindow:
    """The updates since the last point.

    Args:
        watched: names of the columns that reports tell the end of.
    """

    def __init__(self, watched: Sequence[str]) -> None:
        self._watched = watched
        self._reports: list[PracticeReport] = []

    @property
    def updates(self) -> int:
        """So many."""
        return len(self._reports)

    def add(self, report: PracticeReport) -> None:
        """One more."""
        self._reports.append(report)

    def clear(self) -> None:
        """Begins anew."""
        self._reports = []

    def shown(self) -> dict[str, float]:
        """What people look at while it goes on."""
        point = self.point()
        del point["achievements"]
        return point

    def point(self) -> dict[str, Any]:
        """Means over episodes from fresh worlds; ``achievements``: the share that held each at the end."""
        counts = np.array([report.episodes for report in self._reports])
        shares = counts / max(int(counts.sum()), 1)
        ended_with = shares @ np.stack([report.ended_with for report in self._reports])
        metrics = [report.metrics for report in self._reports]
        return {
            "episodes": float(counts.sum()),
            "episode_length": float(shares @ np.array([report.mean_length for report in self._reports])),
            "achieved": float(ended_with.mean()),
            **{name: float(np.mean([one[name] for one in metrics])) for name in metrics[0]},
            "achievements": dict(zip(self._watched, ended_with.tolist(), strict=True)),
        }
