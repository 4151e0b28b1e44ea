"""One world with its compiled programs, states planted by hand, and a recorded walk through it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.environment import EnvPrograms, Placed
from flowrl.worlds.registry import make_world

CLASSIC, FULL = "Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1"
BATCH = 16
WALK_STEPS = 30
RECORDED = slice(None, None, 2)
"""Envs of the batch that a walk is recorded of: a full Craftax state is 270 kB."""

DIRECTIONS = {"left": (1, (0, -1)), "right": (2, (0, 1)), "up": (3, (-1, 0)), "down": (4, (1, 0))}
"""Name -> (the number of the move and of the direction, offset)."""


class Frame(NamedTuple):
    """One moment of the recorded envs, as numpy arrays ``[R, ...]``."""

    states: Any
    snapshot: np.ndarray
    tiles: np.ndarray


def on_host(tree: Any) -> Any:
    """As numpy; random keys as their data."""

    def host(leaf: Any) -> np.ndarray:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf)

    return jax.tree.map(host, tree)


def one(tree: Any, index: int) -> Any:
    """One row of a batch."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def replaced(tree: Any, **fields: Any) -> Any:
    """A stock dataclass with fields replaced; dtypes and shapes stay."""
    typed = {}
    for name, value in fields.items():
        old = getattr(tree, name)
        typed[name] = jnp.broadcast_to(jnp.asarray(value, old.dtype), old.shape)
    return tree.replace(**typed)


class Studio:
    """Made once a test process and world: compiling takes half a minute."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.world: Any = make_world(name)
        self.programs = EnvPrograms(self.world, BATCH)
        self.spec = self.world.snapshot_spec
        self.fresh: Placed = self.programs.fresh(jax.random.key(1), BATCH)
        self.step(self.fresh.states, 0)

    @property
    def full(self) -> bool:
        """Whether it is full Craftax."""
        return self.name == FULL

    def block(self, name: str) -> int:
        """The number of a tile kind."""
        return self.world.enums["BlockType"][name.upper()]

    def action(self, name: str) -> int:
        """The number of an action."""
        return self.world.enums["Action"][name.upper()]

    def step(self, states: Any, actions: Any, key: int = 0) -> Placed:
        """One env step of a copy of ``states``; one action for all, or one each."""
        copy = jax.tree.map(jnp.copy, states)
        actions = jnp.broadcast_to(jnp.asarray(actions, jnp.int32), (BATCH,))
        return self.programs.advance(copy, actions, jax.random.key(key))

    def column(self, placed: Placed, path: str) -> np.ndarray:
        """One snapshot column ``[B]``."""
        return np.asarray(placed.seen.snapshot[:, self.spec.columns[path]])

    # --- planted states ------------------------------------------------------------------------

    def planted(self, bag: dict[str, int], tiles: dict[tuple[int, int], str], **fields: Any) -> Any:
        """A batch of one state: the agent on a meadow without creatures, facing up.

        Args:
            bag: what is in the inventory.
            tiles: offset from the agent ``(down, right)`` -> tile kind; all others are grass.
            fields: of the stock env state.
        """
        state = one(self.fresh.states, 0)
        env = state.env
        rows, columns = env.map.shape[-2:]
        ground = np.full((rows, columns), self.block("grass"))
        for (down, right), kind in tiles.items():
            ground[rows // 2 + down, columns // 2 + right] = self.block(kind)
        mobs = (
            ("melee_mobs", "passive_mobs", "ranged_mobs") if self.full else ("zombies", "cows", "skeletons")
        )
        env = replaced(
            env,
            map=ground,
            mob_map=False,
            player_position=[rows // 2, columns // 2],
            player_direction=DIRECTIONS["up"][0],
        )
        env = env.replace(**{name: replaced(getattr(env, name), mask=False) for name in mobs})
        env = replaced(env.replace(inventory=replaced(env.inventory, **bag)), **fields)
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * BATCH), state._replace(env=env))

    # --- a walk --------------------------------------------------------------------------------

    @functools.cached_property
    def walk(self) -> list[Frame]:
        """Mostly walking, now and then building and digging, with tools and material in the bag.

        In full Craftax every other env begins at the ladder of a lower floor, where most tiles are dark.
        """
        rng = np.random.default_rng(0)
        states = self._equipped(self.fresh.states)
        actions = rng.integers(1, 5, BATCH)
        placed = self.step(states, 0, key=99)
        frames = [self._frame(placed)]
        for step in range(WALK_STEPS):
            actions = np.where(rng.random(BATCH) < 0.3, rng.integers(1, 5, BATCH), actions)
            acting = np.where(
                rng.random(BATCH) < 0.3, rng.integers(0, self.world.num_actions, BATCH), actions
            )
            placed = self.programs.advance(
                placed.states, jnp.asarray(acting, jnp.int32), jax.random.key(1000 + step)
            )
            frames.append(self._frame(placed))
        return frames

    def _equipped(self, states: Any) -> Any:
        env = states.env
        names = ("wood", "stone", "sapling", *(("torches", "pickaxe") if self.full else ("iron_pickaxe",)))
        bag = dict.fromkeys(names, 4)
        env = env.replace(inventory=replaced(env.inventory, **bag))
        if self.full:
            floors = np.arange(BATCH) // 2 % 8 + 1
            floors[1::2] = 0
            floors[:4] = 0
            ladders = np.asarray(env.up_ladders)[np.arange(BATCH), floors]
            position = np.where(floors[:, None] > 0, ladders, np.asarray(env.player_position))
            env = replaced(env, player_level=floors, player_position=position)
        return states._replace(env=env)

    def _frame(self, placed: Placed) -> Frame:
        some = jax.tree.map(lambda leaf: leaf[RECORDED], placed)
        return Frame(on_host(some.states), np.asarray(some.seen.snapshot), np.asarray(some.seen.tiles))
