"""Craftax-Classic behind the adapter: 64x64 tiles, one floor, 22 achievements."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax_classic import game_logic, renderer
from craftax.craftax_classic.constants import (
    CLOSE_BLOCKS,
    DIRECTIONS,
    OBS_DIM,
    SOLID_BLOCKS,
    Achievement,
    Action,
    BlockType,
)
from craftax.craftax_classic.game_logic import calculate_light_level
from craftax.craftax_env import make_craftax_env_from_name

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.worlds.base import Perception
from flowrl.worlds.columns import (
    ColumnGroup,
    SnapshotReader,
    frontier_features,
    nearest_columns,
    nearest_features,
    nearest_fields,
)
from flowrl.worlds.descriptions import CLASSIC
from flowrl.worlds.memory import UNSEEN, TileMemory
from flowrl.worlds.mobs import MobsInView, mob_in_front, mob_plane, nearest_mobs, place_in_view
from flowrl.worlds.pictures import Picture, stock_picture
from flowrl.worlds.shelter import SHELTER_FIELDS, WALK, open_tiles, shelter_columns, shelter_features
from flowrl.worlds.snapshot import Field
from flowrl.worlds.states import at_another_hour, strongly_typed, tiles_at
from flowrl.worlds.tile_choice import draw_tiles_by_row
from flowrl.worlds.walking import REACH, find_ways, ways_features

draw_tiles_by_row(game_logic)

CAPACITY = 9
"""The most of anything that the bag or a vital holds."""

INVENTORY = (
    "wood", "stone", "coal", "iron", "diamond", "sapling",
    "wood_pickaxe", "stone_pickaxe", "iron_pickaxe", "wood_sword", "stone_sword", "iron_sword",
)  # fmt: skip
VITALS = ("health", "food", "drink", "energy")
MOBS = ("zombie", "cow", "skeleton", "arrow")
ACHIEVEMENTS = tuple(a.name.lower() for a in sorted(Achievement, key=lambda a: a.value))

REMEMBERED = (
    BlockType.GRASS, BlockType.WATER, BlockType.STONE, BlockType.TREE, BlockType.PATH, BlockType.COAL,
    BlockType.IRON, BlockType.DIAMOND, BlockType.CRAFTING_TABLE, BlockType.FURNACE, BlockType.SAND,
    BlockType.LAVA, BlockType.PLANT, BlockType.RIPE_PLANT,
)  # fmt: skip
"""Tile kinds that ``closest_blocks`` answers for."""

REACHABLE = tuple(
    block for block in REMEMBERED if block not in (BlockType.GRASS, BlockType.SAND, BlockType.PATH)
)
"""Tile kinds that ``near`` answers for: what one crafts at, mines, drinks or must avoid."""

WALKED_TO = (
    BlockType.WATER, BlockType.STONE, BlockType.TREE, BlockType.COAL, BlockType.IRON, BlockType.DIAMOND,
    BlockType.CRAFTING_TABLE, BlockType.FURNACE, BlockType.RIPE_PLANT,
)  # fmt: skip
"""Tile kinds to which a policy is shown the way on foot, beside the one to what was never seen."""

WALKABLE = np.isin(
    np.arange(len(BlockType)),
    [*np.asarray(SOLID_BLOCKS), BlockType.LAVA.value, BlockType.OUT_OF_BOUNDS.value],
    invert=True,
)
"""bool ``[tile kinds]``: where creatures walk; what was never seen may be walked on, for all one knows."""


class State(NamedTuple):
    """The stock env state and the agent's memory (uint8 ``[1, padded rows, padded columns]``)."""

    env: Any
    memory: jax.Array


class _View(NamedTuple):
    """One state as its reader functions need it."""

    env: Any
    explored: jax.Array
    near: jax.Array
    open: tuple[jax.Array, jax.Array]
    facing: jax.Array
    facing_mob: jax.Array
    facing_health: jax.Array
    tiles: tuple[jax.Array, jax.Array]
    mobs: tuple[jax.Array, jax.Array]


def _names(blocks: tuple[BlockType, ...]) -> tuple[str, ...]:
    return tuple(block.name.lower() for block in blocks)


def _kinds(blocks: tuple[BlockType, ...]) -> np.ndarray:
    return np.array([block.value for block in blocks], np.uint8)


def _inventory(view: _View) -> jax.Array:
    return jnp.stack([jnp.asarray(getattr(view.env.inventory, name)) for name in INVENTORY])


def _vitals(view: _View) -> jax.Array:
    return jnp.stack([jnp.asarray(getattr(view.env, f"player_{name}")) for name in VITALS])


