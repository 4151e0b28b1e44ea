"""The toy world with pebbles: picked up anywhere, good for nothing, and free to be had or not."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from toy_world import CAPACITY, ToyState, ToyWorld

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.worlds.base import Perception
from flowrl.worlds.snapshot import Field, SnapshotSpec

PICK_UP = ToyWorld.num_actions


class PebbleState(NamedTuple):
    """A toy world and the pebbles in the bag."""

    toy: ToyState
    pebbles: jax.Array


class PebbleWorld(ToyWorld):
    """See :class:`flowrl.worlds.base.World`."""

    name = "Pebble-v1"
    vocabulary = Vocabulary(
        [
            *ToyWorld.vocabulary.values(),
            Fact("inventory:pebble", FactKind.COUNT, CAPACITY, "pebbles"),
            Fact("achievement:pick_up", FactKind.FLAG),
        ]
    )
    snapshot_spec = SnapshotSpec(
        (
            *ToyWorld.snapshot_spec.fields,
            Field("inventory.pebble", "int32", "items", "pebbles in the bag", "inventory:pebble"),
            Field("achievements.pick_up", "bool", "", "pebble picked up", "achievement:pick_up"),
        )
    )
    enums: ClassVar[dict[str, dict[str, int]]] = {}
    num_actions = ToyWorld.num_actions + 1

    def generate(self, key: jax.Array) -> Any:
        """No pebbles yet."""
        return PebbleState(super().generate(key), jnp.int32(0))

    def step(self, state: Any, action: jax.Array, key: jax.Array) -> Any:
        """As the toy world's; the additional action does nothing there."""
        picks = (action == PICK_UP) & (state.pebbles < CAPACITY)
        return PebbleState(super().step(state.toy, action, key), state.pebbles + picks)

    def perceive(self, state: Any) -> Perception:
        """The policy does not see the pebbles: nothing depends on them."""
        seen = super().perceive(state.toy)
        pebbles = jnp.stack([state.pebbles, state.pebbles > 0]).astype(jnp.float32)
        return seen._replace(snapshot=jnp.concatenate([seen.snapshot, pebbles]))

    def ended(self, state: Any) -> tuple[jax.Array, jax.Array]:
        """Nobody dies here."""
        return super().ended(state.toy)
