"""What a plan's progress pays, once while its target is pursued: what can be earned again would be farmed.

Measured: with the skills' own rewards paid whenever they came, players learned to gather wood, waste it on a
sword and gather again; and, where only those of rules came so, to open and close their shelter until they
died of exhaustion (docs/LOG.md).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from flowrl.rl.agent_program import ProgramTable, standing
from flowrl.rl.pursuit import Pursuit

STEP_BONUS = 0.5
"""For the first time that a target's plan gets as far; an achievement of the game's own pays 1."""

MOST_PAID = 1.0
"""Of a skill's own reward at one step of a plan, for each repeat that is asked for; and under one rule, until
what it keeps up is up."""

OWN_LIMIT = 2.0
"""A skill's own reward in one env step is clipped to this size."""

NEW_TILE = 0.002
"""For a tile seen for the first time while a plan's step is searched for, at most: what is hard to find is
found by those who look where they have not been."""


class Milestones(NamedTuple):
    """How far B envs have come with their present target.

    Attributes:
        target: int32 ``[B]``, -1 for none.
        level: int32 ``[B]``, the farthest row of its program so far; the goal's when it was reached.
        paid: float32 ``[B]``, what the skills' own rewards have paid since that step.
        by_rule: float32 ``[B, R]``, what they have paid under each rule since it was last not wanted.
    """

    target: jax.Array
    level: jax.Array
    paid: jax.Array
    by_rule: jax.Array

    @staticmethod
    def none(batch: int, rules: int) -> Milestones:
        """Of envs that pursue nothing yet."""
        return Milestones(
            jnp.full(batch, -1, jnp.int32),
            jnp.zeros(batch, jnp.int32),
            jnp.zeros(batch, jnp.float32),
            jnp.zeros((batch, rules), jnp.float32),
        )

    def forgotten(self, ended: jax.Array) -> Milestones:
        """Without those of the envs whose episode has ended ``[B]``."""
        return self._replace(
            target=jnp.where(ended, -1, self.target), by_rule=jnp.where(ended[:, None], 0.0, self.by_rule)
        )


def pay(
    table: ProgramTable,
    was: Milestones,
    doing: Pursuit,
    before: jax.Array,
    after: jax.Array,
    own: jax.Array,
    searched: jax.Array,
) -> tuple[jax.Array, Milestones]:
    """What one env step pays beside the game's own reward: ``(reward [B], milestones)``.

    The skill in charge is paid its own reward, up to :data:`MOST_PAID`; in a plan, below the farthest step so
    far, only what it loses.

    Args:
        doing: what was done in the step.
        before, after: float32 ``[B, D]``, snapshots around it.
        own: float32 ``[B]``, the own reward of the skill in charge.
        searched: float32 ``[B]``, tiles that the step was the first to see, weighted 0 to 1 by how seldom
            calls of the skill in charge come through.
    """
    own = jnp.clip(jnp.nan_to_num(own), -OWN_LIMIT, OWN_LIMIT)
    another = doing.target != was.target
    farthest = jnp.where(another, _level(table, before, doing.target), was.level)
    paid = jnp.where(another, 0.0, was.paid)
    level = _level(table, after, doing.target)
    room = jnp.where(doing.step < farthest, 0.0, MOST_PAID * doing.n - paid)
    ruled = doing.rule >= 0
    wanted = before[:, table.rules.column] <= table.rules.below
    by_rule = jnp.where(wanted, was.by_rule, 0.0)
    of_rule = jnp.take_along_axis(by_rule, jnp.maximum(doing.rule, 0)[:, None], axis=1)[:, 0]
    own = jnp.minimum(own, jnp.where(ruled, MOST_PAID - of_rule, room))
    farther = level > farthest
    in_charge = doing.rule[:, None] == jnp.arange(table.rules.places)
    now = Milestones(
        doing.target,
        jnp.maximum(farthest, level),
        jnp.where(farther, 0.0, paid + jnp.where(ruled, 0.0, own)),
        by_rule + jnp.where(in_charge, own[:, None], 0.0),
    )
    searching = ~ruled & (level < table.goal_index[doing.target])
    return own + STEP_BONUS * farther + NEW_TILE * searched * searching, now


def _level(table: ProgramTable, snapshot: jax.Array, target: jax.Array) -> jax.Array:
    stand = standing(table, snapshot)
    reached = jnp.take_along_axis(stand.reached, target[:, None], axis=1)[:, 0]
    step = jnp.take_along_axis(stand.step, target[:, None], axis=1)[:, 0]
    return jnp.where(reached, table.goal_index[target], step)
