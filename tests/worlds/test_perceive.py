"""Snapshots and observations against a slow reading of the stock state, and against the stock observation."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_env import make_craftax_env_from_name
from slow_reader import SlowReader
from world_studio import BATCH, Studio, on_host, one, replaced

from flowrl.worlds.walking import FARTHEST


def shaken(studio: Studio, seed: int) -> Any:
    """States that hardly occur in play: random tiles, creatures around the agent, bags, deeds, memories."""
    rng = np.random.default_rng(seed)
    states = studio.fresh.states
    env = states.env
    rows, columns = env.map.shape[-2:]
    # Half of the agents stand at the map's edges.
    position = rng.integers(0, (rows, columns), (BATCH, 2))
    position[::4, 0] = rng.choice([0, 1, rows - 1], BATCH // 4)
    position[1::4, 1] = rng.choice([0, 2, columns - 1], BATCH // 4)
    env = replaced(
        env,
        map=rng.integers(1, len(studio.world.enums["BlockType"]), env.map.shape),
        player_position=position,
        player_direction=rng.integers(1, 5, BATCH),
        achievements=rng.random(env.achievements.shape) < 0.5,
        is_sleeping=rng.random(BATCH) < 0.5,
        light_level=rng.random(BATCH),
        **{f"player_{name}": rng.integers(0, 10, BATCH) for name in ("health", "food", "drink", "energy")},
    )
    if studio.full:
        env = replaced(
            env,
            player_level=rng.integers(0, 9, BATCH),
            item_map=rng.choice(5, env.item_map.shape, p=[0.8, 0.05, 0.05, 0.05, 0.05]),
            light_map=rng.random(env.light_map.shape) * (rng.random(env.light_map.shape) < 0.7),
            monsters_killed=rng.integers(0, 12, env.monsters_killed.shape),
            is_resting=rng.random(BATCH) < 0.5,
            **{
                f"player_{name}": rng.integers(0, 6, BATCH)
                for name in ("dexterity", "strength", "intelligence", "xp", "mana")
            },
        )
    bag = {
        name: rng.integers(0, 10, leaf.shape)
        for name, leaf in (
            (name, getattr(env.inventory, name)) for name in env.inventory.__dataclass_fields__
        )
    }
    env = env.replace(inventory=replaced(env.inventory, **bag))
    env = _with_creatures(studio, env, rng)
    kinds = len(studio.world.enums["BlockType"]) + 5 * studio.full  # and ladders
    memory = rng.integers(0, kinds, states.memory.shape) * (rng.random(states.memory.shape) < 0.1)
    memory[::3] *= rng.random(memory[::3].shape) < 0.02
    return states._replace(env=env, memory=jnp.asarray(memory, jnp.uint8))


def _with_creatures(studio: Studio, env: Any, rng: np.random.Generator) -> Any:
    names = ["zombies", "cows", "skeletons", "arrows"]
    if studio.full:
        names = ["melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles"]
    around = np.asarray(env.player_position)
    # No two classes on one tile: the stock observation shows them all, a plane one of them.
    for index, name in enumerate(names):
        mobs = getattr(env, name)
        offset = rng.integers(-4, 5, mobs.position.shape)
        offset[..., 1] = (offset[..., 1] // 5) * 5 + index
        place = around.reshape(BATCH, *(1,) * (offset.ndim - 2), 2) + offset
        fields = {"position": place, "mask": rng.random(mobs.mask.shape) < 0.7}
        fields["health"] = rng.integers(1, 9, mobs.health.shape)
        if studio.full:
            fields["type_id"] = rng.choice(8, mobs.type_id.shape, p=[0.44, *[0.08] * 7])
        env = env.replace(**{name: replaced(mobs, **fields)})
    return env


@functools.cache
def perceived(studio: Studio, seed: int) -> tuple[Any, Any]:
    """Random states and what the world perceives of them, on the host."""
    states = shaken(studio, seed)
    return on_host(states), on_host(_perceive(studio)(states))


@functools.cache
def _perceive(studio: Studio) -> Any:
    return jax.jit(jax.vmap(studio.world.perceive))


def assert_snapshot(studio: Studio, state: Any, row: np.ndarray) -> None:
    """Every field of one snapshot is what a slow reading says."""
    reader = SlowReader(studio, state)
    values = studio.spec.values(row)
    wrong = {}
    for path, value in values.items():
        expected = reader.expected(path)
        if not any(value == pytest.approx(right, abs=1e-6) for right in expected):
            wrong[path] = (value, expected)
    assert not wrong


@pytest.mark.parametrize("seed", [0, 1])
def test_snapshots_of_random_states(studio: Studio, seed: int) -> None:
    """Every column, at the map's edges and in the dark too."""
    states, seen = perceived(studio, seed)
    for index in range(BATCH):
        assert_snapshot(studio, one(states, index), seen.snapshot[index])


