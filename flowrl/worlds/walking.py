"""The way to the nearest tile of each kind on foot, around what is in the way.

As the crow flies the nearest stone may lie across a lake. Measured: players that had only that to go by stood
at the shore until they died (docs/decisions/0013-ways-on-foot.md). A row of tiles is the bits of a word, so
that one step of a breadth-first search takes a few instructions for each row.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

REACH = 12
"""Tiles in each direction that are looked at; a row of them must fit a word of 32 bits."""

FARTHEST = 32
"""Env steps: ways that take longer are not looked for."""

_SIDE = 2 * REACH + 1
_BESIDE = ((REACH - 1, REACH), (REACH + 1, REACH), (REACH, REACH - 1), (REACH, REACH + 1))
"""Up, down, left, right of the agent."""


@custom_vmap
def find_ways(to: jax.Array, free: jax.Array, dug: jax.Array) -> jax.Array:
    """The shortest ways from the middle of a square to tiles that one stands before to act on them.

    Breadth-first from all tiles of a kind at once, so what comes out says for every first step how long the
    way is from there.

    Args:
        to: bool ``[C, 2 * REACH + 1, 2 * REACH + 1]``, where the tiles of C kinds are.
        free: bool ``[2 * REACH + 1, 2 * REACH + 1]``: can be walked on.
        dug: bool, as ``free``: can be walked on in two env steps, once it is mined; turning is not counted.

    Returns:
        int32 ``[C, 4]``: env steps to the nearest tile of each kind when the first goes up, down, left or
        right, the one that acts on it included; above :data:`FARTHEST` where no way is known.
    """
    return _ways_of_many(to[None], free[None], dug[None])[0]


@find_ways.def_vmap
def _for_a_batch(size: int, batched: list[bool], *arguments: jax.Array) -> tuple[jax.Array, bool]:
    """All envs in one search: their words lie side by side, which is twice as fast as one env at a time."""
    to, free, dug = (
        value if is_batched else jnp.broadcast_to(value, (size, *value.shape))
        for value, is_batched in zip(arguments, batched, strict=True)
    )
    return _ways_of_many(to, free, dug), True


def _ways_of_many(to: jax.Array, free: jax.Array, dug: jax.Array) -> jax.Array:
    """The ways of B squares: int32 ``[B, C, 4]``."""
    shape = to.shape[0], to.shape[1]
    tiles, to_walk, to_dig = _words(to, shape), _words(free[:, None], shape), _words(dug[:, None], shape)
    passed, entered = to_walk | to_dig, to_walk | tiles
    edge = jnp.zeros_like(tiles[:1])

    def one_step_more(_: int, found: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        now, before, steps = found
        # Out of what is dug the way leads on one env step later.
        left = (now & entered) | (before & to_dig)
        above, below = jnp.concatenate([edge, left[:-1]]), jnp.concatenate([left[1:], edge])
        then = now | (((left << 1) | (left >> 1) | above | below) & passed)
        return then, now, steps + _not_yet(then)

    found = (tiles, jnp.zeros_like(tiles), _not_yet(tiles))
    from_there = jax.lax.fori_loop(0, FARTHEST - 1, one_step_more, found)[2]
    from_there = jnp.moveaxis(from_there.reshape(4, *shape), 0, -1)
    must_dig = jnp.stack([dug[:, row, column] for row, column in _BESIDE], axis=-1)[:, None]
    return 1 + from_there + (must_dig & (from_there > 0))


def ways_features(steps: jax.Array) -> jax.Array:
    """What a policy sees of the ways ``[C, 4]``: float32 ``[5 * C]``.

    Which first steps are on a shortest way, and closeness, ``1 / (1 + steps)``; 0 where no way is known.
    """
    least = jnp.min(steps, axis=1, keepdims=True)
    known = least <= FARTHEST
    shortest = (steps == least) & known
    closeness = jnp.where(known, 1.0 / (1.0 + least), 0.0)
    return jnp.concatenate([shortest.reshape(-1), closeness.reshape(-1)]).astype(jnp.float32)


def _words(mask: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """uint32 ``[rows, B * C]``: the columns of bool ``[B, C or 1, rows, columns]`` as bits."""
    bits = jnp.asarray(np.uint32(1) << np.arange(_SIDE, dtype=np.uint32))
    words = jnp.sum(jnp.where(mask, bits, 0), axis=-1, dtype=jnp.uint32)
    return jnp.moveaxis(jnp.broadcast_to(words, (*shape, _SIDE)), -1, 0).reshape(_SIDE, -1)


def _not_yet(words: jax.Array) -> jax.Array:
    """int32 ``[4, B * C]``: 1 for each tile beside the agent that is not among those reached."""
    reached = jnp.stack([(words[row] >> column) & 1 for row, column in _BESIDE])
    return 1 - reached.astype(jnp.int32)
