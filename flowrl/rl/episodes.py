"""Episodes of one trained policy from given start states: what validation and measuring rest on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.compiled import compiled
from flowrl.rl.environment import EnvPrograms, Placed, Seen
from flowrl.rl.network import ActorCritic
from flowrl.rl.task import GoalTable, Progress, Task, Verdict, goal_features, judge

Array = np.ndarray | jax.Array

CHECK_EVERY = 16
"""Env steps between two looks from the host at whether all episodes have ended."""


class Outcomes(NamedTuple):
    """How ``E`` episodes went; one row an episode; on the host once finished.

    Attributes:
        success: bool ``[E]``: done, alive, every declared gain measured.
        claimed: bool ``[E]``: the skill's own done was true at the end, measured or not.
        died: bool ``[E]``.
        length: int32 ``[E]``, env steps.
        n: int32 ``[E]``, the repeat count asked for.
        start: float32 ``[E, D]``, snapshot at the start.
        before: float32 ``[E, D]``, snapshot before the last step.
        end: float32 ``[E, D]``, snapshot at the end.
    """

    success: Array
    claimed: Array
    died: Array
    length: Array
    n: Array
    start: Array
    before: Array
    end: Array


class _Running(NamedTuple):
    """The state of B episodes under way; ``outcome`` rows are final once ``ended``."""

    progress: Progress
    ended: jax.Array
    outcome: Outcomes


class EpisodeRunner:
    """Runs batches of episodes with the shared env program; compiled once a network.

    Args:
        programs: the env's programs.
        network: whose parameters will be given.
    """

    def __init__(self, programs: EnvPrograms, network: ActorCritic) -> None:
        self.programs = programs
        self._network = network
        self._choose = compiled(self._choose_actions)

    def run(self, task: Task, params: Any, starts: Placed, key: jax.Array) -> Outcomes:
        """One episode from every start state, to its end.

        Args:
            task: what counts as success; ``n`` cycles through 1 .. ``max_repeat``.
            params: one policy's parameters.
            starts: E start states.
        """
        batch = self.programs.batch
        note = compiled(functools.partial(_note, task))
        table = GoalTable.of([task])
        parts = []
        for first in range(0, starts.rows, batch):
            rows = np.arange(first, first + batch) % starts.rows
            repeats = jnp.asarray(rows % task.max_repeat + 1, jnp.int32)
            key, part_key = jax.random.split(key)
            placed = jax.tree.map(lambda leaf, rows=rows: jnp.array(leaf[rows]), starts)
            parts.append(self._run_batch(task, params, placed, repeats, part_key, note, table))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: starts.rows], *parts)

    def chooser(self, task: Task, params: Any, seen: Seen) -> Callable[[Seen, jax.Array], jax.Array]:
        """A policy as ``(seen, key) -> actions [B]``, for play that nobody judges; ``n`` is 1 throughout."""
        table = GoalTable.of([task])
        progress = _begin(seen, jnp.ones(seen.died.shape, jnp.int32)).progress
        return lambda now, key: self._choose(params, table, now, progress, key)

    def _run_batch(
        self,
        task: Task,
        params: Any,
        placed: Placed,
        repeats: jax.Array,
        key: jax.Array,
        note: Callable[..., _Running],
        table: GoalTable,
    ) -> Outcomes:
        running = _begin(placed.seen, repeats)
        for step in range(task.max_steps * task.max_repeat):
            step_key = jax.random.fold_in(key, step)
            actions = self._choose(params, table, placed.seen, running.progress, step_key)
            placed = self.programs.advance(placed.states, actions, step_key)
            running = note(running, placed.seen)
            if step % CHECK_EVERY == CHECK_EVERY - 1 and bool(jnp.all(running.ended)):
                break
        return jax.device_get(running.outcome)

    def _choose_actions(
        self, params: Any, table: GoalTable, seen: Seen, progress: Progress, key: jax.Array
    ) -> jax.Array:
        which = jnp.zeros(seen.died.shape, jnp.int32)
        goal = goal_features(table, which, progress.start, seen.snapshot, progress.n)
        features = jnp.concatenate([seen.features, goal], axis=-1)
        logits, _ = self._network.apply({"params": params}, seen.tiles, features)
        return jax.random.categorical(key, logits)


def _begin(seen: Seen, repeats: jax.Array) -> _Running:
    no = jnp.zeros_like(seen.died)
    zero = jnp.zeros_like(repeats)
    progress = Progress(seen.snapshot, seen.snapshot, repeats, zero)
    outcome = Outcomes(no, no, no, zero, repeats, *(seen.snapshot,) * 3)
    return _Running(progress, no, outcome)


def _note(task: Task, running: _Running, seen: Seen) -> _Running:
    """Judges one step and freezes the outcome of what ended."""
    progress = running.progress._replace(steps=running.progress.steps + 1)
    verdict: Verdict = judge(task, progress, seen.snapshot, seen.died, seen.time_up)
    _, claimed = task.program(progress.start, progress.prev, seen.snapshot, progress.n)
    now = Outcomes(
        verdict.success,
        claimed,
        seen.died,
        progress.steps,
        progress.n,
        progress.start,
        progress.prev,
        seen.snapshot,
    )
    outcome = jax.tree.map(
        lambda old, new: jnp.where(running.ended.reshape((-1,) + (1,) * (old.ndim - 1)), old, new),
        running.outcome,
        now,
    )
    ended = running.ended | verdict.terminated | verdict.truncated
    return _Running(progress._replace(prev=seen.snapshot), ended, outcome)
