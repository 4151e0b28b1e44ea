"""How far an analyst's proposal is believed: each entry as far as the episodes agree with it, no further.

The tests are those of :mod:`flowrl.skills.refinement` with rates in place of their confidence bounds: an
analyst that knows the game may tip the scales, but neither without the episodes nor against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import get_args

import numpy as np

from flowrl.skills.change import ALMOST_ALWAYS, AS_GOOD, MIN_EPISODES, Change, Part
from flowrl.skills.evidence import wilson_interval
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.refine_needs import needs_of
from flowrl.skills.refine_uses import used_up
from flowrl.skills.refinement import STILL_NEEDED, Refinement
from flowrl.skills.trajectories import Trajectories

TELLING = 8
"""Successes that must have begun without a gain for its presence at the end to say anything."""


def believed(
    episodes: Trajectories, operator: Operator, proposed: Operator, vocabulary: Vocabulary
) -> Refinement:
    """Takes from ``proposed`` what the episodes agree with.

    A gain is taken when almost every success shows it, and dropped or lowered when that is not so of what
    was declared; an amount that is consumed, when most successes used just so much; a requirement is taken
    when starts without it succeed clearly less often, and dropped when they succeed about as often.

    Args:
        episodes: what the table that the analyst was shown was made of.
        operator: as it is, refined from the same episodes.
        proposed: by the analyst, whole.
    """
    hearing = _Hearing(episodes, operator, vocabulary)
    current, taken, refused = operator, [], []
    for change in _differences(operator, proposed):
        heard, agreed = hearing.of(change)
        after = _with(current, heard)
        if agreed and not after.gains:
            heard, agreed = replace(heard, reason="a skill must gain at least one fact"), False
        if not agreed:
            refused.append(heard)
            continue
        taken.append(heard)
        if change.part == "consumes" and (kept := hearing.still_needed(change.fact, current, after)):
            taken.append(kept)
            after = _with(after, kept)
        current = after
    return Refinement(current, tuple(taken), tuple(refused))


def _differences(operator: Operator, proposed: Operator) -> Iterator[Change]:
    """Entries that differ; what is gained comes first, so that a swapped gain never leaves none."""
    parts: tuple[Part, ...] = get_args(Part)
    for part in reversed(parts):
        before: Mapping[str, Count] = getattr(operator, part)
        after: Mapping[str, Count] = getattr(proposed, part)
        for fact in (*after, *(name for name in before if name not in after)):
            if before.get(fact) != after.get(fact):
                yield Change(part, fact, before.get(fact), after.get(fact), {}, "")


def _with(operator: Operator, change: Change) -> Operator:
    sections = {part: dict(getattr(operator, part)) for part in get_args(Part)}
    sections[change.part].pop(change.fact, None)
    if change.after is not None:
        sections[change.part][change.fact] = change.after
    return Operator(*(MappingProxyType(sections[part]) for part in get_args(Part)))


@dataclass(frozen=True)
class _Verdict:
    agreed: bool
    evidence: Mapping[str, int]
    reason: str


class _Hearing:
    """What the episodes say to one proposed change of ``operator``."""

    def __init__(self, episodes: Trajectories, operator: Operator, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._operator = operator
        within = episodes.started_within(operator, vocabulary)
        success = episodes.succeeded(operator, vocabulary)
        self._done = episodes.select(episodes.done & within)
        self._successes = episodes.select(success)
        once = episodes.n == 1
        self._once, self._once_success = episodes.select(once), success[once]

    def of(self, change: Change) -> tuple[Change, bool]:
        """The change with what the episodes say to it, and whether they agree."""
        hear = {"gains": self._gain, "consumes": self._use, "requires": self._need}[change.part]
        verdict = hear(change)
        return replace(change, evidence=verdict.evidence, reason=verdict.reason), verdict.agreed

    def still_needed(self, fact: str, before: Operator, after: Operator) -> Change | None:
        """The requirement that takes over when less is consumed, unless starts with less succeed as often."""
        had, has = needs_of(before).get(fact, 0), needs_of(after).get(fact, 0)
        if not isinstance(had, int) or not isinstance(has, int) or has >= had:
            return None
        verdict = self._need(Change("requires", fact, Linear(0, had), Linear(0, has), {}, ""))
        if verdict.agreed:
            return None
        kept = before.requires.get(fact), Linear(0, had)
        return Change("requires", fact, *kept, verdict.evidence, STILL_NEEDED)

    def _gain(self, change: Change) -> _Verdict:
        fact, done = self._vocabulary[change.fact], self._done
        evidence = {"done": len(done)}
        if len(done) < MIN_EPISODES:
            return _Verdict(False, evidence, "too few episodes to say")
        if change.before is not None:
            there = done.met(fact, change.before)
            evidence["had_declared"] = int(there.sum())
        if change.after is None:
            if there.mean() < ALMOST_ALWAYS:
                return _Verdict(True, evidence, "the declared gain was often not there")
            return _Verdict(False, evidence, "the declared gain was there")
        met = done.met(fact, change.after)
        began_without = ~self._at_start(done, change.fact, change.after)
        evidence |= {"had_proposed": int(met.sum()), "began_without": int(began_without.sum())}
        if met.mean() < ALMOST_ALWAYS:
            return _Verdict(False, evidence, "the proposed gain was often not there")
        if began_without.sum() < TELLING:
            return _Verdict(False, evidence, "what was proposed was there before")
        if change.before is not None and there.mean() >= ALMOST_ALWAYS and _promises_less(change, done):
            return _Verdict(False, evidence, "the declared gain was there")
        return _Verdict(True, evidence, "almost every success gained it")

    def _at_start(self, episodes: Trajectories, fact: str, count: Count) -> np.ndarray:
        """Whether a gain that does not add was there already; what adds never was."""
        start = episodes.start[:, episodes.column(fact)]
        if not isinstance(count, Linear):
            return np.asarray(start == count[0])
        if self._vocabulary[fact].kind in (FactKind.COUNT, FactKind.VITAL):
            return np.zeros(len(episodes), bool)
        return np.asarray(start >= count.slope * episodes.n + count.offset)

    def _use(self, change: Change) -> _Verdict:
        amount = change.after
        used = used_up(self._successes, change.fact)
        known = used >= 0
        evidence = {"successes": int(known.sum())}
        if known.sum() < MIN_EPISODES:
            return _Verdict(False, evidence, "too few successes to say")
        n = self._successes.n[known]
        claimed = amount.slope * n + amount.offset if isinstance(amount, Linear) else np.zeros_like(n)
        agree = int((used[known] == claimed).sum())
        evidence["used_just_that"] = agree
        if agree * 2 > known.sum():
            return _Verdict(True, evidence, "most successes used just so much")
        return _Verdict(False, evidence, "most successes used another amount")

    def _need(self, change: Change) -> _Verdict:
        if self._vocabulary[change.fact].kind is FactKind.FLAG and change.after is not None:
            return _Verdict(False, {}, "an achievement is never what the game asks for")
        before, after = _need(change.before), _need(change.after)
        rest = {name: need for name, need in needs_of(self._operator).items() if name != change.fact}
        rows = np.ones(len(self._once), bool)
        for name, need in rest.items():
            rows &= self._holds(name, need)
        had, would = self._holds(change.fact, before), self._holds(change.fact, after)
        dropped, added = self._count(rows & would & ~had), self._count(rows & had & ~would)
        kept = self._count(rows & had & would)
        evidence = {"with": kept[1], "with_success": kept[0]}
        if kept[1] < MIN_EPISODES:
            return _Verdict(False, evidence, "too few episodes start with it")
        usual = kept[0] / kept[1]
        (hits, without), weaker = (dropped, True) if dropped[1] >= added[1] else (added, False)
        evidence |= {"without": without, "without_success": hits}
        if without < MIN_EPISODES:
            return _Verdict(False, evidence, "too few episodes start without it")
        as_often = hits / without >= AS_GOOD * usual
        apart = wilson_interval(hits, without)[1] < wilson_interval(*kept)[0]
        if weaker:
            reason = "starts without it succeed " + ("about as often" if as_often else "less often")
            return _Verdict(as_often and usual > 0, evidence, reason)
        rarely = apart and hits / without <= usual / 2
        return _Verdict(rarely, evidence, f"starts without it {'rarely' if rarely else 'often'} succeed")

    def _holds(self, fact: str, need: int | tuple[int, ...]) -> np.ndarray:
        values = self._once.start[:, self._once.column(fact)]
        return np.isin(values, need) if isinstance(need, tuple) else np.asarray(values >= need)

    def _count(self, rows: np.ndarray) -> tuple[int, int]:
        return int((self._once_success & rows).sum()), int(rows.sum())


def _need(count: Count | None) -> int | tuple[int, ...]:
    if count is None:
        return 0
    return count.at(1) if isinstance(count, Linear) else count


def _promises_less(change: Change, done: Trajectories) -> bool:
    if not isinstance(change.before, Linear) or not isinstance(change.after, Linear):
        return False
    return any(change.after.at(int(n)) < change.before.at(int(n)) for n in np.unique(done.n))
