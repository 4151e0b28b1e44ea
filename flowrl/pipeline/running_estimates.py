"""What is known of a skill while it trains: how often it succeeds, and how fast it goes."""

from __future__ import annotations

import time
from collections import deque

from flowrl.skills.evidence import wilson_interval

WINDOW_EPISODES = 256
"""Episodes that the running estimate of success looks back on."""

WINDOW_UPDATES = 4
"""It spans at least so many updates: short successes finish first and would flatter a single batch."""

RATE_UPDATES = 8
"""Updates that the speed shown is averaged over."""


class SuccessWindow:
    """A running estimate of success over the last episodes."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int]] = deque()

    def add(self, episodes: int, successes: int) -> None:
        """Takes in one update's finished episodes and forgets what is no longer needed."""
        self._batches.append((episodes, successes))
        while len(self._batches) > WINDOW_UPDATES and self.episodes - self._batches[0][0] >= WINDOW_EPISODES:
            self._batches.popleft()

    @property
    def episodes(self) -> int:
        """Episodes in the window."""
        return sum(episodes for episodes, _ in self._batches)

    @property
    def success(self) -> float | None:
        """Share of them that succeeded, None before the first."""
        return sum(s for _, s in self._batches) / self.episodes if self.episodes else None

    @property
    def success_low(self) -> float | None:
        """Wilson lower bound of it."""
        if not self.episodes:
            return None
        return wilson_interval(sum(s for _, s in self._batches), self.episodes)[0]

    @property
    def full(self) -> bool:
        """Whether it holds enough to decide on."""
        return len(self._batches) >= WINDOW_UPDATES and self.episodes >= WINDOW_EPISODES


class UpdateClock:
    """How many updates a second, over the last few. The first is not timed: it may compile."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=RATE_UPDATES + 1)

    def lap(self) -> float:
        """Notes the end of an update; updates a second, 0.0 while there is nothing to compare with."""
        self._ends.append(time.monotonic())
        elapsed = self._ends[-1] - self._ends[0]
        return (len(self._ends) - 1) / elapsed if elapsed else 0.0
