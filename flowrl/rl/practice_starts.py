"""Where practice's episodes begin: fresh worlds, and states in which some skill was about to act lately.

What lies late in the game would else be met only by those who live to see it (a curriculum over the agent's
own states, as in Go-Explore, Ecoffet et al. 2021, without its archive). The less often a skill's calls come
through, the more episodes begin with it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.calls import OUTCOMES
from flowrl.rl.environment import Placed, copy_rows, rows_of

FROM_KEPT = 0.5
"""Share of the episodes that begin in a state in which some skill was in charge."""

KEPT_A_SKILL = 16
"""Such states that are kept of each skill, the latest; one more a skill after every update."""

EVEN = 0.1
"""How likely a skill that always comes through is to be begun with, compared with one that never does."""

REMEMBERED = 0.95
"""What a call weighs after each update, in the share of calls that come through."""


class Record(NamedTuple):
    """Calls of S skills, and those of them that came through; float32 ``[S]``, the older the lighter.

    What a rule interrupts has not come through: a search of which hardly a call ends otherwise is hard.
    """

    calls: jax.Array
    through: jax.Array

    @property
    def failing(self) -> jax.Array:
        """float32 ``[S]``: the share that did not, with one of either kind to begin with."""
        return 1.0 - (self.through + 1.0) / (self.calls + 2.0)

    def with_calls(self, ended: np.ndarray | jax.Array) -> Record:
        """After an update in which calls have ended so: ``[B, S, len(OUTCOMES)]``."""
        outcomes = jnp.sum(jnp.asarray(ended), axis=0)
        return Record(
            REMEMBERED * self.calls + jnp.sum(outcomes, axis=1),
            REMEMBERED * self.through + outcomes[:, OUTCOMES.index("advanced")],
        )


class Starts(NamedTuple):
    """W fresh worlds, then :data:`KEPT_A_SKILL` states of each of S skills.

    Attributes:
        bank: ``W + S * KEPT_A_SKILL`` states.
        kept: int32 ``[S]``, how many of a skill's rows are filled.
        next: int32 ``[S]``, which is written next.
        record: how their calls have ended.
    """

    bank: Placed
    kept: jax.Array
    next: jax.Array
    record: Record

    @staticmethod
    def of(worlds: Placed, skills: int) -> Starts:
        """Before anything was played; the rows of kept states hold worlds until they are filled."""
        rows = np.arange(worlds.rows + KEPT_A_SKILL * skills) % worlds.rows
        return Starts(
            rows_of(worlds, rows),
            jnp.zeros(skills, jnp.int32),
            jnp.zeros(skills, jnp.int32),
            Record(jnp.zeros(skills), jnp.zeros(skills)),
        )

    @property
    def worlds(self) -> int:
        """W."""
        return self.bank.rows - KEPT_A_SKILL * self.kept.shape[0]

    def draw(self, batch: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Rows of the bank ``[B]``, and which of them are fresh worlds ``[B]``."""
        world_key, kind_key, skill_key, row_key = jax.random.split(key, 4)
        worlds = jax.random.randint(world_key, (batch,), 0, self.worlds)
        likely = jnp.log(EVEN + (1.0 - EVEN) * self.record.failing)
        wanted = jnp.where(self.kept > 0, likely, -jnp.inf)
        skill = jax.random.categorical(
            skill_key, jnp.where(jnp.any(self.kept > 0), wanted, 0.0), shape=(batch,)
        )
        row = jax.random.randint(row_key, (batch,), 0, jnp.maximum(self.kept[skill], 1))
        fresh = (jax.random.uniform(kind_key, (batch,)) >= FROM_KEPT) | (self.kept[skill] == 0)
        return jnp.where(fresh, worlds, self.worlds + skill * KEPT_A_SKILL + row), fresh

    def filed_again(self, policy: jax.Array) -> Starts:
        """Without the states of skills of which some would begin with another skill by now.

        Args:
            policy: int32 ``[rows of the bank]``, whose turn it is in each state.
        """
        skills = jnp.arange(self.kept.shape[0])[:, None]
        theirs = policy[self.worlds :].reshape(-1, KEPT_A_SKILL) == skills
        still = jnp.all(theirs | (jnp.arange(KEPT_A_SKILL) >= self.kept[:, None]), axis=1)
        return self._replace(kept=jnp.where(still, self.kept, 0), next=jnp.where(still, self.next, 0))

    def with_states(
        self,
        placed: Placed,
        policy: jax.Array,
        going: jax.Array,
        ended: np.ndarray | jax.Array,
        key: jax.Array,
    ) -> Starts:
        """Of each skill that is to act somewhere now, one state takes the place of the oldest.

        Args:
            placed: where B envs are.
            policy: int32 ``[B]``, whose turn it is there.
            going: bool ``[B]``, whose episode goes on.
            ended: ``[B, S, len(OUTCOMES)]``, calls that ended since the last time.
        """
        skills = jnp.arange(self.kept.shape[0])
        drawn = jax.random.uniform(key, going.shape)
        candidates = jnp.where(going & (policy == skills[:, None]), drawn, -1.0)
        env, found = jnp.argmax(candidates, axis=1), jnp.any(candidates >= 0, axis=1)
        rows = self.worlds + skills * KEPT_A_SKILL + self.next
        source = jnp.zeros(self.bank.rows, jnp.int32).at[rows].set(env.astype(jnp.int32))
        chosen = jnp.zeros(self.bank.rows, bool).at[rows].set(found)
        return Starts(
            copy_rows(self.bank, placed, source, chosen),
            jnp.minimum(self.kept + found, KEPT_A_SKILL),
            jnp.where(found, (self.next + 1) % KEPT_A_SKILL, self.next),
            self.record.with_calls(ended),
        )
