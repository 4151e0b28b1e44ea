"""What every world offers: a game to step, and the symbols that describe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax

from flowrl.skills.facts import Vocabulary
from flowrl.worlds.snapshot import SnapshotSpec


class Perception(NamedTuple):
    """What is read from one state; computed together because both halves share most of the work.

    Attributes:
        tiles: uint8 ``[P, H, W]``, categories; compact on purpose, expanded inside the network.
        features: float32 ``[S]``.
        snapshot: float32 ``[D]``, the columns of ``World.snapshot_spec``.
    """

    tiles: jax.Array
    features: jax.Array
    snapshot: jax.Array


class World(Protocol):
    """One Craftax variant behind one adapter.

    The functions are pure and written for one world; callers ``vmap`` them. ``State`` is a pytree: the
    stock env state together with what the agent itself remembers.

    Attributes:
        name: the ``--env_name``.
        vocabulary: the facts that operators may use.
        initial_facts: fact -> value at the start of every episode; facts left out are 0.
        snapshot_spec: the fields that skill code reads.
        enums: enum name -> member name -> value, in scope for skill code (``BlockType.TREE``).
        description: the game's rules as prose, for prompts.
        num_actions: size of the discrete action space.
        view_shape: ``(H, W)`` tiles that the agent sees.
        plane_sizes: number of categories of each of the P tile planes of an observation.
        feature_count: S, the length of an observation's feature vector.
    """

    name: str
    vocabulary: Vocabulary
    initial_facts: Mapping[str, int]
    snapshot_spec: SnapshotSpec
    enums: Mapping[str, Mapping[str, int]]
    description: str
    num_actions: int
    view_shape: tuple[int, int]
    plane_sizes: tuple[int, ...]
    feature_count: int

    def generate(self, key: jax.Array) -> Any:
        """A fresh world's start state."""

    def step(self, state: Any, action: jax.Array, key: jax.Array) -> Any:
        """The stock env's transition, without any reset, and the memory updated by what is now seen."""

    def perceive(self, state: Any) -> Perception:
        """What the policy sees and what skill code reads."""

    def ended(self, state: Any) -> tuple[jax.Array, jax.Array]:
        """``(died, time_up)``, both bool scalars: the game's own end of the episode."""
