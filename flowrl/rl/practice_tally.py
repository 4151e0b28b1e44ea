"""What a practice tells of one update: how its episodes from fresh worlds end, and how fights and losses go.

Episodes that begin in the middle of another one are left out: what they end with says little of the player.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class PracticeReport:
    """One update.

    Attributes:
        episodes: of those that began in a fresh world, how many ended in this rollout.
        mean_length: their length in env steps; 0 when there are none.
        ended_with: float ``[C]``: share of them that held each watched column at the end.
        fights: float32 ``[terms, terms]``, sums over those that ended (:class:`~flowrl.rl.fights.Fights`).
        metrics: losses and mean rewards by name.
    """

    episodes: int
    mean_length: float
    ended_with: np.ndarray
    fights: np.ndarray
    metrics: dict[str, float]


class Tally(NamedTuple):
    """Episodes from fresh worlds, B of any kind under way, C watched snapshot columns.

    Attributes:
        age: int32 ``[B]``, env steps so far of the episode under way.
        fresh: bool ``[B]``, whether it began in a fresh world.
        episodes: int32, how many such have ended.
        steps: int32, their env steps.
        ended_with: int32 ``[C]``, how many of them held each column at the end.
    """

    age: jax.Array
    fresh: jax.Array
    episodes: jax.Array
    steps: jax.Array
    ended_with: jax.Array

    @staticmethod
    def none(batch: int, columns: int) -> Tally:
        """Before the first step."""
        return Tally(
            jnp.zeros(batch, jnp.int32), jnp.ones(batch, bool), jnp.int32(0), jnp.int32(0),
            jnp.zeros(columns, jnp.int32),
        )  # fmt: skip

    def one_step_on(self, begun: jax.Array, fresh: jax.Array) -> Tally:
        """One env step later; where ``begun``, an episode's first, from a fresh world where ``fresh``."""
        return self._replace(age=jnp.where(begun, 0, self.age) + 1, fresh=jnp.where(begun, fresh, self.fresh))

    def counted(self, ended: jax.Array, held: jax.Array) -> Tally:
        """With the episodes that have ``ended`` ``[B]``, holding ``held`` ``[B, C]``."""
        counted = ended & self.fresh
        return self._replace(
            episodes=self.episodes + jnp.sum(counted),
            steps=self.steps + jnp.sum(counted * self.age),
            ended_with=self.ended_with + jnp.sum(held & counted[:, None], axis=0),
        )

    def emptied(self) -> Tally:
        """Nothing has ended yet; what is under way goes on."""
        return self._replace(
            episodes=jnp.int32(0), steps=jnp.int32(0), ended_with=jnp.zeros_like(self.ended_with)
        )


def report_of(tally: Tally, fights: np.ndarray, metrics: dict[str, np.ndarray]) -> PracticeReport:
    """What of one update, fetched from the device, is told."""
    episodes = int(tally.episodes)
    return PracticeReport(
        episodes,
        float(tally.steps) / max(episodes, 1),
        np.asarray(tally.ended_with) / max(episodes, 1),
        np.asarray(fights),
        {name: float(value) for name, value in metrics.items()},
    )
