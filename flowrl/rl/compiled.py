"""Compiling for one device, once for each shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding


@jax.jit
def split_key(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``(the next key, one to use now)``, as one small program."""
    parts = jax.random.split(key)
    return parts[0], parts[1]


def compiled(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Any:
    """``jax.jit`` with the device named for every argument; positional arguments only.

    Results of a ``jax.export``ed program are committed to their device, fresh arrays are not, and plain
    ``jit`` compiles once more for every mix of the two: measured, three times the env's step and PPO.

    Args:
        function: of arrays and pytrees of arrays.
        donate: positions of the arguments whose memory the results may take.
    """
    device = SingleDeviceSharding(jax.devices()[0])
    return jax.jit(function, donate_argnums=donate, in_shardings=device, out_shardings=device)
