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
    """

    @property
    def name(self) -> str:
        """The ``--env_name``."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The facts that operators may use."""

    @property
    def initial_facts(self) -> Mapping[str, int]:
        """Fact -> value at the start of every episode; facts left out are 0."""

    @property
    def snapshot_spec(self) -> SnapshotSpec:
        """The fields that skill code reads."""

    @property
    def enums(self) -> Mapping[str, Mapping[str, int]]:
        """Enum name -> member name -> value, in scope for skill code (``BlockType.TREE``)."""

    @property
    def description(self) -> str:
        """The game's rules as prose, for prompts."""

    @property
    def achievement_values(self) -> Mapping[str, float]:
        """Achievement fact -> what the stock game's reward pays for it, once an episode."""

    @property
    def num_actions(self) -> int:
        """Size of the discrete action space."""

    @property
    def sleep_actions(self) -> Mapping[int, tuple[str, ...]]:
        """Actions that leave the player helpless for many steps -> the facts that one takes them for."""

    @property
    def view_shape(self) -> tuple[int, int]:
        """``(H, W)`` tiles that the agent sees."""

    @property
    def plane_sizes(self) -> tuple[int, ...]:
        """Number of categories of each of the P tile planes of an observation."""

    @property
    def feature_count(self) -> int:
        """S, the length of an observation's feature vector."""

    def generate(self, key: jax.Array) -> Any:
        """A fresh world's start state."""

    def varied(self, state: Any, lowest: jax.Array, key: jax.Array) -> Any:
        """The same place at another hour, with another player's vitals: for training, never for judging.

        Args:
            lowest: int32 ``[V]``, the least value of each vital, in the vocabulary's order; the greatest is
                what an episode starts with.
        """

    def step(self, state: Any, action: jax.Array, key: jax.Array) -> Any:
        """The stock env's transition, without any reset, and the memory updated by what is now seen."""

    def perceive(self, state: Any) -> Perception:
        """What the policy sees and what skill code reads."""

    def ended(self, state: Any) -> tuple[jax.Array, jax.Array]:
        """``(died, time_up)``, both bool scalars: the game's own end of the episode."""

    def render(self, state: Any) -> jax.Array:
        """The game's own picture of the state, uint8 ``[height, width, 3]``; takes seconds to get ready."""
