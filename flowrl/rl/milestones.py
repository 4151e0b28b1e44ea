"""What a plan's progress pays, once while its target is pursued: what can be earned again would be farmed.

Measured: with the skills' own rewards paid whenever they came, players learned to gather wood, waste it on a
sword and gather again; 97% of them made a wooden pickaxe after 400,000 env steps and 3% after 800,000
(docs/LOG.md).
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
"""Of a skill's own reward at one step of a plan, for each repeat that is asked for."""

OWN_LIMIT = 2.0
"""A skill's own reward in one env step is clipped to this size."""


class Milestones(NamedTuple):
    """How far B envs have come with their present target.

    Attributes:
        target: int32 ``[B]``, -1 for none.
        level: int32 ``[B]``, the farthest step of its plan so far; the plan's length when it was reached.
        paid: float32 ``[B]``, what the skills' own rewards have paid since that step.
    """

    target: jax.Array
    level: jax.Array
    paid: jax.Array

    @staticmethod
    def none(batch: int) -> Milestones:
        """Of envs that pursue nothing yet."""
        return Milestones(
            jnp.full(batch, -1, jnp.int32), jnp.zeros(batch, jnp.int32), jnp.zeros(batch, jnp.float32)
        )

    def forgotten(self, ended: jax.Array) -> Milestones:
        """Without those of the envs whose episode has ended ``[B]``."""
        return self._replace(target=jnp.where(ended, -1, self.target))


def pay(
    table: ProgramTable,
    was: Milestones,
    doing: Pursuit,
    before: jax.Array,
    after: jax.Array,
    own: jax.Array,
) -> tuple[jax.Array, Milestones]:
    """What one env step pays beside the game's own reward: ``(reward [B], milestones)``.

    The skill in charge is paid its own reward: by a rule always; by a plan up to :data:`MOST_PAID`, and below
    the farthest step so far only what it loses.

    Args:
        doing: what was done in the step.
        before, after: float32 ``[B, D]``, snapshots around it.
        own: float32 ``[B]``, the own reward of the skill in charge.
    """
    own = jnp.clip(jnp.nan_to_num(own), -OWN_LIMIT, OWN_LIMIT)
    another = doing.target != was.target
    farthest = jnp.where(another, _level(table, before, doing.target), was.level)
    paid = jnp.where(another, 0.0, was.paid)
    level = _level(table, after, doing.target)
    room = jnp.where(doing.step < farthest, 0.0, MOST_PAID * doing.n - paid)
    ruled = doing.rule >= 0
    by_plan = jnp.minimum(own, room)
    farther = level > farthest
    now = Milestones(
        doing.target,
        jnp.maximum(farthest, level),
        jnp.where(farther, 0.0, paid + jnp.where(ruled, 0.0, by_plan)),
    )
    return jnp.where(ruled, own, by_plan) + STEP_BONUS * farther, now


def _level(table: ProgramTable, snapshot: jax.Array, target: jax.Array) -> jax.Array:
    stand = standing(table, snapshot)
    reached = jnp.take_along_axis(stand.reached, target[:, None], axis=1)[:, 0]
    step = jnp.take_along_axis(stand.step, target[:, None], axis=1)[:, 0]
    return jnp.where(reached, table.goal_index[target], step)
