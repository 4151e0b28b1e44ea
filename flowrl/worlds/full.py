"""Full Craftax behind the adapter: nine floors of 48x48 tiles, darkness, tiers of tools, 67 achievements."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax import game_logic, renderer
from craftax.craftax.constants import (
    ACHIEVEMENT_REWARD_MAP,
    CLOSE_BLOCKS,
    DIRECTIONS,
    OBS_DIM,
    SOLID_BLOCKS,
    Action,
    BlockType,
    ItemType,
)
from craftax.craftax.util.game_logic_utils import calculate_light_level
from craftax.craftax_env import make_craftax_env_from_name

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.worlds.base import Perception
from flowrl.worlds.columns import SnapshotReader, frontier_features, nearest_features
from flowrl.worlds.descriptions import FULL
from flowrl.worlds.full_columns import (
    ACHIEVEMENTS,
    ARMOUR,
    ATTRIBUTES,
    CAPACITY,
    CLASSES,
    FIRST_ITEM,
    GROUPS,
    MOB_TYPES,
    REACHABLE,
    REMEMBERED,
    TIERS,
    VITAL_START,
    VITALS,
    WALKED_TO,
    View,
    bag_of,
    kinds_of,
    sorts_of,
    stats_of,
    vitals_of,
)
from flowrl.worlds.memory import UNSEEN, TileMemory
from flowrl.worlds.mobs import MobsInView, mob_in_front, mob_plane, nearest_mobs, place_in_view
from flowrl.worlds.pictures import Picture, stock_picture
from flowrl.worlds.shelter import WALK, open_tiles, shelter_features
from flowrl.worlds.states import at_another_hour, strongly_typed, tiles_at
from flowrl.worlds.tile_choice import draw_tiles_by_row
from flowrl.worlds.walking import REACH, find_ways, ways_features

draw_tiles_by_row(game_logic)

WALKABLE = np.isin(
    np.arange(len(BlockType) + len(ItemType)),
    [*SOLID_BLOCKS, BlockType.WATER.value, BlockType.LAVA.value, BlockType.OUT_OF_BOUNDS.value],
    invert=True,
)
"""bool ``[tile kinds, ladders included]``: where creatures of the overworld walk, and what was never seen."""


class State(NamedTuple):
    """The stock env state and the agent's memory (uint8 ``[9, padded rows, padded columns]``)."""

    env: Any
    memory: jax.Array


