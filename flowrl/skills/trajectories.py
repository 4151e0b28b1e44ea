"""Episodes of one skill in facts: what they started with, what changed, what was used on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.teleo import start_condition


@dataclass(frozen=True)
class Trajectories:
    """``E`` episodes, read in ``F`` facts; one row an episode.

    Attributes:
        facts: names of the F facts, in column order.
        start, end: int32 ``[E, F]``, values at the start and at the end.
        fell, rose: int32 ``[E, F]``, the sums of all falls and of all rises on the way.
        done: bool ``[E]``: the skill's own ``is_done`` was true at the end and the player alive, whatever
            the declared gains say: they are what is in question.
        died: bool ``[E]``.
        n: int32 ``[E]``, the repeat count asked for.
        length: int32 ``[E]``, env steps.
    """

    facts: tuple[str, ...]
    start: np.ndarray
    end: np.ndarray
    fell: np.ndarray
    rose: np.ndarray
    done: np.ndarray
    died: np.ndarray
    n: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.done)

    def column(self, fact: str) -> int:
        """Of a fact, in ``start``, ``end``, ``fell`` and ``rose``."""
        return self.facts.index(fact)

    def select(self, rows: np.ndarray) -> Trajectories:
        """The episodes of a mask (bool ``[E]``) or of indices."""
        return Trajectories(self.facts, *(array[rows] for array in self._arrays()))

    @staticmethod
    def joined(parts: Sequence[Trajectories]) -> Trajectories:
        """All episodes of several, which must be read in the same facts.

        Raises:
            ValueError: they are not, or there are none.
        """
        if len({part.facts for part in parts}) != 1:
            raise ValueError(f"{len(parts)} sets of episodes cannot be joined: give some, all of one world")
        columns = zip(*(part._arrays() for part in parts), strict=True)
        return Trajectories(parts[0].facts, *(np.concatenate(arrays) for arrays in columns))

    def _arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)[1:]]

    def met(self, fact: Fact, count: Count) -> np.ndarray:
        """bool ``[E]``: whether a gain of ``count`` was there at the end, as the fact's kind reads it."""
        start, end = self.start[:, self.column(fact.name)], self.end[:, self.column(fact.name)]
        if not isinstance(count, Linear):
            return np.asarray(end == count[0])
        amount = count.slope * self.n + count.offset
        if fact.kind not in (FactKind.COUNT, FactKind.VITAL):
            return np.asarray(end >= amount)
        wanted = start + amount
        return np.asarray(end >= (wanted if fact.capacity is None else np.minimum(wanted, fact.capacity)))

    def succeeded(self, operator: Operator, vocabulary: Vocabulary) -> np.ndarray:
        """bool ``[E]``: done, and every gain of ``operator`` there."""
        success = self.done.copy()
        for name, count in operator.gains.items():
            success &= self.met(vocabulary[name], count)
        return success

    def started_within(self, operator: Operator, vocabulary: Vocabulary) -> np.ndarray:
        """bool ``[E]``: all that ``operator`` requires and consumes was there at the start."""
        within = np.ones(len(self), bool)
        for n in np.unique(self.n):
            rows = self.n == n
            for name, bounds in start_condition(operator, int(n), vocabulary).items():
                values = self.start[rows, self.column(name)]
                holds = values >= bounds.low
                if bounds.high is not None:
                    holds &= values <= bounds.high
                if bounds.values is not None:
                    holds &= np.isin(values, bounds.values)
                within[rows] &= holds
        return within
