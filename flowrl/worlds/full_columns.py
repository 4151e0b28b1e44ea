"""What a snapshot of full Craftax holds, column by column, and how each is read off a state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax.constants import Achievement, BlockType, ItemType

from flowrl.worlds.columns import ColumnGroup, nearest_columns, nearest_fields
from flowrl.worlds.shelter import SHELTER_FIELDS, shelter_columns
from flowrl.worlds.snapshot import Field

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

CLASSES = ("melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles")
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
FIRST_ITEM = len(BlockType)
"""A ladder is remembered as a tile kind of its own, numbered after the blocks."""

REMEMBERED = (
    BlockType.GRASS, BlockType.WATER, BlockType.STONE, BlockType.TREE, BlockType.PATH, BlockType.COAL,
    BlockType.IRON, BlockType.DIAMOND, BlockType.CRAFTING_TABLE, BlockType.FURNACE, BlockType.LAVA,
    BlockType.PLANT, BlockType.RIPE_PLANT, BlockType.SAPPHIRE, BlockType.RUBY, BlockType.CHEST,
    BlockType.FOUNTAIN, BlockType.ENCHANTMENT_TABLE_FIRE, BlockType.ENCHANTMENT_TABLE_ICE,
)  # fmt: skip
REACHABLE = tuple(block for block in REMEMBERED if block not in (BlockType.GRASS, BlockType.PATH))
WALKED_TO = tuple(block for block in REACHABLE if block not in (BlockType.LAVA, BlockType.PLANT))
"""Tile kinds to which a policy is shown the way on foot, ladders included, beside the one to the unseen."""


class View(NamedTuple):
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


def kinds_of(blocks: tuple[BlockType, ...]) -> np.ndarray:
    """uint8 ``[K]``: the tile kinds of ``blocks`` and of both ladders."""
    ladders = [FIRST_ITEM + item.value for item in LADDERS]
    return np.array([*(block.value for block in blocks), *ladders], np.uint8)


def names_of(blocks: tuple[BlockType, ...]) -> tuple[str, ...]:
    """Their names, in the same order."""
    return tuple(kind.name.lower() for kind in (*blocks, *LADDERS))


def bag_of(view: View) -> jax.Array:
    """int32 ``[24]``: amounts, tiers of tools, potions, tiers of armour."""
    inventory = view.env.inventory
    counts = [jnp.asarray(getattr(inventory, name)) for name in (*AMOUNTS, *TIERS)]
    return jnp.concatenate([jnp.stack(counts), inventory.potions, inventory.armour])


def vitals_of(view: View) -> jax.Array:
    """float32 ``[5]``: :data:`VITALS`."""
    return jnp.stack([jnp.asarray(getattr(view.env, f"player_{n}"), jnp.float32) for n in VITALS])


def stats_of(view: View) -> jax.Array:
    """int32 ``[4]``: :data:`ATTRIBUTES` and experience."""
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


GROUPS = (
    ColumnGroup(_bag_fields(), bag_of),
    ColumnGroup(
        tuple(Field(f"vitals.{n}", "float32", "points", f"{n}; changes with time", f"vital:{n}")
              for n in VITALS),
        vitals_of,
    ),
    ColumnGroup(
        tuple(Field(f"stats.{n}", "int32", "level", f"{n}", f"stat:{n}") for n in (*ATTRIBUTES, "xp")),
        stats_of,
    ),
    ColumnGroup(
        tuple(Field(f"achievements.{n}", "bool", "", f"{n.replace('_', ' ')} done in this episode",
                    f"achievement:{n}") for n in ACHIEVEMENTS),
        lambda view: view.env.achievements,
    ),
    ColumnGroup(
        tuple(Field(f"near.{n}", "bool", "", f"a {n.replace('_', ' ')} is on one of the 9 tiles around",
                    f"near:{n}") for n in names_of(REACHABLE)),
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
        nearest_fields("closest_blocks", names_of(REMEMBERED), "remembered on this floor in this episode"),
        lambda view: nearest_columns(*view.tiles),
    ),
    ColumnGroup(
        nearest_fields("closest_mobs", tuple(MOBS), "in view"), lambda view: nearest_columns(*view.mobs)
    ),
)  # fmt: skip
"""Every column of a snapshot, in order."""


def sorts_of(kinds: jax.Array) -> jax.Array:
    """bool ``[C, M]``: which creatures are of which sort of :data:`MOBS`."""
    classes, types = (kinds - 1) // MOB_TYPES, (kinds - 1) % MOB_TYPES
    return jnp.stack(
        [(classes == index) & ((types == kind) | (kind is None)) for index, kind in MOBS.values()]
    )
