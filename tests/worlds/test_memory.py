"""What the agent remembers: what it has itself seen, lit, and nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_reader import SlowReader
from world_studio import BATCH, Studio, one

from flowrl.worlds.memory import UNSEEN, TileMemory

MEMORY = TileMemory(floors=2, map_shape=(6, 8), view_shape=(3, 5))


def test_a_look_writes_the_lit_tiles_of_one_window() -> None:
    """Around the position, on its floor; the dark keeps what was known of it."""
    known = jnp.full((2, *MEMORY.padded_shape), 7, jnp.uint8)
    view = jnp.arange(10, 25, dtype=jnp.uint8).reshape(3, 5)
    lit = jnp.ones((3, 5), bool).at[0, 0].set(False)
    found = np.asarray(MEMORY.remember(known, jnp.int32(1), jnp.array([2, 3]), view, lit))
    expected = np.full((2, 8, 12), 7)
    expected[1, 2:5, 3:8] = np.arange(10, 25).reshape(3, 5)
    expected[1, 2, 3] = 7
    np.testing.assert_array_equal(found, expected)


def test_windows_are_centred_on_the_agent() -> None:
    """Also at the corners of the map, where they stick out."""
    window = np.asarray(MEMORY.window(jnp.array([0, 7])))
    assert window.shape == (3, 5, 2)
    assert window[1, 2].tolist() == [0, 7]
    assert window[0, 0].tolist() == [-1, 5]
    assert window[2, 4].tolist() == [1, 9]


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3])
def test_the_nearest_tile_against_brute_force(density: float) -> None:
    """From every position of the map, each kind; what lies beyond the edge counts as any other tile."""
    rng = np.random.default_rng(0)
    memory = rng.integers(1, 5, (2, *MEMORY.padded_shape)) * (rng.random((2, *MEMORY.padded_shape)) < density)
    kinds = jnp.arange(1, 5, dtype=jnp.uint8)
    rows, columns = MEMORY.map_shape
    positions = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    nearest = jax.jit(jax.vmap(MEMORY.nearest, in_axes=(None, None, 0, None)))
    for floor in (0, 1):
        arguments = (jnp.asarray(memory, jnp.uint8), jnp.int32(floor), jnp.asarray(positions), kinds)
        seen, offsets = (np.asarray(part) for part in nearest(*arguments))
        for index, (row, column) in enumerate(positions):
            for kind in range(4):
                tiles = np.argwhere(memory[floor] == kind + 1) - (row + 1, column + 2)
                distances = np.abs(tiles).sum(-1)
                assert seen[index, kind] == (len(tiles) > 0)
                if len(tiles) == 0:
                    assert offsets[index, kind].tolist() == [0, 0]
                else:
                    assert np.abs(offsets[index, kind]).sum() == distances.min()
                    assert offsets[index, kind].tolist() in tiles.tolist()


def test_what_was_not_seen_against_brute_force() -> None:
    """From every position: the nearest such tile, and the shares of the eight windows around the view."""
    rng = np.random.default_rng(1)
    memory = rng.integers(1, 5, (2, *MEMORY.padded_shape)) * (rng.random((2, *MEMORY.padded_shape)) < 0.8)
    (rows, columns), (height, width) = MEMORY.map_shape, MEMORY.view_shape
    unseen = np.zeros((MEMORY.padded_shape[0] + 2 * height, MEMORY.padded_shape[1] + 2 * width))
    unseen[height:-height, width:-width] = memory[1] == 0
    for row in range(rows):
        for column in range(columns):
            arguments = (jnp.asarray(memory, jnp.uint8), jnp.int32(1), jnp.array([row, column]))
            shares = np.asarray(MEMORY.unseen_around(*arguments)).tolist()
            windows = [
                unseen[row + down : row + down + height, column + right : column + right + width].mean()
                for down in (0, height, 2 * height)
                for right in (0, width, 2 * width)
            ]
            assert shares == pytest.approx(windows[:4] + windows[5:])
            seen, offset = MEMORY.nearest(*arguments, jnp.array([UNSEEN], jnp.uint8))
            tiles = np.argwhere(memory[1] == 0) - (row + height // 2, column + width // 2)
            assert seen.all()
            assert int(jnp.abs(offset).sum()) == np.abs(tiles).sum(-1).min()


def test_nothing_is_remembered_at_first() -> None:
    """Not a tile, not a kind."""
    memory = MEMORY.empty()
    assert int(MEMORY.explored(memory, jnp.int32(0))) == 0
    seen, _ = MEMORY.nearest(memory, jnp.int32(0), jnp.array([1, 1]), jnp.array([1, 2], jnp.uint8))
    assert not seen.any()


def test_a_fresh_agent_remembers_its_first_view(studio: Studio) -> None:
    """And nothing of the other floors."""
    states = jax.device_get((studio.fresh.states.env.player_position, studio.fresh.states.memory))
    height, width = studio.world.view_shape
    for (row, column), memory in zip(*states, strict=True):
        in_view = np.zeros(memory.shape, bool)
        in_view[0, row : row + height, column : column + width] = True
        assert not memory[~in_view].any()
        assert memory[0, row + height // 2, column + width // 2] != 0
    assert (studio.column(studio.fresh, "explored") <= height * width).all()
    assert (studio.column(studio.fresh, "explored") > 0).all()


def test_memory_over_a_walk_against_a_slow_agent(studio: Studio) -> None:
    """The memory holds what was in view and lit when it was last in view, tile by tile, and nothing else."""
    walked = 0
    for index in range(len(studio.walk[0].snapshot)):
        memory = one(studio.walk[0].states, index).memory.copy()
        for frame in studio.walk[1:]:
            state = one(frame.states, index)
            SlowReader(studio, state).look(memory)
            np.testing.assert_array_equal(state.memory, memory)
        first, last = studio.walk[0].states.memory[index], studio.walk[-1].states.memory[index]
        walked += int((first != 0).sum() < (last != 0).sum())
    assert walked > len(studio.walk[0].snapshot) // 2, "the agents hardly moved: nothing was tested"


def test_the_dark_is_not_remembered(full: Studio) -> None:
    """On a dark floor most of what is in view stays unknown; placed torches light it up."""
    in_the_dark = 0
    for frame in full.walk:
        for index in range(len(frame.snapshot)):
            reader = SlowReader(full, one(frame.states, index))
            for down, right in reader.view():
                if not reader.lit(down, right):
                    # Known only if it was lit when it was looked at before.
                    in_the_dark += 1
    assert in_the_dark > 1000, "the walk never was in the dark: nothing was tested"

    rows, columns = full.fresh.states.env.map.shape[-2:]
    states = full.planted({"torches": 3}, {}, player_level=2, light_map=0.0, item_map=0)
    states = states._replace(memory=jnp.zeros_like(states.memory))
    dark = full.step(states, full.action("noop"))
    assert not np.asarray(dark.states.memory).any()
    assert not np.asarray(dark.seen.tiles).any()
    assert (full.column(dark, "explored") == 0).all()
    assert (full.column(dark, "closest_blocks.grass.distance") == 99).all()
    lit = full.step(dark.states, full.action("place_torch"))
    assert (full.column(lit, "inventory.torches") == 2).all()
    assert (full.column(lit, "explored") > 10).all()
    known = np.argwhere(np.asarray(lit.states.memory[0, 2]))
    height, width = full.world.view_shape
    torch = np.array([rows // 2 - 1 + height // 2, columns // 2 + width // 2])
    assert np.abs(known - torch).max() <= 4


def test_a_ladder_is_remembered_as_such(full: Studio) -> None:
    """On its own floor; what is beneath it is not."""
    rows, columns = full.fresh.states.env.map.shape[-2:]
    items = np.zeros((9, rows, columns), int)
    items[0, rows // 2 + 2, columns // 2 - 1] = 2
    items[1, rows // 2, columns // 2 + 1] = 2
    placed = full.step(full.planted({}, {}, item_map=items), full.action("noop"))
    for what, value in {"seen": 1, "distance": 3, "down": 2, "right": -1}.items():
        assert (full.column(placed, f"closest_blocks.ladder_down.{what}") == value).all()
    assert (full.column(placed, "near.ladder_down") == 0).all()
    assert (full.column(placed, "closest_blocks.ladder_up.seen") == 0).all()
    assert placed.rows == BATCH
