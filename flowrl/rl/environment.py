"""What the learner needs of a game, and the compiled programs that every part of a run shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from flowrl.rl.compiled import Ahead, compiled


class Perceived(Protocol):
    """What is read from one state. See the attributes' shapes for one env; programs batch them."""

    tiles: jax.Array
    """uint8 ``[P, H, W]``, categories."""
    features: jax.Array
    """float32 ``[S]``."""
    snapshot: jax.Array
    """float32 ``[D]``: what skill code and facts read."""


class Environment(Protocol):
    """A game as pure functions of one state; the worlds and the tests' probe games satisfy it."""

    @property
    def num_actions(self) -> int:
        """Size of the discrete action space."""

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
        """A start state."""

    def step(self, state: Any, action: jax.Array, key: jax.Array) -> Any:
        """The transition; never resets."""

    def perceive(self, state: Any) -> Any:
        """A :class:`Perceived`."""

    def ended(self, state: Any) -> tuple[jax.Array, jax.Array]:
        """``(died, time_up)``, bool scalars."""


class Seen(NamedTuple):
    """What is known of ``B`` envs after a step, without their states.

    Attributes:
        tiles: uint8 ``[B, P, H, W]``.
        features: float32 ``[B, S]``.
        snapshot: float32 ``[B, D]``.
        died: bool ``[B]``.
        time_up: bool ``[B]``: the game's own step limit, not a skill's.
    """

    tiles: jax.Array
    features: jax.Array
    snapshot: jax.Array
    died: jax.Array
    time_up: jax.Array


class Placed(NamedTuple):
    """Env states with what is seen in them: a bank of start states, or the envs of a rollout.

    Attributes:
        states: pytree, every leaf ``[M, ...]``.
        seen: the same ``M`` states perceived.
    """

    states: Any
    seen: Seen

    @property
    def rows(self) -> int:
        """M."""
        return self.seen.died.shape[0]


WORLD_CHUNK = 64
"""Worlds generated at once: one vmap of 1024 took ten times longer a world on CPU than chunks of 64."""


class EnvPrograms:
    """The env's own programs, compiled once and shared by training, preparing, validating and probing.

    Compiling an env's step costs 7 s (Classic) to 15 s (full Craftax) on two CPU cores, so everything that
    steps envs does it through :meth:`advance` with the same batch size.

    Args:
        env: the game.
        batch: B, the number of envs that step together.
    """

    def __init__(self, env: Environment, batch: int) -> None:
        self.env = env
        self.batch = batch
        self._generate = compiled(self._generate_chunk)
        self._advance = compiled(self._advance_batch, donate=(0,))
        self._look = compiled(jax.vmap(self._see))
        self.env_steps = 0
        """Env steps made so far, all uses together."""

    def _see(self, state: Any) -> Seen:
        perceived = self.env.perceive(state)
        died, time_up = self.env.ended(state)
        return Seen(perceived.tiles, perceived.features, perceived.snapshot, died, time_up)

    def _generate_chunk(self, keys: jax.Array) -> Placed:
        states = jax.vmap(self.env.generate)(keys)
        return Placed(states, jax.vmap(self._see)(states))

    def _advance_batch(self, states: Any, actions: jax.Array, key: jax.Array) -> Placed:
        keys = jax.random.split(key, self.batch)
        states = jax.vmap(self.env.step)(states, actions, keys)
        return Placed(states, jax.vmap(self._see)(states))

    def ahead(self) -> list[Ahead]:
        """The programs that every run needs and that take longest to compile."""

        def some_keys() -> jax.Array:
            return jax.random.split(jax.random.key(0), WORLD_CHUNK)

        def for_a_step() -> tuple[Any, ...]:
            chunk = jax.eval_shape(self._generate_chunk, jax.eval_shape(some_keys))
            states = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((self.batch, *leaf.shape[1:]), leaf.dtype), chunk.states
            )
            actions = jax.ShapeDtypeStruct((self.batch,), jnp.int32)
            return states, actions, jax.eval_shape(lambda: jax.random.key(0))

        return [(self._generate, lambda: [jax.eval_shape(some_keys)]), (self._advance, for_a_step)]

    def fresh(self, key: jax.Array, count: int) -> Placed:
        """``count`` fresh worlds, generated in chunks.

        Args:
            key: which worlds; a different key gives different worlds.
        """
        chunks = [self._generate(keys) for keys in _key_chunks(key, count)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *chunks)

    def placed(self, states: Any) -> Placed:
        """Any states with what is seen in them; compiled once for each number of states."""
        return Placed(states, self._look(states))

    def advance(self, states: Any, actions: jax.Array, key: jax.Array) -> Placed:
        """One env step of all B envs. ``states`` is donated: do not use it afterwards."""
        self.env_steps += self.batch
        placed: Placed = self._advance(states, actions, key)
        return placed


def _key_chunks(key: jax.Array, count: int) -> Iterator[jax.Array]:
    for index in range(-(-count // WORLD_CHUNK)):
        yield jax.random.split(jax.random.fold_in(key, index), WORLD_CHUNK)


def copy_rows(target: Any, source: Any, rows: jax.Array, chosen: jax.Array) -> Any:
    """``target`` with row ``i`` replaced by ``source[rows[i]]`` wherever ``chosen[i]``.

    A loop over the chosen rows alone: a masked gather would read and write every state at every step, and
    a full Craftax state is 270 kB.

    Args:
        target: pytree, leaves ``[B, ...]``.
        source: pytree of the same structure, leaves ``[M, ...]``.
        rows: int32 ``[B]``.
        chosen: bool ``[B]``.
    """
    count = chosen.shape[0]
    order = jnp.nonzero(chosen, size=count, fill_value=0)[0]

    def copy_one(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        position, current = carry
        to = order[position]
        row = rows[to]
        current = jax.tree.map(
            lambda into, out: jax.lax.dynamic_update_index_in_dim(
                into, jax.lax.dynamic_index_in_dim(out, row, keepdims=False), to, 0
            ),
            current,
            source,
        )
        return position + 1, current

    total = jnp.sum(chosen)
    return jax.lax.while_loop(lambda carry: carry[0] < total, copy_one, (jnp.int32(0), target))[1]


def rows_of(tree: Any, rows: Any) -> Any:
    """Rows ``[R]`` of every leaf ``[M, ...]``: ``[R, ...]``, in memory of their own."""
    return jax.tree.map(lambda leaf: jnp.array(leaf[rows]), tree)


def where_rows(chosen: jax.Array, new: Any, old: Any) -> Any:
    """``new`` in the chosen rows ``[B]`` of every leaf ``[B, ...]``, ``old`` in the others."""
    return jax.tree.map(
        lambda left, right: jnp.where(chosen.reshape(chosen.shape + (1,) * (left.ndim - 1)), left, right),
        new,
        old,
    )


def put_rows(bank: Placed, rows: Placed, at: int | jax.Array) -> Placed:
    """``bank`` with its rows from ``at`` on replaced by ``rows``."""
    return jax.tree.map(
        lambda into, out: jax.lax.dynamic_update_slice_in_dim(into, out.astype(into.dtype), at, 0), bank, rows
    )
