"""Creatures in view: their plane in an observation and the nearest one of each kind."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def place_in_view(
    mobs: Any, kind: jax.Array, position: jax.Array, view_shape: tuple[int, int], visible: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where the creatures of one class stand in the agent's view.

    Args:
        mobs: the stock ``Mobs`` of one floor: ``position [M, 2]``, ``mask [M]``.
        kind: int32 ``[M]``, the category of each in the mob plane.
        position: int32 ``[2]``, the agent's.
        visible: bool ``[H, W]``: lit tiles.

    Returns:
        ``(cells int32 [M, 2], kinds int32 [M], shown bool [M])``; cells outside the view are not shown.
    """
    height, width = view_shape
    cells = mobs.position - position + jnp.array([height // 2, width // 2])
    inside = jnp.all((cells >= 0) & (cells < jnp.array([height, width])), axis=-1)
    clipped = jnp.clip(cells, 0, jnp.array([height - 1, width - 1]))
    return cells, kind, mobs.mask & inside & visible[clipped[:, 0], clipped[:, 1]]


def mob_plane(cells: jax.Array, kinds: jax.Array, shown: jax.Array, view_shape: tuple[int, int]) -> jax.Array:
    """uint8 ``[H, W]``: the category of the creature on each tile, 0 for none."""
    rows = jnp.arange(view_shape[0])[None, :, None]
    columns = jnp.arange(view_shape[1])[None, None, :]
    here = (cells[:, 0, None, None] == rows) & (cells[:, 1, None, None] == columns) & shown[:, None, None]
    return jnp.max(jnp.where(here, kinds[:, None, None], 0), axis=0).astype(jnp.uint8)


def nearest_mobs(
    cells: jax.Array, kinds: jax.Array, shown: jax.Array, view_shape: tuple[int, int], wanted: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """``(seen bool [C], offset int32 [C, 2])`` to the nearest visible creature of each wanted kind."""
    offsets = cells - jnp.array([view_shape[0] // 2, view_shape[1] // 2])
    far = view_shape[0] + view_shape[1]
    distance = jnp.abs(offsets).sum(axis=-1)
    of_kind = jnp.where(shown & (kinds == wanted[:, None]), distance, far)
    best = jnp.argmin(of_kind, axis=-1)
    seen = jnp.min(of_kind, axis=-1) < far
    return seen, jnp.where(seen[:, None], offsets[best], 0)
