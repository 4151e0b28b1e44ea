"""What a stock env state looks like, read slowly, tile by tile: the reference for snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
from craftax.craftax.constants import Achievement as FullAchievement
from craftax.craftax.constants import BlockType, ItemType
from craftax.craftax_classic.constants import Achievement as ClassicAchievement
from craftax.craftax_classic.constants import BlockType as ClassicBlockType
from slow_ways import slow_ways
from world_studio import DIRECTIONS, Studio

from flowrl.worlds.walking import REACH

NOTHING_KNOWN = 99
"""The distance of what is not known."""

_CLASSIC_MOBS = {"zombie": "zombies", "cow": "cows", "skeleton": "skeletons", "arrow": "arrows"}
_FULL_CLASSES = ("melee_mobs", "passive_mobs", "ranged_mobs", "mob_projectiles", "player_projectiles")
_FULL_MOBS = {
    "zombie": ("melee_mobs", 0),
    "cow": ("passive_mobs", 0),
    "skeleton": ("ranged_mobs", 0),
    "melee": ("melee_mobs", None),
    "ranged": ("ranged_mobs", None),
    "projectile": ("mob_projectiles", None),
}

Nearest = tuple[bool, int, set[tuple[int, int]]]
"""Whether one is known, its distance, and the offsets of all that are so near."""


class SlowReader:
    """Reads one env state.

    Args:
        state: one row of a batch of states, on the host.
    """

    def __init__(self, studio: Studio, state: Any) -> None:
        self.studio, self.env, self.memory = studio, state.env, state.memory
        self.floor = int(self.env.player_level) if studio.full else 0
        self.row, self.column = (int(x) for x in self.env.player_position)
        self.height, self.width = studio.world.view_shape

    # --- tiles ---------------------------------------------------------------------------------

    def _at(self, name: str, row: int, column: int, outside: int) -> Any:
        grid = getattr(self.env, name)
        grid = grid[self.floor] if self.studio.full else grid
        inside = 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]
        return grid[row, column] if inside else outside

    def tile(self, down: int, right: int) -> int:
        """The kind of a tile near the agent; a ladder counts as one, numbered after the blocks."""
        item = self.item(down, right)
        if item in (ItemType.LADDER_DOWN.value, ItemType.LADDER_UP.value):
            return len(BlockType) + item
        return self.block(down, right)

    def block(self, down: int, right: int) -> int:
        """The block alone."""
        outside = ClassicBlockType.OUT_OF_BOUNDS.value
        return int(self._at("map", self.row + down, self.column + right, outside))

    def item(self, down: int, right: int) -> int:
        """The item on a tile; Classic has none."""
        if not self.studio.full:
            return 0
        return int(self._at("item_map", self.row + down, self.column + right, 0))

    def lit(self, down: int, right: int) -> bool:
        """Whether the agent can see there; Classic has no darkness."""
        if not self.studio.full:
            return True
        return bool(self._at("light_map", self.row + down, self.column + right, 0) > 0.05)

    def view(self) -> list[tuple[int, int]]:
        """Offsets of the tiles in view, row by row."""
        half_height, half_width = self.height // 2, self.width // 2
        return [
            (down, right)
            for down in range(-half_height, half_height + 1)
            for right in range(-half_width, half_width + 1)
        ]

    def look(self, memory: np.ndarray) -> None:
        """Writes what is lit in view into ``memory``, as the world's memory is laid out."""
        for down, right in self.view():
            if self.lit(down, right):
                row, column = self.row + down + self.height // 2, self.column + right + self.width // 2
                memory[self.floor, row, column] = self.tile(down, right)

    def nearest_remembered(self, kind: int) -> Nearest:
        """By looking at every tile of the floor."""
        offsets = [
            (int(row) - self.height // 2 - self.row, int(column) - self.width // 2 - self.column)
            for row, column in np.argwhere(self.memory[self.floor] == kind)
        ]
        return _nearest(offsets)

    # --- creatures -----------------------------------------------------------------------------

    def creatures(self) -> list[tuple[str, int, int, int, float]]:
        """``(class, type, down, right, health)`` of those that can be seen."""
        found = []
        for name in _FULL_CLASSES if self.studio.full else _CLASSIC_MOBS.values():
            mobs = getattr(self.env, name)
            positions = mobs.position[self.floor] if self.studio.full else mobs.position
            masks = mobs.mask[self.floor] if self.studio.full else mobs.mask
            types = mobs.type_id[self.floor] if self.studio.full else np.zeros(len(masks), int)
            healths = mobs.health[self.floor] if self.studio.full else mobs.health
            for (row, column), alive, kind, health in zip(positions, masks, types, healths, strict=True):
                down, right = int(row) - self.row, int(column) - self.column
                if alive and (down, right) in self.view() and self.lit(down, right):
                    found.append((name, int(kind), down, right, float(health)))
        return found

    def category(self, name: str, kind: int) -> int:
        """The number of a creature in the mob plane."""
        if self.studio.full:
            return 1 + 8 * _FULL_CLASSES.index(name) + kind
        return 1 + list(_CLASSIC_MOBS.values()).index(name)

    def _nearest_mob(self, mob: str) -> Nearest:
        name, kind = _FULL_MOBS[mob] if self.studio.full else (_CLASSIC_MOBS[mob], None)
        return _nearest([(d, r) for c, k, d, r, _ in self.creatures() if c == name and kind in (None, k)])

    # --- the snapshot --------------------------------------------------------------------------

    def expected(self, path: str) -> Any:
        """The value of one snapshot field; for the direction of nearest things, the set of right ones."""
        namespace, _, rest = path.partition(".")
        name, _, what = rest.partition(".")
        if namespace in ("closest_blocks", "closest_mobs"):
            near = (
                self.nearest_remembered(_tile_kind(name, self.studio.full))
                if namespace == "closest_blocks"
                else self._nearest_mob(name)
            )
            seen, distance, offsets = near
            return {
                "seen": {seen},
                "distance": {distance},
                "down": {down for down, _ in offsets},
                "right": {right for _, right in offsets},
            }[what]
        return {self._plain(namespace, rest)}

    def _plain(self, namespace: str, name: str) -> Any:
        env = self.env
        if namespace == "inventory":
            return int(self._in_the_bag(name))
        if namespace == "vitals":
            return float(getattr(env, f"player_{name}"))
        if namespace == "stats":
            return int(getattr(env, f"player_{name}"))
        if namespace == "achievements":
            known = FullAchievement if self.studio.full else ClassicAchievement
            return bool(env.achievements[known[name.upper()].value])
        if namespace == "near" and name in ("way_out", "shelter"):
            return (5 in self._walk().values()) == (name == "way_out")
        if namespace == "near":
            kind = _tile_kind(name, self.studio.full)
            around = [(d, r) for d in (-1, 0, 1) for r in (-1, 0, 1) if (d, r) != (0, 0) or self.studio.full]
            return any(kind in (self.block(*at), len(BlockType) + self.item(*at)) for at in around)
        if namespace == "facing":
            ahead = dict(DIRECTIONS.values())[int(env.player_direction)]
            if name == "block":
                return self.block(*ahead)
            there = [(c, health) for c, _, d, r, health in self.creatures() if (d, r) == ahead]
            if name == "health":
                return max((health for _, health in there), default=0)
            return name in [c.removesuffix("_mobs").removesuffix("s") for c, _ in there]
        return self._of_the_moment(namespace)

    def _walk(self) -> dict[tuple[int, int], int]:
        """Offsets of the remembered tiles within five steps of the agent, with the steps that each takes."""
        steps = {(0, 0): 0}
        for at in (queue := [(0, 0)]):
            for down, right in dict(DIRECTIONS.values()).values():
                there = (at[0] + down, at[1] + right)
                blocked = self._remembered(*there) in self._solid()
                if steps[at] < 5 and there not in steps and not blocked:
                    steps[there] = steps[at] + 1
                    queue.append(there)
        return steps

    def ways(self) -> dict[str, list[int]]:
        """By the name of a tile kind, ``unseen`` among them: the ways on foot, see ``slow_ways``."""
        around = range(-REACH, REACH + 1)
        tiles = np.array([[self._remembered(down, right) for right in around] for down in around])
        names = (
            "water", "stone", "tree", "coal", "iron", "diamond", "crafting_table", "furnace", "ripe_plant",
        )  # fmt: skip
        if self.studio.full:
            names += (
                "sapphire", "ruby", "chest", "fountain", "enchantment_table_fire", "enchantment_table_ice",
                "ladder_down", "ladder_up",
            )  # fmt: skip
        kinds = {name: _tile_kind(name, self.studio.full) for name in names}
        tool = self.env.inventory.pickaxe if self.studio.full else self.env.inventory.wood_pickaxe
        cost = np.where(np.isin(tiles, [*self._solid()]), 0, 1)
        cost[(tiles == kinds["stone"]) & (tool > 0)] = 2
        return {name: slow_ways(cost, tiles == kind) for name, kind in (kinds | {"unseen": 0}).items()}

    def _solid(self) -> set[int]:
        """The kinds of tiles that nobody walks on."""
        kinds = BlockType if self.studio.full else ClassicBlockType
        walls = (
            "STONE TREE COAL IRON DIAMOND CRAFTING_TABLE FURNACE PLANT RIPE_PLANT WATER LAVA OUT_OF_BOUNDS "
            "WALL WALL_MOSS STALAGMITE SAPPHIRE RUBY CHEST FOUNTAIN FIRE_TREE ENCHANTMENT_TABLE_FIRE "
            "ENCHANTMENT_TABLE_ICE GRAVE GRAVE2 GRAVE3 NECROMANCER"
        )
        return {kinds[name].value for name in walls.split() if name in kinds.__members__}

    def _remembered(self, down: int, right: int) -> int:
        """The kind of a tile as the agent remembers it, 0 if it never saw it."""
        rows, columns = self.env.map.shape[-2:]
        row, column = self.row + down, self.column + right
        if not (0 <= row < rows and 0 <= column < columns):
            return _tile_kind("out_of_bounds", self.studio.full)
        return int(self.memory[self.floor][row + self.height // 2, column + self.width // 2])

    def _in_the_bag(self, name: str) -> Any:
        inventory = self.env.inventory
        colours = ("red", "green", "blue", "pink", "cyan", "yellow")
        armour = ("helmet", "chestplate", "leggings", "boots")
        if name.endswith("_potion"):
            return inventory.potions[colours.index(name.removesuffix("_potion"))]
        return inventory.armour[armour.index(name)] if name in armour else getattr(inventory, name)

    def _of_the_moment(self, name: str) -> Any:
        env = self.env
        return {
            "light": lambda: float(env.light_level),
            "sleeping": lambda: bool(env.is_sleeping),
            "resting": lambda: bool(env.is_resting),
            "floor": lambda: self.floor,
            "explored": lambda: int((self.memory[self.floor] != 0).sum()),
            "open_tiles": lambda: len(self._walk()) - 1,
            "kills_on_floor": lambda: int(env.monsters_killed[self.floor]),
        }[name]()


def _nearest(offsets: list[tuple[int, int]]) -> Nearest:
    if not offsets:
        return False, NOTHING_KNOWN, {(0, 0)}
    distance = min(abs(down) + abs(right) for down, right in offsets)
    return True, distance, {at for at in offsets if abs(at[0]) + abs(at[1]) == distance}


def _tile_kind(name: str, full: bool) -> int:
    if full and name.upper() in ItemType.__members__:
        return len(BlockType) + ItemType[name.upper()].value
    return int((BlockType if full else ClassicBlockType)[name.upper()].value)
