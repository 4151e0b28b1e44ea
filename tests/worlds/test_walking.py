"""The way on foot, against Dijkstra's algorithm written plainly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_ways import SIDE, slow_ways

from flowrl.worlds.walking import FARTHEST, REACH, find_ways, ways_features

GRASS, WATER, STONE, IRON = 1, 2, 3, 4
WANTED = jnp.array([WATER, STONE, IRON], jnp.uint8)


@jax.jit
def _ways(around: jax.Array, pickaxe: jax.Array) -> jax.Array:
    return find_ways(around == WANTED[:, None, None], around == GRASS, (around == STONE) & pickaxe)


def ways(tiles: np.ndarray, pickaxe: bool) -> np.ndarray:
    return np.asarray(_ways(jnp.asarray(tiles, jnp.uint8), jnp.bool_(pickaxe)))


def some_tiles(seed: int) -> np.ndarray:
    """Open land with lakes, or mostly stone; the agent stands on grass."""
    rng = np.random.default_rng(seed)
    shares = [0.55, 0.25, 0.17, 0.03] if seed % 2 else [0.35, 0.1, 0.545, 0.005]
    tiles = rng.choice([GRASS, WATER, STONE, IRON], (SIDE, SIDE), p=shares)
    tiles[REACH, REACH] = GRASS
    return tiles


def test_around_a_lake() -> None:
    """Stone lies three tiles to the right, across water; the way leads around its lower end."""
    tiles = np.full((SIDE, SIDE), GRASS)
    tiles[: REACH + 3, REACH + 1] = WATER
    tiles[REACH, REACH + 3] = STONE
    found = ways(tiles, pickaxe=True)
    water, stone, iron = found
    assert water.tolist()[3] == 1
    assert stone.tolist()[:3] == [11, 9, 11]
    assert stone[3] > FARTHEST
    assert (iron > FARTHEST).all()


@pytest.mark.parametrize("pickaxe", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_against_dijkstra(pickaxe: bool, seed: int) -> None:
    """Every kind and first step; with a pickaxe ways lead through stone and take a step more there."""
    tiles = some_tiles(seed)
    found = np.minimum(ways(tiles, pickaxe), FARTHEST + 1)
    cost = (tiles == GRASS) + 2 * pickaxe * (tiles == STONE)
    for row, kind in enumerate((WATER, STONE, IRON)):
        assert found[row].tolist() == slow_ways(cost, tiles == kind), kind


def test_every_env_of_a_batch_has_its_own_ways() -> None:
    """Other tiles, other tools; what all have in common need not be repeated."""
    squares = np.stack([some_tiles(seed) for seed in range(4)])
    pickaxes = np.array([True, False, True, False])
    found = jax.vmap(_ways)(jnp.asarray(squares, jnp.uint8), jnp.asarray(pickaxes))
    for row, (tiles, pickaxe) in enumerate(zip(squares, pickaxes, strict=True)):
        np.testing.assert_array_equal(found[row], ways(tiles, bool(pickaxe)))
    shared = jax.vmap(_ways, in_axes=(None, 0))(jnp.asarray(squares[0], jnp.uint8), jnp.asarray(pickaxes))
    np.testing.assert_array_equal(shared[1], ways(squares[0], pickaxe=False))
    twice = jax.vmap(jax.vmap(_ways))(
        jnp.asarray(squares.reshape(2, 2, SIDE, SIDE), jnp.uint8), jnp.asarray(pickaxes.reshape(2, 2))
    )
    np.testing.assert_array_equal(twice.reshape(found.shape), found)


def test_what_a_policy_sees() -> None:
    """All first steps of shortest ways, the closeness, and nothing where no way is known."""
    steps = jnp.array([[3, 3, 5, FARTHEST + 1], [FARTHEST + 1] * 4])
    seen = np.asarray(ways_features(steps))
    np.testing.assert_allclose(seen, [1, 1, 0, 0, 0, 0, 0, 0, 0.25, 0])
