"""The stock games' draw of one tile out of a whole floor, in two levels: a row, then a tile of that row.

Craftax draws where each kind of creature may appear at every step, whether or not one does.
``jax.random.choice`` adds up the probabilities of all 4,096 tiles for that, in a prefix sum that XLA compiles
badly for CPUs: three of them took 86 us an env, more than everything else in Classic's step together. Adding
up rows first takes 64 + 64 numbers instead. From the same key comes the same tile, but where the rounding of
sums decides.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

_FEWEST = 1024
"""Choices among fewer are left as they are."""


def draw_tiles_by_row(game_logic: ModuleType) -> None:
    """From now on, that module of Craftax draws by :func:`choice`."""
    vars(game_logic)["jax"] = _Overlaid(jax, random=_Overlaid(jax.random, choice=choice))


def choice(key: jax.Array, a: Any, shape: tuple[int, ...] = (), replace: bool = True, p: Any = None) -> Any:
    """``jax.random.choice``, quicker where one of very many is drawn."""
    if p is None or p.shape[0] < _FEWEST or math.prod(shape) != 1:
        return jax.random.choice(key, a, shape, replace, p)
    columns = math.isqrt(p.shape[0] - 1) + 1
    rows = jnp.pad(p, (0, -p.shape[0] % columns)).reshape(-1, columns)
    up_to_row = jnp.cumsum(rows.sum(axis=1))
    drawn = up_to_row[-1] * (1.0 - jax.random.uniform(key, (), p.dtype))
    row = jnp.minimum((up_to_row < drawn).sum(), rows.shape[0] - 1)
    before = jnp.where(row > 0, up_to_row[row - 1], 0.0)
    column = (before + jnp.cumsum(rows[row]) < drawn).sum()
    index = jnp.minimum(row * columns + column, p.shape[0] - 1)
    return jnp.asarray(a)[index].reshape(shape)


class _Overlaid:
    """A module with other values for some of its names."""

    def __init__(self, module: ModuleType, **values: Any) -> None:
        self._module = module
        vars(self).update(values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