def test_snapshots_after_play(studio: Studio) -> None:
    """Every column of real states, each 10 steps of a walk."""
    for frame in studio.walk[::10]:
        for index in range(len(frame.snapshot)):
            assert_snapshot(studio, one(frame.states, index), frame.snapshot[index])


def test_the_nearest_offsets_are_pairs(studio: Studio) -> None:
    """Down and right belong to one and the same tile, at the distance that is given."""
    states, seen = perceived(studio, 0)
    kinds = [
        path.split(".")[1]
        for path in studio.spec.columns
        if path.startswith("closest_blocks.") and path.endswith(".seen")
    ]
    for index in range(BATCH):
        values = studio.spec.values(seen.snapshot[index])
        memory, reader = states.memory[index], SlowReader(studio, one(states, index))
        for kind in kinds:
            seen_one, distance, down, right = (
                values[f"closest_blocks.{kind}.{what}"] for what in ("seen", "distance", "down", "right")
            )
            if seen_one:
                assert abs(down) + abs(right) == distance
                row = reader.row + down + reader.height // 2
                column = reader.column + right + reader.width // 2
                assert memory[reader.floor, row, column] != 0


def decoded(studio: Studio, states: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``(blocks, items, mobs, lit)`` of the stock observation, ``[B, H, W]``; mobs ``[B, H, W, kinds]``."""
    game = make_craftax_env_from_name(studio.name, auto_reset=False)
    flat = np.asarray(jax.jit(jax.vmap(game.get_obs))(states.env))
    blocks, items, mobs = (37, 5, 40) if studio.full else (17, 0, 4)
    height, width = studio.world.view_shape
    channels = blocks + items + mobs + studio.full
    planes = flat[:, : height * width * channels].reshape(BATCH, height, width, channels)
    lit = planes[..., -1] > 0 if studio.full else np.ones(planes.shape[:-1], bool)
    item = planes[..., blocks : blocks + items].argmax(-1) if studio.full else np.zeros(lit.shape, int)
    return planes[..., :blocks].argmax(-1), item, planes[..., blocks + items :][..., :mobs], lit


def test_observed_tiles_are_those_of_the_stock_observation(studio: Studio) -> None:
    """Blocks and items exactly, 0 in the dark; no creature is missing, though one may hide another."""
    states = shaken(studio, 0)
    tiles = perceived(studio, 0)[1].tiles
    blocks, items, mobs, lit = decoded(studio, states)
    assert (~lit).any() == studio.full
    np.testing.assert_array_equal(tiles[:, 0], np.where(lit, blocks, 0))
    if studio.full:
        np.testing.assert_array_equal(tiles[:, 1], np.where(lit, items, 0))
    shown = np.argwhere(mobs)
    assert len(shown) > BATCH
    for index, row, column, kind in shown:
        assert tiles[index, -1, row, column] >= kind + 1


def test_observed_creatures_are_those_of_the_state(studio: Studio) -> None:
    """Also those that the stock observation loses, where a dead one lies on the same tile."""
    states, seen = perceived(studio, 0)
    for index in range(BATCH):
        reader = SlowReader(studio, one(states, index))
        plane = np.zeros(studio.world.view_shape, int)
        for name, kind, down, right, _ in reader.creatures():
            at = (down + reader.height // 2, right + reader.width // 2)
            plane[at] = max(plane[at], reader.category(name, kind))
        np.testing.assert_array_equal(seen.tiles[index, -1], plane)


def test_categories_fit_their_planes(studio: Studio) -> None:
    """What the network's embedding has room for."""
    for seed in (0, 1):
        tiles = perceived(studio, seed)[1].tiles
        assert tiles.dtype == np.uint8
        assert tiles.shape[1] == len(studio.world.plane_sizes)
        for plane, size in enumerate(studio.world.plane_sizes):
            assert tiles[:, plane].max() < size


def test_observed_ways_lead_to_what_is_remembered(studio: Studio) -> None:
    """To every kind by the first steps of the shortest ways; with a pickaxe through stone."""
    found = 0
    for seed in (0, 1):
        states, seen = perceived(studio, seed)
        for index in range(BATCH):
            ways = SlowReader(studio, one(states, index)).ways()
            features = seen.features[index, -5 * len(ways) :]
            shortest, closeness = features[: 4 * len(ways)].reshape(-1, 4), features[4 * len(ways) :]
            for row, (kind, steps) in enumerate(ways.items()):
                known = min(steps) <= FARTHEST
                expected = [known and one_way == min(steps) for one_way in steps]
                assert shortest[row].tolist() == expected, kind
                assert closeness[row] == pytest.approx(known / (1 + min(steps))), kind
                found += known
    assert found > BATCH * 5


def test_features_are_finite_and_small(studio: Studio) -> None:
    """Of the stated length, and of a size that a network can take."""
    features = perceived(studio, 0)[1].features
    assert features.shape == (BATCH, studio.world.feature_count)
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 10
