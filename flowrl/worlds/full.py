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
    Achievement,
    Action,
    BlockType,
    ItemType,
)
from craftax.craftax.util.game_logic_utils import calculate_light_level
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
from flowrl.worlds.descriptions import FULL
from flowrl.worlds.memory import UNSEEN, TileMemory
from flowrl.worlds.mobs import MobsInView, mob_in_front, mob_plane, nearest_mobs, place_in_view
from flowrl.worlds.pictures import Picture, stock_picture
from flowrl.worlds.shelter import SHELTER_FIELDS, WALK, open_tiles, shelter_columns, shelter_features
from flowrl.worlds.snapshot import Field
from flowrl.worlds.states import at_another_hour, strongly_typed, tiles_at
from flowrl.worlds.tile_choice import draw_tiles_by_row

draw_tiles_by_row(game_logic)

CAPACITY = 99
"""The most of one thing that the bag holds."""

VITAL_START = 9
AMOUNTS = (
    "wood", "stone", "coal", "iron", "diamond", "sapphire", "ruby", "sapling", "torches", "arrows", "books",
)  # fmt: skip
TIERS = {"pickaxe": 4, "sword": 4, "bow": 1}
"""Tools that are levels, with the highest: 1 wood, 2 stone, 3 iron, 4 diamond."""

POTIONS = ("red", "green", "blue", "pink", "cyan", "yellow")
ARMOUR = ("helmet", "chestplate", "leggings", "boots")
VITALS = ("health", "food", "drink", "energy", "mana")
ATTRIBUTES = ("dexterity", "strength", "intelligence")
ACHIEVEMENTS = tuple(a.name.lower() for a in sorted(Achievement, key=lambda a: a.value))

MOB_TYPES = 8
"""Types of creature in each of the stock env's classes."""

_CLASSES = ("melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles")
MOBS = {
    "zombie": (0, 0),
    "cow": (1, 0),
    "skeleton": (2, 0),
    "melee": (0, None),
    "ranged": (2, None),
    "projectile": (3, None),
}
"""Creatures that ``closest_mobs`` answers for: class index, and the type in it or None for any."""

LADDERS = (ItemType.LADDER_DOWN, ItemType.LADDER_UP)
_FIRST_ITEM = len(BlockType)
"""A ladder is remembered as a tile kind of its own, numbered after the blocks."""

REMEMBERED = (
    BlockType.GRASS, BlockType.WATER, BlockType.STONE, BlockType.TREE, BlockType.PATH, BlockType.COAL,
    BlockType.IRON, BlockType.DIAMOND, BlockType.CRAFTING_TABLE, BlockType.FURNACE, BlockType.LAVA,
    BlockType.PLANT, BlockType.RIPE_PLANT, BlockType.SAPPHIRE, BlockType.RUBY, BlockType.CHEST,
    BlockType.FOUNTAIN, BlockType.ENCHANTMENT_TABLE_FIRE, BlockType.ENCHANTMENT_TABLE_ICE,
)  # fmt: skip
REACHABLE = tuple(block for block in REMEMBERED if block not in (BlockType.GRASS, BlockType.PATH))

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


def _kinds(blocks: tuple[BlockType, ...]) -> np.ndarray:
    ladders = [_FIRST_ITEM + item.value for item in LADDERS]
    return np.array([*(block.value for block in blocks), *ladders], np.uint8)


def _names(blocks: tuple[BlockType, ...]) -> tuple[str, ...]:
    return tuple(kind.name.lower() for kind in (*blocks, *LADDERS))


def _bag(view: _View) -> jax.Array:
    inventory = view.env.inventory
    counts = [jnp.asarray(getattr(inventory, name)) for name in (*AMOUNTS, *TIERS)]
    return jnp.concatenate([jnp.stack(counts), inventory.potions, inventory.armour])


def _vitals(view: _View) -> jax.Array:
    return jnp.stack([jnp.asarray(getattr(view.env, f"player_{n}"), jnp.float32) for n in VITALS])


