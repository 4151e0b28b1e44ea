"""A whole world in five tiles: a tree at one end, and what can be made of its wood. It compiles in a second.

Random play nearly solves it, so a run of several skills through every real stage takes seconds.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.worlds.base import Perception
from flowrl.worlds.snapshot import Field, SnapshotSpec

TOY = "Toy-v1"
LENGTH = 5
CAPACITY = 9
MAX_TIMESTEPS = 400
LEFT, RIGHT, GATHER, BUILD, CRAFT = range(5)

_FIELDS = (
    Field("inventory.wood", "int32", "items", "wood in the bag", "inventory:wood"),
    Field("inventory.pickaxe", "int32", "items", "pickaxes in the bag", "inventory:pickaxe"),
    Field("inventory.glass", "int32", "items", "breaks when wood is gathered", "inventory:glass"),
    Field("inventory.diamond", "int32", "items", "there are none", "inventory:diamond"),
    Field("achievements.gather", "bool", "", "wood gathered", "achievement:gather"),
    Field("achievements.build", "bool", "", "table built", "achievement:build"),
    Field("achievements.craft", "bool", "", "pickaxe crafted", "achievement:craft"),
    Field("near.table", "bool", "", "a table on this or the next tile", "near:table"),
    Field("tree.distance", "int32", "tiles", "steps to the tree"),
)


class ToyState(NamedTuple):
    """One world. ``key`` is there to be stored and restored, and decides nothing."""

    position: jax.Array
    tree: jax.Array
    table: jax.Array
    wood: jax.Array
    pickaxe: jax.Array
    glass: jax.Array
    built: jax.Array
    timestep: jax.Array
    key: jax.Array


class ToyWorld:
    """See :class:`flowrl.worlds.base.World`."""

    name = TOY
    vocabulary = Vocabulary(
        [
            Fact("inventory:wood", FactKind.COUNT, CAPACITY, "wood"),
            Fact("inventory:pickaxe", FactKind.COUNT, CAPACITY, "pickaxes"),
            Fact("inventory:glass", FactKind.COUNT, 1, "glass"),
            Fact("inventory:diamond", FactKind.COUNT, CAPACITY, "diamonds"),
            Fact("achievement:gather", FactKind.FLAG),
            Fact("achievement:build", FactKind.FLAG),
            Fact("achievement:craft", FactKind.FLAG),
            Fact("near:table", FactKind.REACH),
        ]
    )
    initial_facts: ClassVar[dict[str, int]] = {"inventory:glass": 1}
    achievement_values: ClassVar[dict[str, float]] = {
        f"achievement:{name}": 1.0 for name in ("gather", "build", "craft")
    }
    snapshot_spec = SnapshotSpec(_FIELDS)
    enums: ClassVar[dict[str, dict[str, int]]] = {"Action": {"LEFT": LEFT, "RIGHT": RIGHT}}
    description = "A strip of five tiles with a tree at one end."
    num_actions = 5
    sleep_actions: ClassVar[dict[int, tuple[str, ...]]] = {}
    view_shape = (1, LENGTH)
    plane_sizes = (8,)
    feature_count = 3

    def generate(self, key: jax.Array) -> ToyState:
        """A tree at one end, the agent anywhere."""
        place, side, kept = jax.random.split(key, 3)
        zero = jnp.int32(0)
        return ToyState(
            position=jax.random.randint(place, (), 0, LENGTH),
            tree=jnp.where(jax.random.bernoulli(side), jnp.int32(LENGTH - 1), zero),
            table=jnp.int32(-1),
            wood=zero,
            pickaxe=zero,
            glass=jnp.int32(1),
            built=jnp.array(False),
            timestep=zero,
            key=kept,
        )

    def varied(self, state: ToyState, lowest: jax.Array, key: jax.Array) -> ToyState:  # noqa: ARG002
        """There are no vitals and no hours."""
        return state

    def step(self, state: ToyState, action: jax.Array, key: jax.Array) -> ToyState:  # noqa: ARG002
        """Walk, gather at the tree, build where one stands, craft next to the table."""
        walked = jnp.clip(state.position + (action == RIGHT) - (action == LEFT), 0, LENGTH - 1)
        gathers = (action == GATHER) & (state.position == state.tree) & (state.wood < CAPACITY)
        builds = (action == BUILD) & (state.wood >= 1)
        crafts = (action == CRAFT) & (state.wood >= 1) & self._near(state) & (state.pickaxe < CAPACITY)
        return state._replace(
            position=walked,
            table=jnp.where(builds, state.position, state.table),
            wood=state.wood + gathers - builds - crafts,
            pickaxe=state.pickaxe + crafts,
            glass=jnp.where(gathers, 0, state.glass),
            built=state.built | builds,
            timestep=state.timestep + 1,
        )

    def _near(self, state: ToyState) -> jax.Array:
        return (state.table >= 0) & (jnp.abs(state.table - state.position) <= 1)

    def perceive(self, state: ToyState) -> Perception:
        """One plane: tree, agent and table as three bits a tile."""
        tiles = jnp.arange(LENGTH)
        bits = (tiles == state.tree) + 2 * (tiles == state.position) + 4 * (tiles == state.table)
        snapshot = jnp.stack(
            [
                state.wood, state.pickaxe, state.glass, jnp.int32(0), state.glass == 0, state.built,
                state.pickaxe > 0, self._near(state), jnp.abs(state.tree - state.position),
            ]
        )  # fmt: skip
        features = jnp.stack([state.wood / CAPACITY, state.wood > 0, self._near(state)])
        return Perception(
            bits.astype(jnp.uint8)[None, None], features.astype(jnp.float32), snapshot.astype(jnp.float32)
        )

    def ended(self, state: Any) -> tuple[jax.Array, jax.Array]:
        """Nobody dies here."""
        return jnp.array(False), state.timestep >= MAX_TIMESTEPS

    def render(self, state: ToyState) -> jax.Array:
        """One pixel a tile: the agent red, the tree green, the table blue."""
        tiles = jnp.arange(LENGTH)
        places = jnp.stack([state.position, state.tree, state.table])
        return (255 * (tiles[:, None] == places)).astype(jnp.uint8)[None]
