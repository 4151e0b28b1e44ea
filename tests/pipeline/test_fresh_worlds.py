"""Worlds that training begins in are renewed, every one of them, equally often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowrl.pipeline.fresh_worlds import RENEW_EVERY, RENEWED, renewed_worlds


class Bench:
    """Worlds that say which stream they are from."""

    def training_worlds(self, stream: int, count: int) -> Any:
        return np.full(count, stream)


@pytest.mark.parametrize("size", [1, 10, RENEWED, 100, 128, 256, 257])
def test_every_row_is_renewed_in_turn(size: int) -> None:
    """After as many renewals as it takes parts to cover them all, none is older than that."""
    bench: Any = Bench()
    span = RENEW_EVERY * -(-size // min(RENEWED, size))
    worlds = np.zeros(size)
    for update in range(1, 5 * span + 1):
        if (renewed := renewed_worlds(bench, update, size)) is not None:
            new, at = renewed
            worlds[at : at + len(new)] = new
            assert 0 <= at <= size - len(new)
        if update >= span:
            assert worlds.min() > update - span - RENEW_EVERY


def test_nothing_is_renewed_between_and_streams_differ() -> None:
    bench: Any = Bench()
    assert renewed_worlds(bench, RENEW_EVERY - 1, 256) is None
    first, other = (renewed_worlds(bench, RENEW_EVERY, 256, stream) for stream in (0, 1000))
    assert first is not None
    assert other is not None
    assert first[0][0] != other[0][0]