def _stats(view: _View) -> jax.Array:
    return jnp.stack([jnp.asarray(getattr(view.env, f"player_{n}")) for n in (*ATTRIBUTES, "xp")])


def _bag_fields() -> tuple[Field, ...]:
    def field(name: str, unit: str, meaning: str) -> Field:
        return Field(f"inventory.{name}", "int32", unit, meaning, f"inventory:{name}")

    return (
        *(field(n, "items", f"{n} in the bag, 0..{CAPACITY}") for n in AMOUNTS),
        *(
            field(n, "tier", f"best {n}: 0 none, 1 wood, 2 stone, 3 iron, 4 diamond")
            for n in ("pickaxe", "sword")
        ),
        field("bow", "tier", "1 with a bow"),
        *(
            field(f"{n}_potion", "items", f"{n} potions; what a colour does differs by episode")
            for n in POTIONS
        ),
        *(field(n, "tier", f"{n}: 0 none, 1 iron, 2 diamond") for n in ARMOUR),
    )


_GROUPS = (
    ColumnGroup(_bag_fields(), _bag),
    ColumnGroup(
        tuple(Field(f"vitals.{n}", "float32", "points", f"{n}; changes with time", f"vital:{n}")
              for n in VITALS),
        _vitals,
    ),
    ColumnGroup(
        tuple(Field(f"stats.{n}", "int32", "level", f"{n}", f"stat:{n}") for n in (*ATTRIBUTES, "xp")), _stats
    ),
    ColumnGroup(
        tuple(Field(f"achievements.{n}", "bool", "", f"{n.replace('_', ' ')} done in this episode",
                    f"achievement:{n}") for n in ACHIEVEMENTS),
        lambda view: view.env.achievements,
    ),
    ColumnGroup(
        tuple(Field(f"near.{n}", "bool", "", f"a {n.replace('_', ' ')} is on one of the 9 tiles around",
                    f"near:{n}") for n in _names(REACHABLE)),
        lambda view: view.near,
    ),
    ColumnGroup(SHELTER_FIELDS, lambda view: shelter_columns(*view.open)),
    ColumnGroup(
        (
            Field("facing.block", "int32", "BlockType", "the tile in front: what the DO action acts on"),
            Field("facing.melee", "bool", "", "a melee creature (overworld: zombie) stands in front"),
            Field("facing.passive", "bool", "", "a passive creature (overworld: cow) stands in front"),
            Field("facing.ranged", "bool", "", "a ranged creature (overworld: skeleton) stands in front"),
            Field("facing.health", "float32", "points", "health left of the creature in front, 0 if none"),
        ),
        lambda view: jnp.stack(
            [
                view.facing,
                *((view.facing_mob - 1) // MOB_TYPES == c for c in range(3)),
                view.facing_health,
            ]
        ),
    ),
    ColumnGroup(
        (
            Field("light", "float32", "0..1", "daylight on the overworld"),
            Field("sleeping", "bool", "", "asleep: every action is a no-op until waking"),
            Field("resting", "bool", "", "resting: every action is a no-op until health is full"),
            Field("floor", "int32", "floor", "0 overworld, 1 dungeon, 2 gnomish mines, ... 8", "floor"),
            Field("explored", "int32", "tiles", "tiles of this floor seen so far; grows with what is new"),
            Field("kills_on_floor", "int32", "creatures", "killed on this floor; 8 open its ladder down"),
        ),
        lambda view: jnp.stack(
            [
                view.env.light_level,
                view.env.is_sleeping,
                view.env.is_resting,
                view.env.player_level,
                view.explored,
                view.env.monsters_killed[view.env.player_level],
            ]
        ),
    ),
    ColumnGroup(
        nearest_fields("closest_blocks", _names(REMEMBERED), "remembered on this floor in this episode"),
        lambda view: nearest_columns(*view.tiles),
    ),
    ColumnGroup(
        nearest_fields("closest_mobs", tuple(MOBS), "in view"), lambda view: nearest_columns(*view.mobs)
    ),
)  # fmt: skip


def _sorts(kinds: jax.Array) -> jax.Array:
    """bool ``[C, M]``: which creatures are of which sort of :data:`MOBS`."""
    classes, types = (kinds - 1) // MOB_TYPES, (kinds - 1) % MOB_TYPES
    return jnp.stack(
        [(classes == index) & ((types == kind) | (kind is None)) for index, kind in MOBS.values()]
    )


class FullWorld:
    """``Craftax-Symbolic-v1``; see :class:`flowrl.worlds.base.World`."""

    name = "Craftax-Symbolic-v1"
    description = FULL
    num_actions = len(Action)
    view_shape: tuple[int, int] = OBS_DIM
    plane_sizes = (len(BlockType), len(ItemType), len(_CLASSES) * MOB_TYPES + 1)
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
        self._reader = SnapshotReader(_GROUPS)
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
        kinds = jnp.where(ladder, items + _FIRST_ITEM, blocks)
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
        for index, name in enumerate(_CLASSES):
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
            state.memory, env.player_level, env.player_position, jnp.asarray([*_kinds(REMEMBERED), UNSEEN])
        )
        nearest, unseen = (seen[:-1], offsets[:-1]), (seen[-1:], offsets[-1:])
        blocks, items, lit = self._tiles_in_view(env)
        mobs = self._mobs_in_view(env, lit)
        view = self._view(state, nearest, mobs)
        planes = jnp.stack([blocks, items, mob_plane(mobs, self.view_shape)])
        features = jnp.concatenate(
            [
                jnp.sqrt(_bag(view).astype(jnp.float32)) / 2,
                _vitals(view) / 10,
                _stats(view) / 10,
                jnp.stack([env.sword_enchantment, env.bow_enchantment]),
                env.armour_enchantments,
                env.learned_spells,
                jax.nn.one_hot(env.player_direction - 1, 4),
                jax.nn.one_hot(env.player_level, self._memory.floors),
                jnp.stack([env.light_level, env.is_sleeping, env.is_resting]),
                shelter_features(*view.open),
                env.monsters_killed[env.player_level][None] / 10,
                jax.nn.one_hot(view.facing, len(BlockType)),
                jax.nn.one_hot((view.facing_mob + MOB_TYPES - 1) // MOB_TYPES, len(_CLASSES) + 1),
                nearest_features(*nearest),
                nearest_features(*view.mobs),
                frontier_features(
                    unseen, self._memory.unseen_around(state.memory, env.player_level, env.player_position)
                ),
            ]
        )
        return Perception((planes * lit).astype(jnp.uint8), features.astype(jnp.float32), self._reader(view))

    def _view(self, state: State, nearest: tuple[jax.Array, jax.Array], mobs: MobsInView) -> _View:
        env = state.env
        around = jnp.concatenate([env.player_position[None], env.player_position + CLOSE_BLOCKS])
        floor = env.player_level
        blocks = tiles_at(env.map, around, BlockType.OUT_OF_BOUNDS.value, floor)
        items = tiles_at(env.item_map, around, ItemType.NONE.value, floor) + _FIRST_ITEM
        ahead = DIRECTIONS[env.player_direction]
        front = (env.player_position + ahead)[None]
        facing_mob, facing_health = mob_in_front(mobs, self.view_shape, ahead)
        wanted = _kinds(REACHABLE)[:, None]
        remembered = self._memory.around(
            state.memory, floor, env.player_position, WALK, BlockType.OUT_OF_BOUNDS.value
        )
        return _View(
            env,
            explored=self._memory.explored(state.memory, floor),
            near=jnp.any((blocks == wanted) | (items == wanted), axis=-1),
            open=open_tiles(jnp.asarray(WALKABLE)[remembered]),
            facing=tiles_at(env.map, front, BlockType.OUT_OF_BOUNDS.value, floor)[0],
            facing_mob=facing_mob,
            facing_health=facing_health,
            tiles=nearest,
            mobs=nearest_mobs(mobs, self.view_shape, _sorts(mobs.kinds)),
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