_GROUPS = (
    ColumnGroup(
        tuple(Field(f"inventory.{n}", "int32", "items", f"{n.replace('_', ' ')} in the bag, 0..9",
                    f"inventory:{n}") for n in INVENTORY),
        _inventory,
    ),
    ColumnGroup(
        tuple(Field(f"vitals.{n}", "int32", "0..9", f"{n}; decays with time", f"vital:{n}") for n in VITALS),
        _vitals,
    ),
    ColumnGroup(
        tuple(Field(f"achievements.{n}", "bool", "", f"{n.replace('_', ' ')} done in this episode",
                    f"achievement:{n}") for n in ACHIEVEMENTS),
        lambda view: view.env.achievements,
    ),
    ColumnGroup(
        tuple(Field(f"near.{n}", "bool", "", f"a {n.replace('_', ' ')} is on one of the 8 tiles around",
                    f"near:{n}") for n in _names(REACHABLE)),
        lambda view: view.near,
    ),
    ColumnGroup(SHELTER_FIELDS, lambda view: shelter_columns(*view.open)),
    ColumnGroup(
        (
            Field("facing.block", "int32", "BlockType", "the tile in front: what the DO action acts on"),
            Field("facing.zombie", "bool", "", "a zombie stands in front"),
            Field("facing.cow", "bool", "", "a cow stands in front"),
            Field("facing.skeleton", "bool", "", "a skeleton stands in front"),
            Field("facing.health", "int32", "points", "health left of the creature in front, 0 if none"),
        ),
        lambda view: jnp.stack(
            [
                view.facing,
                *(view.facing_mob == kind for kind in range(1, len(MOBS))),
                view.facing_health,
            ]
        ),
    ),
    ColumnGroup(
        (
            Field("light", "float32", "0..1", "daylight: 1 at noon, near 0 at night"),
            Field("sleeping", "bool", "", "asleep: every action is a no-op until waking"),
            Field("floor", "int32", "floor", "always 0 in this world", "floor"),
            Field("explored", "int32", "tiles", "tiles seen so far in this episode; grows with what is new"),
        ),
        lambda view: jnp.stack(
            [view.env.light_level, view.env.is_sleeping, jnp.zeros(()), view.explored]
        ),
    ),
    ColumnGroup(
        nearest_fields("closest_blocks", _names(REMEMBERED), "remembered: seen at some time in this episode"),
        lambda view: nearest_columns(*view.tiles),
    ),
    ColumnGroup(
        nearest_fields("closest_mobs", MOBS, "in view"),
        lambda view: nearest_columns(*view.mobs),
    ),
)  # fmt: skip


