"""A real rate limit: at most so many events in *any* window of the given length.

A token bucket would let a full bucket and its refill through in one window, nearly twice the limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

_MARGIN_S = 0.001


class RateLimit:
    """Sliding-window limiter; first come, first served.

    Args:
        limit: events in any window; None for no limit.
        window_s: length of the window in seconds.
        sleep: waits that many seconds.
        clock: seconds, never falling.
    """

    def __init__(
        self,
        limit: int | None,
        window_s: float,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._sleep = sleep
        self._clock = clock
        self._times: deque[float] = deque(maxlen=limit)
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Returns when one more event is allowed, and counts it."""
        if self._limit is None:
            return
        async with self._turn:
            while len(self._times) == self._limit:
                # Strictly outside: a window is closed at both ends.
                wait = self._times[0] + self._window_s + _MARGIN_S - self._clock()
                if wait <= 0:
                    break
                await self._sleep(wait)
            self._times.append(self._clock())
