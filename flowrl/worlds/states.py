"""Reading and typing the stock env states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


def strongly_typed(state: Any) -> Any:
    """``state`` with every leaf an array of a definite dtype.

    The stock states start out with Python scalars and come back from a step with other (weak) types; each
    difference would compile the env's program once more, which costs seconds.
    """
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), state)


def at_another_hour(
    env: Any,
    hours: int,
    light: Callable[[jax.Array], jax.Array],
    vitals: Mapping[str, tuple[jax.Array, int]],
    key: jax.Array,
) -> Any:
    """A stock env state up to ``hours`` env steps later in the day, with other vitals; nothing else differs.

    Args:
        light: of a timestep.
        vitals: name -> the least and the greatest level that is drawn.
    """
    hour, levels = jax.random.split(key)
    timestep = env.timestep + jax.random.randint(hour, (), 0, hours)
    lowest = jnp.stack([jnp.asarray(low) for low, _ in vitals.values()])
    highest = jnp.array([high for _, high in vitals.values()])
    drawn = jax.random.randint(levels, lowest.shape, lowest, highest + 1)
    changed = {f"player_{name}": level for name, level in zip(vitals, drawn, strict=True)}
    return env.replace(
        timestep=timestep,
        light_level=light(timestep),
        **{name: level.astype(jnp.asarray(getattr(env, name)).dtype) for name, level in changed.items()},
    )


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
