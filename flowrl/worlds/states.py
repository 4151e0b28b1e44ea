"""Reading and typing the stock env states."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def strongly_typed(state: Any) -> Any:
    """``state`` with every leaf an array of a definite dtype.

    The stock states start out with Python scalars and come back from a step with other (weak) types; each
    difference would compile the env's program once more, which costs seconds.
    """
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), state)


def tiles_at(
    tiles: jax.Array, positions: jax.Array, outside: int, floor: jax.Array | None = None
) -> jax.Array:
    """Tiles at positions, without copying the map.

    Args:
        tiles: ``[rows, columns]``, or ``[floors, rows, columns]`` when ``floor`` is given.
        positions: int32 ``[..., 2]``.
        outside: the value where there is no tile.

    Returns:
        ``[...]``, the map's dtype.
    """
    size = jnp.array(tiles.shape[-2:])
    inside = jnp.all((positions >= 0) & (positions < size), axis=-1)
    clipped = jnp.clip(positions, 0, size - 1)
    rows, columns = clipped[..., 0], clipped[..., 1]
    found = tiles[rows, columns] if floor is None else tiles[floor, rows, columns]
    return jnp.where(inside, found, jnp.asarray(outside, tiles.dtype))
