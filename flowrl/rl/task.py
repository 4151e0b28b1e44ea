"""What is trained: a goal to reach, judged by a small program of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

REWARD_LIMIT = 10.0
"""A skill's own reward is clipped to this size: one wild value would drown everything else."""

GoalProgram = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""``(start [B, D], prev [B, D], now [B, D], n int32 [B]) -> (reward float32 [B], done bool [B])``."""


@dataclass(frozen=True)
class MeasuredGain:
    """A declared gain as a test on snapshot columns, for ``amount = slope * n + offset``.

    Attributes:
        column: of the snapshot.
        mode: ``add``: grown by ``amount`` since the start, or at ``capacity``; ``level``: at least ``amount``
            now; ``equal``: exactly ``amount`` now.
        capacity: the largest value the column takes, or None.
    """

    column: int
    slope: int
    offset: int
    mode: Literal["add", "level", "equal"]
    capacity: int | None = None

    def met(self, start: jax.Array, now: jax.Array, n: jax.Array) -> jax.Array:
        """bool ``[B]`` from snapshots ``[B, D]`` and ``n`` ``[B]``."""
        amount = (self.slope * n + self.offset).astype(jnp.float32)
        value = now[:, self.column]
        if self.mode == "equal":
            return value == amount
        if self.mode == "level":
            return value >= amount
        wanted = start[:, self.column] + amount
        if self.capacity is not None:
            wanted = jnp.minimum(wanted, self.capacity)
        return value >= wanted


@dataclass(frozen=True)
class Task:
    """One skill as the learner sees it.

    Attributes:
        name: for messages.
        program: the skill's own reward and done.
        gains: what must be measured in the env at the end, whatever the skill's own done says.
        max_steps: env steps that an episode may take for each repeat.
        max_repeat: the largest ``n`` to train for; episodes draw ``n`` from 1 to it.
        success_bonus: added when the goal is reached; larger than what shaping pays for staying on (a stream
            of r a step is worth 100 r at gamma 0.99), and there for a reward that forgets the goal.
        death_penalty: taken away on death: what was to be gained is lost with everything gained before.
    """

    name: str
    program: GoalProgram
    gains: tuple[MeasuredGain, ...]
    max_steps: int
    max_repeat: int = 1
    success_bonus: float = 2.0
    death_penalty: float = 0.0

    @property
    def counted(self) -> MeasuredGain | None:
        """The gain that grows with ``n``: what "how many are still to do" is measured by."""
        return next((gain for gain in self.gains if gain.mode == "add" and gain.slope), None)


class Verdict(NamedTuple):
    """What became of one step of ``B`` envs; every field ``[B]``.

    Attributes:
        reward: float32, with bonus and penalty.
        terminated: bool: goal reached, falsely claimed, or death.
        truncated: bool: out of time.
        success: bool: done, every declared gain measured, alive.
        length: int32: steps since the episode's start.
    """

    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    success: jax.Array
    length: jax.Array


class Progress(NamedTuple):
    """Where ``B`` episodes stand.

    Attributes:
        start: float32 ``[B, D]``, snapshot at the episode's start.
        prev: float32 ``[B, D]``, snapshot before the step under way.
        n: int32 ``[B]``, the repeat count asked for.
        steps: int32 ``[B]``, steps made, the one under way included.
    """

    start: jax.Array
    prev: jax.Array
    n: jax.Array
    steps: jax.Array


def judge(task: Task, progress: Progress, now: jax.Array, died: jax.Array, time_up: jax.Array) -> Verdict:
    """Judges one step of ``B`` episodes of ``task``.

    Args:
        now: float32 ``[B, D]``, snapshots after the step.
        died, time_up: bool ``[B]``, the game's own ends.
    """
    own, done = task.program(progress.start, progress.prev, now, progress.n)
    own = jnp.clip(jnp.nan_to_num(own), -REWARD_LIMIT, REWARD_LIMIT)
    measured = jnp.ones_like(died)
    for gain in task.gains:
        measured &= gain.met(progress.start, now, progress.n)
    success = done & measured & ~died
    terminated = done | died
    out_of_time = time_up | (progress.steps >= task.max_steps * progress.n)
    reward = own + task.success_bonus * success - task.death_penalty * died
    return Verdict(reward, terminated, out_of_time & ~terminated, success, progress.steps)


class GoalTable(NamedTuple):
    """How the counted gain of each slot's (or skill's) task is read; every field ``[K]``.

    Attributes:
        column: int32, the counted column; 0 where nothing is counted.
        slope: float32, 0 where nothing is counted.
        offset: float32.
    """

    column: jax.Array
    slope: jax.Array
    offset: jax.Array

    @staticmethod
    def of(tasks: list[Task | None]) -> GoalTable:
        """The table of several tasks; None counts nothing."""
        gains = [task.counted if task else None for task in tasks]
        return GoalTable(
            jnp.array([gain.column if gain else 0 for gain in gains], jnp.int32),
            jnp.array([gain.slope if gain else 0 for gain in gains], jnp.float32),
            jnp.array([gain.offset if gain else 0 for gain in gains], jnp.float32),
        )


GOAL_FEATURES = 2
"""Length of :func:`goal_features`."""


def goal_features(
    table: GoalTable, which: jax.Array, start: jax.Array, now: jax.Array, n: jax.Array
) -> jax.Array:
    """What a policy sees of its own task: how many repeats are left.

    Args:
        which: int32 ``[B]``, row of the table for each env.
        start, now: float32 ``[B, D]``.
        n: int32 ``[B]``.

    Returns:
        float32 ``[B, 2]``: repeats left (in tens), and whether it is the last.
    """
    column = table.column[which][:, None]
    slope = table.slope[which]
    grown = (jnp.take_along_axis(now, column, axis=1) - jnp.take_along_axis(start, column, axis=1))[:, 0]
    missing = (slope * n + table.offset[which] - grown) / jnp.maximum(slope, 1.0)
    left = jnp.where(slope > 0, jnp.ceil(jnp.clip(missing, 0.0, n)), 1.0)
    return jnp.stack([left / 10.0, (left <= 1).astype(jnp.float32)], axis=-1)


def goal_of_one(batch: int) -> jax.Array:
    """float32 ``[batch, 2]``: :func:`goal_features` of a task that is wanted once and not done yet."""
    return jnp.tile(jnp.array([0.1, 1.0]), (batch, 1))
