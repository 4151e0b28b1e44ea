"""One agent that plays whole episodes with many policies: a teleo-reactive program with several targets.

At every step an env pursues one target; the last condition of the target's plan that holds says which policy
runs (Nilsson 1994). A target that does not come about within its patience rests while others are tried.
Maintenance rules (defend, eat, drink, sleep) go before any target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.agent_program import AgentProgram, ProgramTable, standing
from flowrl.rl.calls import Calls, asked, no_calls, note_calls
from flowrl.rl.compiled import compiled, step_keys
from flowrl.rl.environment import EnvPrograms, Placed, Seen, rows_of, where_rows
from flowrl.rl.network import ActorCritic, apply_of, play
from flowrl.rl.pursuit import Pursuit, nothing_pursued, pursue
from flowrl.rl.shared_network import apply_shared, shared_by
from flowrl.rl.task import GoalTable, Task, goal_features

CHECK_EVERY = 64
"""Env steps between two looks from the host at whether every episode has ended."""


class Played(NamedTuple):
    """How ``E`` whole episodes went; one row an episode.

    Attributes:
        length: int32 ``[E]``, env steps.
        died: bool ``[E]``.
        before: float32 ``[E, D]``, snapshot before the last step.
        end: float32 ``[E, D]``, snapshot at the end.
        reached: bool ``[E, G]``: the target's condition held at some time.
        rested: int32 ``[E, G]``, how often each target ran out of patience.
        charge: int32 ``[E, S]``, env steps that each policy was in charge while something was asked of it.
        calls: how each policy's calls ended, rows as here.
    """

    length: np.ndarray | jax.Array
    died: np.ndarray | jax.Array
    before: np.ndarray | jax.Array
    end: np.ndarray | jax.Array
    reached: np.ndarray | jax.Array
    rested: np.ndarray | jax.Array
    charge: np.ndarray | jax.Array
    calls: Calls


class Moment(NamedTuple):
    """One env of an episode between two steps.

    Attributes:
        state: the env's state, on device, without a batch axis.
        snapshot: float32 ``[D]``.
        target, step, rule, policy: int32 scalars, what the agent decided there, as in :class:`Pursuit`.
        reached: bool scalar: the target's condition holds, so nothing is left to be pursued.
    """

    state: Any
    snapshot: np.ndarray | jax.Array
    target: np.ndarray | jax.Array
    step: np.ndarray | jax.Array
    rule: np.ndarray | jax.Array
    policy: np.ndarray | jax.Array
    reached: np.ndarray | jax.Array


class _Episode(NamedTuple):
    ended: jax.Array
    played: Played


class Agent:
    """Plays whole episodes; compiled once for a number of policies and targets.

    Args:
        programs: the env's programs.
        network: whose parameters the policies are.
        program: targets and maintenance.
        tasks: the task of each policy, for the repeat count it is shown.
        policies: parameters, one tree a task.
    """

    def __init__(
        self,
        programs: EnvPrograms,
        network: ActorCritic,
        program: AgentProgram,
        tasks: Sequence[Task],
        policies: Sequence[Any],
    ) -> None:
        self.programs = programs
        self._apply = apply_of(network)
        shared = shared_by(policies)
        self._one_network = shared is not None
        self._policies = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies) if shared is None else shared
        )
        self._count = len(policies)
        self._table = ProgramTable.of(program, GoalTable.of(list(tasks)))
        self._decide = compiled(self._choose)
        self._record = compiled(_record)
        self._look_at = compiled(_look_at)

    def begin(self, seen: Seen) -> Pursuit:
        """Nothing pursued yet."""
        return nothing_pursued(self._table, seen.snapshot)

    def act(self, seen: Seen, pursuit: Pursuit, key: jax.Array) -> tuple[jax.Array, Pursuit]:
        """Actions int32 ``[B]`` and what the envs are doing now."""
        actions, now = self._decide(self._policies, self._table, seen, pursuit, key)
        return actions, now

    def play(
        self,
        worlds: Placed,
        max_steps: int,
        key: jax.Array,
        on_progress: Callable[[int], None] = lambda _ended: None,
    ) -> Played:
        """One whole episode from every world, until death, the game's end or ``max_steps``.

        Args:
            on_progress: is told every few steps how many episodes have ended so far.
        """
        parts = []
        for first in range(0, worlds.rows, self.programs.batch):
            rows = min(self.programs.batch, worlds.rows - first)
            parts.append(self._play_batch(worlds, first, rows, max_steps, key, on_progress))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: worlds.rows], *parts)

    def standing_at(self, snapshots: np.ndarray) -> np.ndarray:
        """Whose step of each target's plan ``[E, G]`` snapshots ``[E, D]`` stand at: rows of the policies."""
        step = np.asarray(standing(self._table, jnp.asarray(snapshots)).step)
        policy = np.broadcast_to(np.asarray(self._table.policy), (len(step), *self._table.policy.shape))
        return np.take_along_axis(policy, step[:, :, None], axis=2)[:, :, 0]

    def reached_at(self, snapshots: np.ndarray) -> np.ndarray:
        """Which targets hold in snapshots ``[E, D]``: bool ``[E, G]``."""
        return np.asarray(standing(self._table, jnp.asarray(snapshots)).reached)

    def watch(self, worlds: Placed, episode: int, max_steps: int, key: jax.Array) -> Iterator[Moment]:
        """An episode of :meth:`play`, played again: before every step, then once more after the last.

        Args:
            worlds, key: as they were given to :meth:`play`; the same batch gives the same episode.
            episode: row of ``worlds``.
            max_steps: at which to stop, when the episode has not ended before.
        """
        row = np.int32(episode % self.programs.batch)
        for pursuit, placed in self._unfold(worlds, episode - int(row), max_steps, key):
            moment, ended = self._look_at(self._table, placed, pursuit, row)
            yield Moment(moment.state, *jax.device_get(moment[1:]))
            if ended:
                return

    def _play_batch(
        self,
        worlds: Placed,
        first: int,
        rows: int,
        max_steps: int,
        key: jax.Array,
        on_progress: Callable[[int], None],
    ) -> Played:
        unfolding = self._unfold(worlds, first, max_steps, key)
        was, placed = next(unfolding)
        before = placed.seen.snapshot
        episode = _fresh_episode(placed.seen, len(self._table.goal_index), self._count)
        for step, (now, placed) in enumerate(unfolding, start=1):
            episode = self._record(self._table, episode, was, now, before, placed.seen)
            was, before = now, placed.seen.snapshot
            if step % CHECK_EVERY == 0:
                # Rows beyond the last world repeat others, to fill the batch.
                ended = int(jnp.sum(episode.ended[:rows]))
                on_progress(first + ended)
                if ended == rows:
                    break
        on_progress(first + rows)
        played: Played = jax.device_get(episode.played)
        return played

    def _unfold(
        self, worlds: Placed, first: int, max_steps: int, key: jax.Array
    ) -> Iterator[tuple[Pursuit, Placed]]:
        """The batch of worlds from row ``first`` on: what is done and where, before each step and at the end.

        The states last until the next ones are asked for: the env's step takes their memory.
        """
        rows = np.arange(first, first + self.programs.batch) % worlds.rows
        placed: Placed = rows_of(worlds, rows)
        batch_key = jax.random.fold_in(key, first)
        pursuit = self.begin(placed.seen)
        for step in range(max_steps):
            action_key, env_key = step_keys(batch_key, step)
            actions, pursuit = self.act(placed.seen, pursuit, action_key)
            yield pursuit, placed
            placed = self.programs.advance(placed.states, actions, env_key)
        yield pursuit, placed

    def _choose(
        self, policies: Any, table: ProgramTable, seen: Seen, was: Pursuit, key: jax.Array
    ) -> tuple[jax.Array, Pursuit]:
        now = pursue(table, seen.snapshot, was)
        goal = goal_features(table.goals, now.policy, now.start, seen.snapshot, now.n)
        features = jnp.concatenate([seen.features, goal], axis=-1)
        return play(key, self._logits(policies, now.policy, seen.tiles, features)), now

    def _logits(self, policies: Any, which: jax.Array, tiles: jax.Array, features: jax.Array) -> jax.Array:
        """float32 ``[B, A]``, each env's by its own policy ``which`` ``[B]``.

        Practised policies are one network, which looks once at each env; others look at all of them each.
        """
        if self._one_network:
            return apply_shared(self._apply, policies, which, tiles, features)[0]
        logits = jax.vmap(lambda params: self._apply(params, tiles, features)[0])(policies)
        return jnp.take_along_axis(logits, which[None, :, None], axis=0)[0]


