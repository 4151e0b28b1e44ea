"""Transitions that probes ask a skill about: real ones, and ones in which a declared gain happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.worlds.snapshot import SnapshotSpec

Rows = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Transitions(NamedTuple):
    """Steps of some episodes, as arrays.

    Attributes:
        start: float32 ``[T, D]``, the snapshots at each skill's start.
        prev: float32 ``[T, D]``, before the step.
        now: float32 ``[T, D]``, after the step.
        n: int32 ``[T]``, the repeat counts.
    """

    start: Rows
    prev: Rows
    now: Rows
    n: NDArray[np.int32]

    def take(self, index: Flags | slice) -> Transitions:
        """The transitions that ``index``, a bool ``[T]`` or a slice, picks."""
        return Transitions(self.start[index], self.prev[index], self.now[index], self.n[index])


class ProbeBank(NamedTuple):
    """What a proposal is probed with: real play, from random actions and from the accepted skills.

    Attributes:
        transitions: T real steps, T >= 1.
        start_states: float32 ``[M, D]``, snapshots of M states that skills could start in, M >= 1.
    """

    transitions: Transitions
    start_states: Rows


class Effects:
    """One operator's facts as columns of snapshots. Facts without a column are left out.

    Args:
        operator: the symbolic claim.
        spec: the D snapshot fields.
        vocabulary: kinds and capacities of the facts.
    """

    def __init__(self, operator: Operator, spec: SnapshotSpec, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._columns = spec.fact_columns
        self.requires = self._with_column(operator.requires)
        self.consumes = self._with_column(operator.consumes)
        self.gains = self._with_column(operator.gains)

    def _with_column(self, counts: Mapping[str, Count]) -> dict[str, Count]:
        return {name: count for name, count in counts.items() if name in self._columns}

    def kinds(self) -> set[FactKind]:
        """The kinds of the gained facts."""
        return {self._vocabulary[name].kind for name in self.gains}

    def adds(self, name: str) -> bool:
        """Whether a gain of ``name`` is measured from the start, not as a level to reach."""
        return self._vocabulary[name].kind in (FactKind.COUNT, FactKind.VITAL)

    def satisfied(self, states: Rows, n: NDArray[np.int32]) -> Flags:
        """bool ``[M]``: where everything that is required or consumed is there, for ``n`` repeats each."""
        held = np.ones(len(states), np.bool_)
        for needs in (self.requires, self.consumes):
            for name, count in needs.items():
                column = states[:, self._columns[name]]
                if isinstance(count, tuple):
                    held &= np.isin(column, count)
                else:
                    held &= column >= count.slope * n + count.offset
        return held

    def with_requirements(self, states: Rows, n: int) -> Rows:
        """float32 ``[M, D]``: the states with what is required and consumed put in where it was missing."""
        made = states.copy()
        for needs in (self.requires, self.consumes):
            for name, count in needs.items():
                column = self._columns[name]
                if isinstance(count, tuple):
                    made[:, column] = np.where(np.isin(made[:, column], count), made[:, column], count[0])
                else:
                    made[:, column] = np.maximum(made[:, column], count.at(n))
        return made

    def with_room(self, states: Rows, n: int) -> Rows:
        """float32 ``[M, D]``: the states with none of the gains there yet and room for those that add."""
        made = states.copy()
        for name, count in self.gains.items():
            column, capacity = self._columns[name], self._vocabulary[name].capacity
            if isinstance(count, tuple):
                continue
            if not self.adds(name):
                made[:, column] = np.minimum(made[:, column], max(0, count.at(n) - 1))
            elif capacity is not None:
                made[:, column] = np.minimum(made[:, column], max(0, capacity - count.at(n)))
        return made

    def with_gains(self, states: Rows, n: int) -> Rows:
        """float32 ``[M, D]``: the states after ``n`` repeats, as the operator declares it."""
        made = states.copy()
        for name, count in self.consumes.items():
            assert isinstance(count, Linear)
            made[:, self._columns[name]] = np.maximum(made[:, self._columns[name]] - count.at(n), 0)
        for name, count in self.gains.items():
            column, capacity = self._columns[name], self._vocabulary[name].capacity
            if isinstance(count, tuple):
                made[:, column] = count[0]
            elif self.adds(name):
                made[:, column] += count.at(n)
                if capacity is not None:
                    made[:, column] = np.minimum(made[:, column], capacity)
            else:
                made[:, column] = np.maximum(made[:, column], count.at(n))
        return made

    def gained(self, start: Rows, now: Rows, n: NDArray[np.int32]) -> Flags:
        """bool ``[T]``: where every gain that has a column is there at ``now``, measured from ``start``."""
        held = np.full(len(now), bool(self.gains))
        for name, count in self.gains.items():
            column = self._columns[name]
            if isinstance(count, tuple):
                held &= np.isin(now[:, column], count)
                continue
            needed = count.slope * n + count.offset + (start[:, column] if self.adds(name) else 0)
            # Where there is no room for more, what there is room for is all that can be asked.
            if (capacity := self._vocabulary[name].capacity) is not None:
                needed = np.minimum(needed, capacity)
            held &= now[:, column] >= needed
        return held

    def happened(self, steps: Transitions) -> Flags:
        """bool ``[T]``: where the operator applied and the last of its gains came in this very step.

        What is consumed must be gone: passing by a table that stands already is not placing one.
        """
        start, prev, now, n = steps
        held = self.satisfied(start, n) & self.gained(start, now, n) & ~self.gained(start, prev, n)
        for name, count in self.consumes.items():
            assert isinstance(count, Linear)
            column = self._columns[name]
            held &= start[:, column] - now[:, column] >= count.slope * n + count.offset
        return held
