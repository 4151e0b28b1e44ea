"""Episodes of one trained policy from given start states: what validation and measuring rest on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.compiled import compiled, step_keys
from flowrl.rl.environment import EnvPrograms, Placed, Seen, rows_of, where_rows
from flowrl.rl.maintenance import InForce, Maintenance, maintained, rules_in_force
from flowrl.rl.network import ActorCritic, apply_of, play
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
        fell: float32 ``[E, D]``, what each column lost on the way: the sum of its falls.
        rose: float32 ``[E, D]``, what it grew by on the way; ``end - start`` is ``rose - fell``.
    """

    success: Array
    claimed: Array
    died: Array
    length: Array
    n: Array
    start: Array
    before: Array
    end: Array
    fell: Array
    rose: Array


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
        self._apply = apply_of(network)
        self._choose = compiled(self._choose_actions)
        self.maintenance: Maintenance | None = None
        """Rules that go before the policy, as they did in its training."""

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
            placed = rows_of(starts, rows)
            parts.append(self._run_batch(task, params, placed, repeats, part_key, note, table))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: starts.rows], *parts)

    def chooser(self, task: Task, params: Any, seen: Seen) -> Callable[[Seen, jax.Array], jax.Array]:
        """A policy as ``(seen, key) -> actions [B]``, for play that nobody judges; ``n`` is 1 throughout."""
        table = GoalTable.of([task])
        progress = _begin(seen, jnp.ones(seen.died.shape, jnp.int32)).progress
        alone = InForce.none(len(seen.died), 0)
        return lambda now, key: self._choose(params, None, table, now, progress, alone, key)[0]

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
        in_force = InForce.none(len(repeats), self.maintenance.table.places if self.maintenance else 0)
        for step in range(task.max_steps * task.max_repeat):
            action_key, env_key = step_keys(key, step)
            actions, in_force = self._choose(
                params, self.maintenance, table, placed.seen, running.progress, in_force, action_key
            )
            placed = self.programs.advance(placed.states, actions, env_key)
            running = note(running, placed.seen)
            if step % CHECK_EVERY == CHECK_EVERY - 1 and bool(jnp.all(running.ended)):
                break
        return jax.device_get(running.outcome)

    def _choose_actions(
        self,
        params: Any,
        maintenance: Maintenance | None,
        table: GoalTable,
        seen: Seen,
        progress: Progress,
        in_force: InForce,
        key: jax.Array,
    ) -> tuple[jax.Array, InForce]:
        which = jnp.zeros(seen.died.shape, jnp.int32)
        goal = goal_features(table, which, progress.start, seen.snapshot, progress.n)
        features = jnp.concatenate([seen.features, goal], axis=-1)
        logits, _ = self._apply(params, seen.tiles, features)
        if maintenance is not None:
            in_force = rules_in_force(maintenance.table, seen.snapshot, in_force)
            logits = maintained(self._apply, maintenance, in_force.rule, seen.tiles, seen.features, logits)
        return play(key, logits), in_force


def _begin(seen: Seen, repeats: jax.Array) -> _Running:
    no = jnp.zeros_like(seen.died)
    zero = jnp.zeros_like(repeats)
    progress = Progress(seen.snapshot, seen.snapshot, repeats, zero)
    unchanged = jnp.zeros_like(seen.snapshot)
    outcome = Outcomes(no, no, no, zero, repeats, *(seen.snapshot,) * 3, unchanged, unchanged)
    return _Running(progress, no, outcome)


def _note(task: Task, running: _Running, seen: Seen) -> _Running:
    """Judges one step and freezes the outcome of what ended."""
    progress = running.progress._replace(steps=running.progress.steps + 1)
    verdict: Verdict = judge(task, progress, seen.snapshot, seen.died, seen.time_up)
    _, claimed = task.program(progress.start, progress.prev, seen.snapshot, progress.n)
    change = seen.snapshot - progress.prev
    now = Outcomes(
        verdict.success,
        claimed,
        seen.died,
        progress.steps,
        progress.n,
        progress.start,
        progress.prev,
        seen.snapshot,
        running.outcome.fell + jnp.maximum(-change, 0),
        running.outcome.rose + jnp.maximum(change, 0),
    )
    outcome = where_rows(running.ended, running.outcome, now)
    ended = running.ended | verdict.terminated | verdict.truncated
    return _Running(progress._replace(prev=seen.snapshot), ended, outcome)
