"""Whether walls keep creatures away: how far one could walk from where the agent stands."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from flowrl.worlds.snapshot import Field

WALK = 5
"""Tiles: a chamber is closed when no way is as long as this, wherever in it the agent stands."""

MOST_OPEN = 2 * WALK * (WALK + 1)
"""Tiles that can be walked to within :data:`WALK` steps where nothing is in the way."""

SHELTER_FIELDS = (
    Field("near.way_out", "bool", "", f"a way of {WALK} steps leads out: creatures can come, one can go",
          "near:way_out"),
    Field("near.shelter", "bool", "", "no way out: walls, trees or water all around within a few steps",
          "near:shelter"),
    Field("open_tiles", "int32", "tiles", f"that can be walked to within {WALK} steps, 0..{MOST_OPEN}"),
)  # fmt: skip


def open_tiles(walkable: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where one can walk to from the middle of a square of tiles, along its four directions.

    A player whom no creature can walk up to is safe from blows: Craftax's zombies strike from one of the four
    tiles beside it.

    Args:
        walkable: bool ``[2 * WALK + 1, 2 * WALK + 1]``: the tiles around the agent that can be walked on, as
            far as it remembers; what it never saw may be.

    Returns:
        ``(tiles, way_out)``: int32, how many tiles are within :data:`WALK` steps, 0 to :data:`MOST_OPEN`; and
        bool, whether any is as far as that. Without such a one, walls are all around.
    """
    reached = jnp.zeros_like(walkable).at[WALK, WALK].set(True)
    before = reached
    for _ in range(WALK):
        before = reached
        padded = jnp.pad(reached, 1)
        beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        reached = reached | (beside & walkable)
    return jnp.sum(reached) - 1, jnp.any(reached & ~before)


def shelter_columns(tiles: jax.Array, way_out: jax.Array) -> jax.Array:
    """The values of :data:`SHELTER_FIELDS`: int32 ``[3]``."""
    return jnp.stack([way_out.astype(jnp.int32), 1 - way_out.astype(jnp.int32), tiles])


def shelter_features(tiles: jax.Array, way_out: jax.Array) -> jax.Array:
    """What a policy sees of the same: float32 ``[2]``."""
    return jnp.stack([tiles / MOST_OPEN, way_out.astype(jnp.float32)])
