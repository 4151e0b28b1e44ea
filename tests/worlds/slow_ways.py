"""The way on foot by Dijkstra's algorithm, written plainly: the reference for ``flowrl.worlds.walking``."""

from __future__ import annotations

import heapq

import numpy as np

from flowrl.worlds.walking import FARTHEST, REACH

SIDE = 2 * REACH + 1
FIRST_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def slow_ways(cost: np.ndarray, wanted: np.ndarray) -> list[int]:
    """Env steps to act on the nearest wanted tile, for each first step; FARTHEST + 1 where there is no way.

    Args:
        cost: int ``[SIDE, SIDE]``, env steps to enter a tile, 0 for what cannot be entered; the
            agent is in the middle.
        wanted: bool, of the same shape.
    """
    return [_slow_way(cost, wanted, REACH + down, REACH + right) for down, right in FIRST_STEPS]


def _slow_way(cost: np.ndarray, wanted: np.ndarray, row: int, column: int) -> int:
    if wanted[row, column]:
        return 1
    if not cost[row, column]:
        return FARTHEST + 1
    best = {(row, column): int(cost[row, column])}
    queue = [(best[row, column], row, column)]
    while queue:
        steps, row, column = heapq.heappop(queue)
        for down, right in FIRST_STEPS:
            place = row + down, column + right
            if not (0 <= place[0] < SIDE and 0 <= place[1] < SIDE):
                continue
            if wanted[place]:
                return min(steps + 1, FARTHEST + 1)
            if cost[place] and steps + cost[place] < best.get(place, 10_000):
                best[place] = steps + int(cost[place])
                heapq.heappush(queue, (best[place], *place))
    return FARTHEST + 1
