"""Which target an agent pursues, which step of its plan, and which rule goes before it: one decision."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from flowrl.rl.agent_program import ProgramTable, standing
from flowrl.rl.maintenance import InForce, rules_in_force


class Pursuit(NamedTuple):
    """What B envs are doing.

    Attributes:
        target: int32 ``[B]``.
        step: int32 ``[B]``, row of the target's program.
        rule: int32 ``[B]``, the maintenance rule in force, -1 for none.
        policy: int32 ``[B]``, the policy in charge.
        n: int32 ``[B]``, the repeats asked of it.
        start: float32 ``[B, D]``, snapshot when that policy took charge.
        spent: int32 ``[B]``, env steps on the target since it was taken up.
        rule_spent: int32 ``[B, R]``, env steps on each rule; negative while the rule rests.
        rested: int32 ``[B, G]``, how often each target ran out of patience.
    """

    target: jax.Array
    step: jax.Array
    rule: jax.Array
    policy: jax.Array
    n: jax.Array
    start: jax.Array
    spent: jax.Array
    rule_spent: jax.Array
    rested: jax.Array


def nothing_pursued(table: ProgramTable, snapshot: jax.Array) -> Pursuit:
    """Before the first decision; ``snapshot`` is ``[B, D]``."""
    batch = snapshot.shape[0]
    none, zero = jnp.full(batch, -1, jnp.int32), jnp.zeros(batch, jnp.int32)
    return Pursuit(
        none, none, none, none, zero, snapshot, zero,
        jnp.zeros((batch, table.rules.places), jnp.int32),
        jnp.zeros((batch, table.goal_index.shape[0]), jnp.int32),
    )  # fmt: skip


def pursue(table: ProgramTable, snapshot: jax.Array, was: Pursuit) -> Pursuit:
    """What to do now, from snapshots ``[B, D]`` and what was done before."""
    rule, rule_spent = rules_in_force(table.rules, snapshot, InForce(was.rule, was.rule_spent))
    stand = standing(table, snapshot)
    target, spent, rested = _current_target(table, stand.reached, was)
    step = jnp.take_along_axis(stand.step, target[:, None], axis=1)[:, 0]
    policy = jnp.where(rule >= 0, table.rules.policy[rule], table.policy[target, step])
    changed = (policy != was.policy) | (step != was.step) | (rule != was.rule)
    return Pursuit(
        target,
        step,
        rule,
        policy,
        jnp.where(rule >= 0, 1, table.n[target, step]),
        jnp.where(changed[:, None], snapshot, was.start),
        spent + (rule < 0),
        rule_spent,
        rested,
    )


def _current_target(
    table: ProgramTable, reached: jax.Array, was: Pursuit
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The target ``[B]``, the steps spent on it ``[B]``, and how often each rested ``[B, G]``."""
    order = jnp.arange(reached.shape[1])
    known = was.target >= 0
    current = jnp.maximum(was.target, 0)
    done = jnp.take_along_axis(reached, current[:, None], axis=1)[:, 0]
    tired = known & ~done & (was.spent >= table.patience[current])
    rested = was.rested + (tired[:, None] & (current[:, None] == order))
    # Unreached before reached, less rested before more, then the order of preference.
    rank = (reached * 1_000_000) + jnp.minimum(rested, 1000) * 1000 + order
    best = jnp.argmin(rank, axis=1).astype(jnp.int32)
    switch = ~known | done | tired
    target = jnp.where(switch, best, current)
    spent = jnp.where(switch & (best != was.target), 0, jnp.where(tired, 0, was.spent))
    return target, spent, rested
