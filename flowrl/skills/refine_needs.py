"""Needs as they were measured for one repeat count: what must be there at the start for the skill to succeed.

What is needed is decided for n = 1, which every skill is played for; how an amount grows from there is put
together from what is found for the other n (:mod:`flowrl.skills.refine_growth`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from flowrl.skills.change import ALMOST_ALWAYS, AS_GOOD, MIN_EPISODES, almost_never, as_good, frequent
from flowrl.skills.evidence import wilson_interval
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.refine_ranges import Finding, Need, NeedRange, Starts, ranges_of
from flowrl.skills.trajectories import Trajectories

_MAY_BE_ADDED = (FactKind.COUNT, FactKind.TIER, FactKind.REACH, FactKind.PLACE)
"""Achievements are a record of what was done, never what the game asks for; vitals rise and fall by
themselves, so what they separate is mostly how late in the day it is."""

RARELY = 0.25
"""Upper Wilson bound of success without any of several needs of which one will do. Not ALMOST_NEVER: a little
of a substitute helps a little, such as half of the wood for a table of one's own."""


def needs_of(operator: Operator) -> dict[str, Need]:
    """What one repeat needs to start: what is required, and what is consumed."""
    needs: dict[str, Need] = {}
    for name, count in operator.requires.items():
        needs[name] = count.at(1) if isinstance(count, Linear) else count
    for name, used in operator.consumes.items():
        required = needs.get(name, 0)
        needs[name] = max(used.at(1), required if isinstance(required, int) else 0)
    return needs


@dataclass(frozen=True)
class Needs:
    """What the skill needs for one n, and how it was found.

    Attributes:
        needs: fact -> least value, or allowed places; 0 for what is no longer needed.
        findings: what is new, one a changed fact.
        undecided: needs that something speaks for, but something else just as much.
        ranges: fact -> where its need may lie; only of amounts with which the skill is seen to work.
    """

    needs: Mapping[str, Need]
    findings: tuple[Finding, ...] = ()
    undecided: tuple[Finding, ...] = ()
    ranges: Mapping[str, NeedRange] = field(default_factory=dict)


def refined_needs(
    needs: Mapping[str, Need],
    used: Mapping[str, int],
    episodes: Trajectories,
    success: np.ndarray,
    vocabulary: Vocabulary,
    n: int = 1,
    missing: Mapping[str, Need] = MappingProxyType({}),
) -> Needs:
    """Raises or adds what almost nothing succeeds without, lowers or drops what nothing is lost without.

    In turns, until nothing new is found: a need that is dropped lets more episodes speak about the others.
    What always held is kept: that nothing speaks for a need is not that something speaks against it.

    Args:
        needs: as declared, for ``n``.
        used: fact -> what ``n`` repeats consume: no need falls below it.
        episodes: of the skill, from starts of many kinds.
        success: bool ``[E]``.
        n: the repeat count whose episodes are looked at.
        missing: needs that another n was found not to have: either of two tools may do, whatever the n.
    """
    rows = episodes.n == n
    starts = Starts(episodes.select(rows), success[rows], dict(needs), missing)
    while True:
        found = len(starts.findings)
        undecided = _raise(starts, vocabulary)
        _lower(starts, needs, used)
        if len(starts.findings) == found or not starts.lowered:
            break
    ranges = ranges_of(starts, needs, {one.fact for one in undecided})
    return Needs(starts.needs, tuple(starts.findings.values()), tuple(undecided), ranges)


def undecided_needs(operator: Operator, episodes: Trajectories, vocabulary: Vocabulary) -> set[str]:
    """Facts that the skill does about as well without, or worse: the episodes with n = 1 leave both open.

    More episodes without them decide. Where the skill hardly works, nothing that it needs can be doubted.
    """
    rows = episodes.n == 1
    starts = Starts(
        episodes.select(rows), episodes.succeeded(operator, vocabulary)[rows], needs_of(operator), {}
    )
    usual = starts.count(starts.all_hold())
    if not frequent(*usual):
        return set()
    rate, undecided = usual[0] / usual[1], set()
    for name, need in starts.needs.items():
        count = starts.count(starts.all_hold(apart_from=(name,)) & ~starts.holds(name, need))
        if count[1] and not as_good(*count, rate) and wilson_interval(*count)[1] >= AS_GOOD * rate:
            undecided.add(name)
    return undecided


# --- raise and add -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Separation:
    """How a need splits the episodes in which everything else holds.

    Attributes:
        above: bool ``[E]``, episodes in which it holds as well: ``hits`` successes of ``count``.
        hits_below, below: successes and episodes without it.
    """

    fact: str
    need: Need
    above: np.ndarray
    hits: int
    count: int
    hits_below: int
    below: int

    @property
    def rate(self) -> float:
        """Of success with it."""
        return self.hits / self.count

    @property
    def gap(self) -> float:
        """Between the success rates with and without it."""
        return self.rate - self.hits_below / self.below

    @property
    def evidence(self) -> dict[str, int]:
        """As findings keep it."""
        counts = {"with": self.count, "with_success": self.hits}
        return {**counts, "without": self.below, "without_success": self.hits_below}