class FullWorld:
    """``Craftax-Symbolic-v1``; see :class:`flowrl.worlds.base.World`."""

    name = "Craftax-Symbolic-v1"
    description = FULL
    num_actions = len(Action)
    view_shape: tuple[int, int] = OBS_DIM
    plane_sizes = (len(BlockType), len(ItemType), len(CLASSES) * MOB_TYPES + 1)
    enums: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "BlockType": {block.name: block.value for block in BlockType},
        "Action": {action.name: action.value for action in Action},
    }

    sleep_actions: ClassVar[Mapping[int, tuple[str, ...]]] = {
        Action.SLEEP.value: ("vital:energy", "achievement:wake_up"),
        Action.REST.value: ("vital:health",),
    }

    achievement_values: ClassVar[Mapping[str, float]] = {
        f"achievement:{name}": float(value)
        for name, value in zip(ACHIEVEMENTS, ACHIEVEMENT_REWARD_MAP, strict=True)
    }

    def __init__(self) -> None:
        self._game = make_craftax_env_from_name(self.name, auto_reset=False)
        self._params = self._game.default_params
        static = self._game.static_env_params
        self._memory = TileMemory(static.num_levels, static.map_size, self.view_shape)
        self._reader = SnapshotReader(GROUPS)
        self.snapshot_spec = self._reader.spec
        self.vocabulary = Vocabulary(self._facts())
        self.initial_facts = {
            **{f"vital:{name}": VITAL_START for name in VITALS},
            **{f"stat:{name}": 1 for name in ATTRIBUTES},
        }
        example = jax.eval_shape(lambda: self.perceive(self.generate(jax.random.key(0))))
        self.feature_count: int = example.features.shape[0]

    def _facts(self) -> list[Fact]:
        kinds = {
            "inventory": (FactKind.COUNT, CAPACITY),
            "vital": (FactKind.VITAL, None),
            "stat": (FactKind.TIER, None),
            "achievement": (FactKind.FLAG, None),
            "near": (FactKind.REACH, None),
            "floor": (FactKind.PLACE, None),
        }
        tiers = {
            **{f"inventory:{n}": top for n, top in TIERS.items()},
            **{f"inventory:{n}": 2 for n in ARMOUR},
        }
        facts = []
        for field in self.snapshot_spec.fields:
            if field.fact is None:
                continue
            kind, capacity = kinds[field.fact.partition(":")[0]]
            if field.fact in tiers:
                kind, capacity = FactKind.TIER, tiers[field.fact]
            facts.append(Fact(field.fact, kind, capacity, field.meaning))
        return facts

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
            {name: (low, VITAL_START) for name, low in zip(VITALS, lowest, strict=True)},
            key,
        )
        return State(strongly_typed(env), state.memory)

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """The stock transition; the memory takes in what is now in view and lit."""
        _, env, _, _, _ = self._game.step_env(key, state.env, action, self._params)
        return self._look(State(strongly_typed(env), state.memory))

    def _look(self, state: State) -> State:
        env = state.env
        blocks, items, lit = self._tiles_in_view(env)
        ladder = (items == ItemType.LADDER_DOWN.value) | (items == ItemType.LADDER_UP.value)
        kinds = jnp.where(ladder, items + FIRST_ITEM, blocks)
        memory = self._memory.remember(state.memory, env.player_level, env.player_position, kinds, lit)
        return State(env, memory)

    def _tiles_in_view(self, env: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Blocks, items (uint8) and lit (bool), each ``[H, W]``, on the agent's floor."""
        window, floor = self._memory.window(env.player_position), env.player_level
        blocks = tiles_at(env.map, window, BlockType.OUT_OF_BOUNDS.value, floor).astype(jnp.uint8)
        items = tiles_at(env.item_map, window, ItemType.NONE.value, floor).astype(jnp.uint8)
        return blocks, items, tiles_at(env.light_map, window, 0, floor) > 0.05

    def _mobs_in_view(self, env: Any, lit: jax.Array) -> MobsInView:
        placed = []
        for index, name in enumerate(CLASSES):
            mobs = jax.tree.map(lambda leaf: leaf[env.player_level], getattr(env, name))
            kinds = 1 + index * MOB_TYPES + mobs.type_id
            placed.append(place_in_view(mobs, kinds, env.player_position, self.view_shape, lit))
        joined: MobsInView = jax.tree.map(lambda *parts: jnp.concatenate(parts), *placed)
        return joined

    def perceive(self, state: State) -> Perception:
        """Planes: blocks, items, creatures, each 0 in the dark. Features: what the stock observation lists,
        what is in front, and the nearest remembered tiles and creatures in view."""
        env = state.env
        seen, offsets = self._memory.nearest(
            state.memory, env.player_level, env.player_position, jnp.asarray([*kinds_of(REMEMBERED), UNSEEN])
        )
        nearest, unseen = (seen[:-1], offsets[:-1]), (seen[-1:], offsets[-1:])
        blocks, items, lit = self._tiles_in_view(env)
        mobs = self._mobs_in_view(env, lit)
        view = self._view(state, nearest, mobs)
        planes = jnp.stack([blocks, items, mob_plane(mobs, self.view_shape)])
        features = jnp.concatenate(
            [
                jnp.sqrt(bag_of(view).astype(jnp.float32)) / 2,
                vitals_of(view) / 10,
                stats_of(view) / 10,
                jnp.stack([env.sword_enchantment, env.bow_enchantment]),
                env.armour_enchantments,
                env.learned_spells,
                jax.nn.one_hot(env.player_direction - 1, 4),
                jax.nn.one_hot(env.player_level, self._memory.floors),
                jnp.stack([env.light_level, env.is_sleeping, env.is_resting]),
                shelter_features(*view.open),
                env.monsters_killed[env.player_level][None] / 10,
                jax.nn.one_hot(view.facing, len(BlockType)),
                jax.nn.one_hot((view.facing_mob + MOB_TYPES - 1) // MOB_TYPES, len(CLASSES) + 1),
                nearest_features(*nearest),
                nearest_features(*view.mobs),
                frontier_features(
                    unseen, self._memory.unseen_around(state.memory, env.player_level, env.player_position)
                ),
                ways_features(self._ways(state)),
            ]
        )
        return Perception((planes * lit).astype(jnp.uint8), features.astype(jnp.float32), self._reader(view))

    def _ways(self, state: State) -> jax.Array:
        env = state.env
        around = self._memory.around(
            state.memory, env.player_level, env.player_position, REACH, BlockType.OUT_OF_BOUNDS.value
        )
        dug = (around == BlockType.STONE.value) & (env.inventory.pickaxe > 0)
        to = around == jnp.asarray([*kinds_of(WALKED_TO), UNSEEN])[:, None, None]
        return find_ways(to, jnp.asarray(WALKABLE)[around], dug)

    def _view(self, state: State, nearest: tuple[jax.Array, jax.Array], mobs: MobsInView) -> View:
        env = state.env
        around = jnp.concatenate([env.player_position[None], env.player_position + CLOSE_BLOCKS])
        floor = env.player_level
        blocks = tiles_at(env.map, around, BlockType.OUT_OF_BOUNDS.value, floor)
        items = tiles_at(env.item_map, around, ItemType.NONE.value, floor) + FIRST_ITEM
        ahead = DIRECTIONS[env.player_direction]
        front = (env.player_position + ahead)[None]
        facing_mob, facing_health = mob_in_front(mobs, self.view_shape, ahead)
        wanted = kinds_of(REACHABLE)[:, None]
        remembered = self._memory.around(
            state.memory, floor, env.player_position, WALK, BlockType.OUT_OF_BOUNDS.value
        )
        return View(
            env,
            explored=self._memory.explored(state.memory, floor),
            near=jnp.any((blocks == wanted) | (items == wanted), axis=-1),
            open=open_tiles(jnp.asarray(WALKABLE)[remembered]),
            facing=tiles_at(env.map, front, BlockType.OUT_OF_BOUNDS.value, floor)[0],
            facing_mob=facing_mob,
            facing_health=facing_health,
            tiles=nearest,
            mobs=nearest_mobs(mobs, self.view_shape, sorts_of(mobs.kinds)),
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
