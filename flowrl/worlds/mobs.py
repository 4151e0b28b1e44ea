"""Creatures in view: their plane in an observation and the nearest one of each kind."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class MobsInView(NamedTuple):
    """Creatures and where they stand in the agent's view.

    Attributes:
        cells: int32 ``[M, 2]``, row and column in the view; only what is ``shown`` lies inside it.
        kinds: int32 ``[M]``, categories of the mob plane.
        shown: bool ``[M]``, alive, inside the view and lit.
        health: ``[M]``.
    """

    cells: jax.Array
    kinds: jax.Array
    shown: jax.Array
    health: jax.Array


def place_in_view(
    mobs: Any, kind: jax.Array, position: jax.Array, view_shape: tuple[int, int], visible: jax.Array
) -> MobsInView:
    """Where the creatures of one class stand in the agent's view.

    Args:
        mobs: the stock ``Mobs`` of one floor: ``position [M, 2]``, ``mask [M]``.
        kind: int32 ``[M]``, the category of each in the mob plane.
        position: int32 ``[2]``, the agent's.
        visible: bool ``[H, W]``: lit tiles.
    """
    height, width = view_shape
    cells = mobs.position - position + jnp.array([height // 2, width // 2])
    inside = jnp.all((cells >= 0) & (cells < jnp.array([height, width])), axis=-1)
    clipped = jnp.clip(cells, 0, jnp.array([height - 1, width - 1]))
    shown = mobs.mask & inside & visible[clipped[:, 0], clipped[:, 1]]
    return MobsInView(cells, kind, shown, mobs.health)


def mob_plane(mobs: MobsInView, view_shape: tuple[int, int]) -> jax.Array:
    """uint8 ``[H, W]``: the category of the creature on each tile, 0 for none."""
    rows = jnp.arange(view_shape[0])[None, :, None]
    columns = jnp.arange(view_shape[1])[None, None, :]
    here = (mobs.cells[:, 0, None, None] == rows) & (mobs.cells[:, 1, None, None] == columns)
    here &= mobs.shown[:, None, None]
    return jnp.max(jnp.where(here, mobs.kinds[:, None, None], 0), axis=0).astype(jnp.uint8)


def mob_in_front(
    mobs: MobsInView, view_shape: tuple[int, int], ahead: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """``(kind, health)`` of the creature on the tile ``ahead`` (an offset ``[2]``), 0 and 0 when none."""
    here = mobs.shown & jnp.all(mobs.cells == jnp.array(view_shape) // 2 + ahead, axis=-1)
    return jnp.max(jnp.where(here, mobs.kinds, 0)), jnp.max(jnp.where(here, mobs.health, 0))


def nearest_mobs(
    mobs: MobsInView, view_shape: tuple[int, int], matches: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Offsets to the nearest visible creature of each wanted sort.

    Args:
        matches: bool ``[C, M]``: which creatures are of which sort.

    Returns:
        ``(seen bool [C], offset int32 [C, 2])``: rows down and columns right, 0 where none is seen.
    """
    offsets = mobs.cells - jnp.array([view_shape[0] // 2, view_shape[1] // 2])
    far = view_shape[0] + view_shape[1]
    distance = jnp.where(mobs.shown & matches, jnp.abs(offsets).sum(axis=-1), far)
    best = jnp.argmin(distance, axis=-1)
    seen = jnp.min(distance, axis=-1) < far
    return seen, jnp.where(seen[:, None], offsets[best], 0)
