"""Fresh worlds to train whole episodes in, renewed part by part so that none is learned by heart."""

from __future__ import annotations

from flowrl.pipeline.workbench import Workbench
from flowrl.rl.environment import Placed

START_WORLDS = 256
"""Fresh worlds that episodes begin in, at a time."""

RENEW_EVERY, RENEWED = 8, 64
"""After so many updates, so many of them are replaced by new ones."""


def renewed_worlds(bench: Workbench, update: int, size: int, stream: int = 0) -> tuple[Placed, int] | None:
    """New worlds and the row from which on they replace old ones; None when it is not time.

    Args:
        update: counted from 1.
        size: worlds in all.
        stream: another one gives other worlds.
    """
    if update % RENEW_EVERY:
        return None
    count = min(RENEWED, size)
    at = part_to_renew(update // RENEW_EVERY - 1, count, size)
    return bench.training_worlds(stream + update, count), at


def part_to_renew(turn: int, count: int, size: int) -> int:
    """The first of ``count`` of ``size`` rows whose turn it is, counted from 0: all rows take turns.

    The last part is moved back to where it fits.
    """
    parts = -(-size // count)
    return min(turn % parts * count, size - count)
