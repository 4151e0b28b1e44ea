"""What fights cost, by what is in the bag: sums on device that tell a host what each tool spares.

A fight is a call of a maintenance rule that beats something off. Operators say what a skill cannot do
without; that fights are won at half the price with a better sword is said by nobody, but shown in practice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.pursuit import Pursuit


@dataclass(frozen=True)
class FightWatch:
    """What is looked at.

    Attributes:
        rules: which rules are fights, F of them.
        tools: ``(snapshot column, least value)`` of T things to have.
        health: the snapshot column that fights cost.
    """

    rules: tuple[int, ...] = ()
    tools: tuple[tuple[int, float], ...] = ()
    health: int = 0

    @property
    def terms(self) -> int:
        """F + T + 1: which fight it is, what was in the bag, and what it cost."""
        return len(self.rules) + len(self.tools) + 1

    def which(self, rule: jax.Array) -> jax.Array:
        """bool ``[B, F]``: which fight rules ``[B]`` are; all False where it is none."""
        return rule[:, None] == np.array(self.rules, np.int32)

    def at_first(self, rule: jax.Array, snapshot: jax.Array) -> jax.Array:
        """float32 ``[B, terms]`` where rules ``[B]`` begin at ``snapshot`` ``[B, D]``; health comes last."""
        which = self.which(rule)
        columns = np.array([column for column, _ in self.tools], np.int32)
        least = np.array([value for _, value in self.tools], np.float32)
        has = snapshot[:, columns] >= least
        return jnp.concatenate([which, has, snapshot[:, self.health, None]], axis=1).astype(jnp.float32)


class Fights(NamedTuple):
    """Of B envs.

    Attributes:
        rule: int32 ``[B]``, the rule in force so far, -1 for none.
        at_first: float32 ``[B, terms]``, when it began; says nothing where there is none.
        sums: float32 ``[terms, terms]``: products of all terms with each other, summed over the fights that
            have ended; the last term is the health that a fight cost.
    """

    rule: jax.Array
    at_first: jax.Array
    sums: jax.Array

    @staticmethod
    def none(batch: int, watch: FightWatch) -> Fights:
        """Before any."""
        terms = watch.terms
        return Fights(jnp.full(batch, -1, jnp.int32), jnp.zeros((batch, terms)), jnp.zeros((terms, terms)))

    def emptied(self) -> Fights:
        """Those under way, and no sums."""
        return self._replace(sums=jnp.zeros_like(self.sums))


def note_fights(
    watch: FightWatch,
    fights: Fights,
    was: Pursuit,
    now: Pursuit,
    before: jax.Array,
    after: jax.Array,
    ended: jax.Array,
) -> Fights:
    """``fights`` after one env step.

    Args:
        was: what was done in the step.
        now: what was decided after it.
        before, after: float32 ``[B, D]``, snapshots around it.
        ended: bool ``[B]``: the episode, in this step.
    """
    begins = was.rule != fights.rule
    at_first = jnp.where(begins[:, None], watch.at_first(was.rule, before), fights.at_first)
    over = jnp.any(watch.which(was.rule), axis=1) & ((now.rule != was.rule) | ended)
    cost = at_first[:, -1:] - after[:, watch.health, None]
    terms = jnp.concatenate([at_first[:, :-1], cost], axis=1) * over[:, None]
    return Fights(jnp.where(ended, -1, was.rule), at_first, fights.sums + terms.T @ terms)
