"""The games' own pictures of planted states: by day, by night, asleep."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from world_studio import Studio, one, replaced

from flowrl.worlds.pictures import TILE_PIXELS

GREEN = 1


def test_pictures_show_the_state_and_the_sky(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree right of the agent changes its tile alone; night and sleep are dark, the bag below is not.

    The texture loader's own reports must not get into what ``--json`` prints.
    """
    render = jax.jit(studio.world.render)
    meadow, tree = (one(studio.planted({}, tiles), 0) for tiles in ({}, {(0, 1): "tree"}))

    def picture(state: Any, **sky: Any) -> np.ndarray:
        return np.asarray(render(state._replace(env=replaced(state.env, **sky))))

    day = picture(meadow, light_level=1.0)
    rows, columns = studio.world.view_shape
    assert day.dtype == np.uint8
    assert day.shape[0] > rows * TILE_PIXELS
    assert day.shape[1:] == (columns * TILE_PIXELS, 3)
    changed = np.argwhere((day != picture(tree, light_level=1.0)).any(axis=-1)) // TILE_PIXELS
    assert {tuple(tile) for tile in changed.tolist()} == {(rows // 2, columns // 2 + 1)}
    game = slice(0, rows * TILE_PIXELS)
    for dark in (
        picture(meadow, light_level=0.05),
        picture(meadow, light_level=1.0, is_sleeping=True),
    ):
        assert dark[game, :, GREEN].mean() < 0.6 * day[game, :, GREEN].mean()
        np.testing.assert_array_equal(dark[game.stop :], day[game.stop :])
    assert capsys.readouterr().out == ""
