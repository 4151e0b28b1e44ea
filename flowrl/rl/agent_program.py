"""What an agent wants, as data: several plans in order of preference, and the rules that go before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.executor import PlanProgram
from flowrl.rl.maintenance import Rule, RuleTable
from flowrl.rl.task import GoalTable


@dataclass(frozen=True)
class AgentProgram:
    """What the agent wants and how, as data.

    Attributes:
        targets: one program a target, in order of preference.
        patience: env steps that each target may take before it rests; ``[G]``.
        maintenance: rules that go first, in order.
    """

    targets: tuple[PlanProgram, ...]
    patience: tuple[int, ...]
    maintenance: tuple[Rule, ...] = ()


class ProgramTable(NamedTuple):
    """An :class:`AgentProgram` on device: G targets of at most L conditions, R rules.

    Targets have many conditions in common; each of the U different ones is looked at once, in the C columns
    that some condition speaks of.

    Attributes:
        columns: int32 ``[C]``, of the snapshot.
        low, high: float32 ``[U, C]``, the bounds of each condition.
        condition: int32 ``[G, L]``, which of them is before each step, then the goal's, then that repeated.
        policy, n: int32 ``[G, L]``, who runs at each step and with how many repeats.
        goal_index: int32 ``[G]``, the row of each target's own condition.
        patience: int32 ``[G]``.
        rules: what goes before any target; at least one place.
        goals: what each policy's repeats are counted by.
    """

    columns: jax.Array
    low: jax.Array
    high: jax.Array
    condition: jax.Array
    policy: jax.Array
    n: jax.Array
    goal_index: jax.Array
    patience: jax.Array
    rules: RuleTable
    goals: GoalTable

    @staticmethod
    def of(program: AgentProgram, goals: GoalTable) -> ProgramTable:
        """The table of a program."""
        rows = max(target.steps for target in program.targets) + 1
        lows = np.stack([_lengthened(target.low, rows) for target in program.targets])
        highs = np.stack([_lengthened(target.high, rows) for target in program.targets])
        columns = np.flatnonzero(np.isfinite(lows).any(axis=(0, 1)) | np.isfinite(highs).any(axis=(0, 1)))
        both = np.concatenate([lows[:, :, columns], highs[:, :, columns]], axis=2)
        different, condition = np.unique(np.concatenate(both), axis=0, return_inverse=True)
        return ProgramTable(
            jnp.asarray(columns, jnp.int32),
            jnp.asarray(different[:, : len(columns)]),
            jnp.asarray(different[:, len(columns) :]),
            jnp.asarray(condition.reshape(both.shape[:2]), jnp.int32),
            jnp.asarray(np.stack([_lengthened(target.policy, rows) for target in program.targets])),
            jnp.asarray(np.stack([_lengthened(target.n, rows) for target in program.targets])),
            jnp.array([target.steps for target in program.targets], jnp.int32),
            jnp.array(program.patience, jnp.int32),
            RuleTable.of(program.maintenance, lows.shape[2], max(len(program.maintenance), 1)),
            goals,
        )


class Standing(NamedTuple):
    """Where ``B`` envs stand in each target's plan, from their snapshots alone.

    Attributes:
        reached: bool ``[B, G]``: the target's own condition holds.
        step: int32 ``[B, G]``: the last step whose condition holds, the goal's left out; 0 when none does.
    """

    reached: jax.Array
    step: jax.Array


def standing(table: ProgramTable, snapshot: jax.Array) -> Standing:
    """Compares snapshots ``[B, D]`` with all conditions of all targets."""
    facts = snapshot[:, table.columns][:, None, :]
    holds = jnp.all((facts >= table.low) & (facts <= table.high), axis=-1)[:, table.condition]
    reached = jnp.take_along_axis(holds, table.goal_index[None, :, None], axis=2)[:, :, 0]
    order = jnp.arange(holds.shape[2])
    step = jnp.max(jnp.where(holds & (order < table.goal_index[:, None]), order, 0), axis=2)
    return Standing(reached, step.astype(jnp.int32))


def _lengthened(array: np.ndarray, rows: int) -> np.ndarray:
    """``array`` with its last row repeated up to ``rows`` rows."""
    return np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