class ClassicWorld:
    """``Craftax-Classic-Symbolic-v1``; see :class:`flowrl.worlds.base.World`."""

    name = "Craftax-Classic-Symbolic-v1"
    description = CLASSIC
    num_actions = len(Action)
    view_shape: tuple[int, int] = OBS_DIM
    plane_sizes = (len(BlockType), len(MOBS) + 1)
    enums: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "BlockType": {block.name: block.value for block in BlockType},
        "Action": {action.name: action.value for action in Action},
    }

    sleep_actions: ClassVar[Mapping[int, tuple[str, ...]]] = {
        Action.SLEEP.value: ("vital:energy", "achievement:wake_up")
    }

    achievement_values: ClassVar[Mapping[str, float]] = {f"achievement:{name}": 1.0 for name in ACHIEVEMENTS}

    def __init__(self) -> None:
        self._game = make_craftax_env_from_name(self.name, auto_reset=False)
        self._params = self._game.default_params
        self._memory = TileMemory(1, self._game.static_env_params.map_size, self.view_shape)
        self._reader = SnapshotReader(_GROUPS)
        self.snapshot_spec = self._reader.spec
        self.vocabulary = Vocabulary(self._facts())
        self.initial_facts = {f"vital:{name}": CAPACITY for name in VITALS}
        example = jax.eval_shape(lambda: self.perceive(self.generate(jax.random.key(0))))
        self.feature_count: int = example.features.shape[0]

    def _facts(self) -> list[Fact]:
        meanings = {field.fact: field.meaning for field in self.snapshot_spec.fields if field.fact}
        kinds = {
            "inventory": (FactKind.COUNT, CAPACITY),
            "vital": (FactKind.VITAL, CAPACITY),
            "achievement": (FactKind.FLAG, None),
            "near": (FactKind.REACH, None),
            "floor": (FactKind.PLACE, None),
        }
        return [Fact(name, *kinds[name.partition(":")[0]], meaning) for name, meaning in meanings.items()]

    def generate(self, key: jax.Array) -> State:
        """A fresh world; the agent remembers what it sees from its start tile."""
        _, env = self._game.reset_env(key, self._params)
        return self._look(State(strongly_typed(env), self._memory.empty()))

    def varied(self, state: State, lowest: jax.Array, key: jax.Array) -> State:
        """See :meth:`flowrl.worlds.base.World.varied`."""
        env = at_another_hour(
            state.env,
            self._params.day_length,
            lambda timestep: calculate_light_level(timestep, self._params),
            {name: (low, CAPACITY) for name, low in zip(VITALS, lowest, strict=True)},
            key,
        )
        return State(strongly_typed(env), state.memory)

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """The stock transition; the memory takes in what is now in view."""
        _, env, _, _, _ = self._game.step_env(key, state.env, action, self._params)
        return self._look(State(strongly_typed(env), state.memory))

    def _look(self, state: State) -> State:
        env = state.env
        view = self._tiles_in_view(env)
        lit = jnp.ones(self.view_shape, bool)
        return State(env, self._memory.remember(state.memory, jnp.int32(0), env.player_position, view, lit))

    def _tiles_in_view(self, env: Any) -> jax.Array:
        window = self._memory.window(env.player_position)
        return tiles_at(env.map, window, BlockType.OUT_OF_BOUNDS.value).astype(jnp.uint8)

    def _mobs_in_view(self, env: Any) -> MobsInView:
        lit = jnp.ones(self.view_shape, bool)
        placed = []
        for kind, mobs in enumerate((env.zombies, env.cows, env.skeletons, env.arrows), start=1):
            kinds = jnp.full(mobs.mask.shape, kind, jnp.int32)
            placed.append(place_in_view(mobs, kinds, env.player_position, self.view_shape, lit))
        joined: MobsInView = jax.tree.map(lambda *parts: jnp.concatenate(parts), *placed)
        return joined

    def perceive(self, state: State) -> Perception:
        """Planes: tile kinds, creatures. Features: bag, vitals, direction, light, asleep, what is in front,
        the nearest tiles and creatures.

        What is in front is in the planes too, but only as a direction and a tile that must be put together:
        said outright, skills that act on it are learned several times faster (docs/LOG.md).
        """
        env = state.env
        seen, offsets = self._memory.nearest(
            state.memory, jnp.int32(0), env.player_position, jnp.asarray([*_kinds(REMEMBERED), UNSEEN])
        )
        nearest, unseen = (seen[:-1], offsets[:-1]), (seen[-1:], offsets[-1:])
        mobs = self._mobs_in_view(env)
        tiles = self._tiles_in_view(env)
        view = self._view(state, nearest, mobs)
        features = jnp.concatenate(
            [
                _inventory(view) / CAPACITY,
                _inventory(view) > 0,
                _vitals(view) / CAPACITY,
                jax.nn.one_hot(env.player_direction - 1, 4),
                jnp.stack([env.light_level, env.is_sleeping]),
                shelter_features(*view.open),
                jax.nn.one_hot(view.facing, len(BlockType)),
                jax.nn.one_hot(view.facing_mob, len(MOBS) + 1),
                nearest_features(*nearest),
                nearest_features(*view.mobs),
                frontier_features(
                    unseen, self._memory.unseen_around(state.memory, jnp.int32(0), env.player_position)
                ),
                ways_features(self._ways(state)),
            ]
        )
        planes = jnp.stack([tiles, mob_plane(mobs, self.view_shape)])
        return Perception(planes, features.astype(jnp.float32), self._reader(view))

    def _ways(self, state: State) -> jax.Array:
        env = state.env
        around = self._memory.around(
            state.memory, jnp.int32(0), env.player_position, REACH, BlockType.OUT_OF_BOUNDS.value
        )
        dug = (around == BlockType.STONE.value) & (env.inventory.wood_pickaxe > 0)
        to = around == jnp.asarray([*_kinds(WALKED_TO), UNSEEN])[:, None, None]
        return find_ways(to, jnp.asarray(WALKABLE)[around], dug)

    def _view(self, state: State, nearest: tuple[jax.Array, jax.Array], mobs: MobsInView) -> _View:
        env = state.env
        blocks = tiles_at(env.map, env.player_position + CLOSE_BLOCKS, BlockType.OUT_OF_BOUNDS.value)
        around = self._memory.around(
            state.memory, jnp.int32(0), env.player_position, WALK, BlockType.OUT_OF_BOUNDS.value
        )
        ahead = DIRECTIONS[env.player_direction]
        facing_mob, facing_health = mob_in_front(mobs, self.view_shape, ahead)
        return _View(
            env,
            explored=self._memory.explored(state.memory, jnp.int32(0)),
            near=jnp.any(blocks == _kinds(REACHABLE)[:, None], axis=-1),
            open=open_tiles(jnp.asarray(WALKABLE)[around]),
            facing=tiles_at(env.map, (env.player_position + ahead)[None], BlockType.OUT_OF_BOUNDS.value)[0],
            facing_mob=facing_mob,
            facing_health=facing_health,
            tiles=nearest,
            mobs=nearest_mobs(mobs, self.view_shape, mobs.kinds == jnp.arange(1, len(MOBS) + 1)[:, None]),
        )

    def ended(self, state: State) -> tuple[jax.Array, jax.Array]:
        """``(died, time_up)``."""
        over = self._game.is_terminal(state.env, self._params)
        time_up = state.env.timestep >= self._params.max_timesteps
        return over & ~time_up, time_up

    def render(self, state: State) -> jax.Array:
        """The stock game's picture."""
        return self._picture(state.env)

    @functools.cached_property
    def _picture(self) -> Picture:
        return stock_picture(renderer)