def _look_at(
    table: ProgramTable, placed: Placed, pursuit: Pursuit, row: jax.Array
) -> tuple[Moment, jax.Array]:
    """One env of a batch, and whether its episode has ended there."""
    state, seen, doing = jax.tree.map(lambda leaf: leaf[row], (placed.states, placed.seen, pursuit))
    reached = standing(table, seen.snapshot[None]).reached[0, doing.target]
    moment = Moment(state, seen.snapshot, doing.target, doing.step, doing.rule, doing.policy, reached)
    return moment, seen.died | seen.time_up


def _fresh_episode(seen: Seen, targets: int, policies: int) -> _Episode:
    batch = seen.died.shape[0]
    no = jnp.zeros(batch, bool)
    return _Episode(
        no,
        Played(
            length=jnp.zeros(batch, jnp.int32),
            died=no,
            before=seen.snapshot,
            end=seen.snapshot,
            reached=jnp.zeros((batch, targets), bool),
            rested=jnp.zeros((batch, targets), jnp.int32),
            charge=jnp.zeros((batch, policies), jnp.int32),
            calls=no_calls(batch, policies),
        ),
    )


def _record(
    table: ProgramTable, episode: _Episode, was: Pursuit, now: Pursuit, before: jax.Array, seen: Seen
) -> _Episode:
    """Notes one step of the episodes that have not ended; arguments as of :func:`note_calls`."""
    old = episode.played
    whose = was.policy[:, None] == jnp.arange(old.charge.shape[1])
    new = Played(
        length=old.length + 1,
        died=seen.died,
        before=before,
        end=seen.snapshot,
        reached=old.reached | standing(table, seen.snapshot).reached,
        rested=was.rested,
        charge=old.charge + (whose & asked(table, was, before)[:, None]),
        calls=note_calls(table, old.calls, was, now, before, seen.snapshot, seen.died),
    )
    played = where_rows(episode.ended, old, new)
    return _Episode(episode.ended | seen.died | seen.time_up, played)
