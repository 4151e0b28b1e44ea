"""How policies fare inside whole episodes: every call of one ends in one of four ways, and is counted.

A *call* begins when a policy takes charge, at a step of a plan or by a maintenance rule, and ends when that
step or rule is left. Nothing is asked of a policy whose target is reached already: that is no call. Nor is
one counted that is still under way when its episode is cut off.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.agent_program import ProgramTable, standing
from flowrl.rl.maintenance import at_least
from flowrl.rl.pursuit import Pursuit

OUTCOMES = ("died", "advanced", "interrupted", "gave_way")
"""The first that applies. ``advanced``: a later row of the program applies, the target was reached, or what
the rule keeps up is up again. ``interrupted``: a maintenance rule took over. ``gave_way``: the facts fell
back to an earlier row, or patience ran out."""


class Calls(NamedTuple):
    """Calls in ``B`` episodes, S policies.

    Attributes:
        ended: int32 ``[B, S, len(OUTCOMES)]``, calls by how they ended.
        steps: int32 ``[B, S]``, env steps of those calls.
        under_way: int32 ``[B]``, env steps so far of the call under way.
    """

    ended: np.ndarray | jax.Array
    steps: np.ndarray | jax.Array
    under_way: np.ndarray | jax.Array


def no_calls(batch: int, policies: int) -> Calls:
    """At the start of ``batch`` episodes."""
    return Calls(
        jnp.zeros((batch, policies, len(OUTCOMES)), jnp.int32),
        jnp.zeros((batch, policies), jnp.int32),
        jnp.zeros(batch, jnp.int32),
    )


def asked(table: ProgramTable, doing: Pursuit, before: jax.Array) -> jax.Array:
    """bool ``[B]``: whether anything was asked of the policy in charge; ``before``: snapshots."""
    return (doing.rule >= 0) | ~_at(standing(table, before).reached, doing.target)


def note_calls(
    table: ProgramTable,
    calls: Calls,
    was: Pursuit,
    now: Pursuit,
    before: jax.Array,
    after: jax.Array,
    died: jax.Array,
) -> Calls:
    """``calls`` after one env step.

    Args:
        was: what was done in the step.
        now: what was decided after it; ``was`` itself when nothing more is decided.
        before, after: float32 ``[B, D]``, snapshots around the step.
        died: bool ``[B]``, in the step.
    """
    ruled = was.rule >= 0
    stand = standing(table, after)
    reached, step = _at(stand.reached, was.target), _at(stand.step, was.target)
    left = now.rule != was.rule
    up = (after[:, table.rules.column] >= table.rules.until) & at_least(after, table.rules.gives)
    tired = jnp.any(now.rested > was.rested, axis=1)
    how = jnp.stack(
        [
            died,
            jnp.where(ruled, left & _at(up, was.rule), reached | (step > was.step)),
            left & (now.rule >= 0),
            jnp.where(ruled, left, tired | (step < was.step)),
        ],
        axis=1,
    )
    called = asked(table, was, before)
    ended = called & jnp.any(how, axis=1)
    first = jnp.argmax(how, axis=1)[:, None] == jnp.arange(len(OUTCOMES))
    whose = ended[:, None] & (was.policy[:, None] == jnp.arange(calls.steps.shape[1]))
    taken = calls.under_way + called
    return Calls(
        calls.ended + (whose[:, :, None] & first[:, None, :]),
        calls.steps + jnp.where(whose, taken[:, None], 0),
        jnp.where(ended, 0, taken),
    )


def _at(values: jax.Array, which: jax.Array) -> jax.Array:
    """``[B]`` from ``[B, G]``: each row's value at ``which``, at 0 where that is -1."""
    return jnp.take_along_axis(values, jnp.maximum(which, 0)[:, None], axis=1)[:, 0]
