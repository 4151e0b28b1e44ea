"""Random numbers by name: what is drawn for a skill depends on the skill, not on when it is drawn."""

from __future__ import annotations

import hashlib


def stream_number(*name: str | int) -> int:
    """A number in ``0 .. 2**31 - 1`` for ``jax.random.fold_in``: the same on every machine and in every run.

    >>> stream_number("collect_wood", "training", 1) == stream_number("collect_wood", "training", 1)
    True
    """
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