def _raise(starts: Starts, vocabulary: Vocabulary) -> list[Finding]:
    """Adds the most separating need until none separates; of two that go together, none."""
    undecided: dict[str, Finding] = {}
    while True:
        helpful = [one for one in _helpful(starts, vocabulary) if one.fact not in undecided]
        found = [one for one in helpful if almost_never(one.hits_below, one.below)]
        if not found:
            alternative = _one_of_several(starts, helpful, vocabulary)
            if alternative is None:
                return list(undecided.values())
            starts.needs[alternative.fact] = alternative.need
            starts.findings[alternative.fact] = alternative
            continue
        # Of one fact the weakest need comes first, and stays first among equals.
        best = max(found, key=lambda one: one.gap)
        population = starts.all_hold()
        rivals = [other for other in found if _go_together(best, other, population)]
        if rivals:
            for one in (best, *rivals):
                names = ", ".join(sorted({best.fact, *(rival.fact for rival in rivals)} - {one.fact}))
                undecided[one.fact] = Finding(
                    one.fact, one.need, one.evidence, f"separates no better than {names}, which goes with it"
                )
            continue
        starts.needs[best.fact] = best.need
        reason = "almost no success started without it"
        starts.findings[best.fact] = Finding(best.fact, best.need, best.evidence, reason)


def _go_together(one: _Separation, other: _Separation, population: np.ndarray) -> bool:
    """Whether two facts split the episodes alike, so that they cannot be told apart."""
    same = (one.above == other.above)[population].mean()
    return one.fact != other.fact and bool(same >= ALMOST_ALWAYS)


def _helpful(starts: Starts, vocabulary: Vocabulary) -> Iterator[_Separation]:
    """Needs with which the skill works, and which enough episodes lack."""
    population = starts.all_hold()
    for name in starts.episodes.facts:
        kind = vocabulary[name].kind
        if kind not in _MAY_BE_ADDED or name in starts.lowered:
            continue
        values = starts.values(name)
        options: list[Need] = [int(value) for value in np.unique(values[population])[1:]]
        if kind is FactKind.PLACE:
            seen = np.unique(values[population])
            counts = {int(place): starts.count(population & (values == place)) for place in seen}
            options = [tuple(place for place, count in counts.items() if frequent(*count))]
        for need in options:
            above = population & starts.holds(name, need)
            with_it, without = starts.count(above), starts.count(population & ~above)
            if frequent(*with_it) and without[1] >= MIN_EPISODES:
                yield _Separation(name, need, above, *with_it, *without)


def _one_of_several(starts: Starts, helpful: Sequence[_Separation], vocabulary: Vocabulary) -> Finding | None:
    """One of several needs of which any will do: a table in reach, or wood enough to place one first.

    None of them separates alone; an operator can only ask for one. What must merely hold goes before a
    greater amount of something.
    """
    population = starts.all_hold()
    if not helpful or frequent(*starts.count(population)):
        return None
    none = population.copy()
    for one in helpful:
        none &= ~one.above
    hits, episodes = starts.count(none)
    if episodes < MIN_EPISODES or wilson_interval(hits, episodes)[1] >= RARELY:
        return None
    best = max(helpful, key=lambda one: (vocabulary[one.fact].kind is not FactKind.COUNT, one.rate))
    others = ", ".join(sorted({one.fact for one in helpful} - {best.fact}))
    evidence = {**best.evidence, "without": episodes, "without_success": hits}
    return Finding(best.fact, best.need, evidence, f"starts without it or {others} rarely succeed")


# --- lower and drop ----------------------------------------------------------------------------


def _lower(starts: Starts, declared: Mapping[str, Need], used: Mapping[str, int]) -> None:
    """Lowers one need after the other, the one first that is missed least."""
    usual = starts.count(starts.all_hold())
    if not frequent(*usual):
        return
    rate = usual[0] / usual[1]
    while True:
        options = [
            option
            for name in declared
            if name not in starts.findings
            for option in [_least(starts, name, used.get(name, 0), rate)]
            if option is not None
        ]
        if not options:
            return
        best = max(options, key=_sureness)
        starts.lowered[best.fact] = starts.needs[best.fact]
        starts.needs[best.fact] = best.need
        with_need = {"with": usual[1], "with_success": usual[0]}
        starts.findings[best.fact] = replace(best, evidence={**with_need, **best.evidence})


def _sureness(finding: Finding) -> float:
    return wilson_interval(finding.evidence["without_success"], finding.evidence["without"])[0]


def _least(
    starts: Starts,
    name: str,
    used: int,
    rate: float,
) -> Finding | None:
    """The weakest need of one fact that is as good as the present one; None when there is none."""
    need, values = starts.needs[name], starts.values(name)
    # Evidence against one of two needs counts only where the other, once dropped, was missing as well: either
    # of two tools may do.
    rows = starts.all_hold(apart_from=(name,)) & ~starts.holds(name, need)
    for other, before in {**starts.missing, **starts.lowered}.items():
        rows &= ~starts.holds(other, before)
    good = list(_as_good_levels(starts, rows, values, rate, ordered=not isinstance(need, tuple)))
    reason = "starts without it succeed about as often"
    if isinstance(need, tuple):
        total = starts.count(rows & np.isin(values, [place for place, _ in good]))
        wider = tuple(sorted({*need, *(place for place, _ in good)}))
        return Finding(name, wider, _without(total), reason) if good else None
    for value, count in good:
        lower = max(value, used)
        if lower < need:
            return Finding(name, lower, _without(count), reason)
    return None


def _as_good_levels(
    starts: Starts, rows: np.ndarray, values: np.ndarray, rate: float, ordered: bool
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Values with which episodes succeed about as often, with ``(successes, episodes)``.

    Args:
        ordered: whether who has more does no worse: then a value is as good as it and some below it together.
    """
    levels = np.unique(values[rows])
    for level in levels:
        for least in levels[levels <= level][::-1] if ordered else [level]:
            count = starts.count(rows & (values >= least) & (values <= level))
            if as_good(*count, rate):
                yield int(level), count
                break


def _without(count: tuple[int, int]) -> dict[str, int]:
    return {"without": count[1], "without_success": count[0]}
