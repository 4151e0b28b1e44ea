"""The stock games' own pictures, at the size that their textures are drawn in."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

TILE_PIXELS = 16
"""A tile's width in pixels: that of the stock textures, so that nothing is resampled."""

Picture = Callable[[Any], jax.Array]
"""``stock env state -> uint8 [H, W, 3]``."""


def stock_picture(renderer: ModuleType) -> Picture:
    """What a person who plays the game sees: map, creatures, night, sleep, and below them the bag.

    Loading the textures takes seconds. The stock loader processes three sizes of them, minutes at the first
    use, writes them into the installed package and reports on stdout: here it is asked for one size alone.

    Args:
        renderer: the game's own ``renderer`` module.
    """

    def load_one_size() -> dict[int, Any]:
        return {TILE_PIXELS: renderer.load_all_textures_given_size(TILE_PIXELS)}

    stock: Any = renderer
    load_all_sizes = stock.load_all_textures
    stock.load_all_textures = load_one_size
    try:
        # Eagerly: a caller may just be compiling what draws with the textures.
        with jax.ensure_compile_time_eval():
            draw = stock.make_craftax_pixel_renderer(TILE_PIXELS)
    finally:
        stock.load_all_textures = load_all_sizes
    return lambda env: jnp.clip(draw(env), 0, 255).astype(jnp.uint8)
