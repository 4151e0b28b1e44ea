"""Policies averaged over updates: what is kept does not hang on the update with which learning ends."""

from __future__ import annotations

from typing import Any

import jax

POWER = 3
"""The average reaches back over about the last quarter of all updates, whatever their number."""


def averaged(mean: Any, params: Any, updates: jax.Array) -> Any:
    """``mean`` with the parameters after so many updates taken in.

    Polynomial-decay averaging (Shamir and Zhang 2013, arXiv 1212.1824): the first update counts in full, and
    no number of updates need be known beforehand.

    Args:
        mean: parameters, averaged over the updates before.
        params: of the same form.
        updates: float32 scalar, 1 for the first.
    """
    weight = (POWER + 1) / (updates + POWER)
    return jax.tree.map(lambda before, now: before + weight * (now - before), mean, params)
