"""Starts that a skill's own plan does not lead to: one need less, or one fact more.

Where a plan ends, all that it was made for holds together, and what always holds can be neither shown to be
needed nor to be superfluous. Leaving out one need at a time and planning anew separates them; the states at
the boundaries of the plan's steps would not: the early ones lack everything that comes after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flowrl.skills.change import frequent
from flowrl.skills.evidence import wilson_interval
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.refine_needs import needs_of, undecided_needs
from flowrl.skills.refine_ranges import Need
from flowrl.skills.trajectories import Trajectories

_HELPS = (FactKind.COUNT, FactKind.TIER, FactKind.REACH, FactKind.PLACE)
"""Kinds of facts that the game may ask for; see :mod:`flowrl.skills.refine_needs`."""

MORE = (1, 3)
"""So much more than is needed of what is needed anyway: one more, and well more."""

RELIABLE = 0.9
"""From this success rate on, nothing that the start states lack can be missing from what is required."""


@dataclass(frozen=True)
class StartVariant:
    """Start states of one kind.

    Attributes:
        label: for messages and for random numbers of its own.
        needs: what holds at the start: fact -> least value, or allowed places.
        repeats: the largest n that is played from there; all from 1 on are.
    """

    label: str
    needs: Mapping[str, Need]
    repeats: int = 1

    def operator(self, gains: Operator) -> Operator:
        """An operator that can start there, with the gains of another one: what a plan is made for."""
        requires = {
            name: need if isinstance(need, tuple) else Linear(0, need) for name, need in self.needs.items()
        }
        return Operator(MappingProxyType(requires), MappingProxyType({}), gains.gains)


def telling_variants(
    operator: Operator,
    episodes: Trajectories,
    learned: Mapping[str, Operator],
    repeats: int,
    vocabulary: Vocabulary,
) -> Iterator[StartVariant]:
    """Starts that could tell what the episodes so far leave open, the most telling first.

    Where the skill works as declared, one need less is what tells most, and there are few of those; more
    facts could still explain some failures. Where it does not work, a need less tells nothing.

    Args:
        operator: as it is known by now.
        episodes: so far.
        learned: other skills, that could bring more facts along.
        repeats: the largest n that the skill was trained for.
        vocabulary: the kinds and capacities of all facts.
    """
    once = _hits(operator, episodes, 1, vocabulary)
    works = frequent(*once)
    if works:
        yield from variants_without(operator)
    if wilson_interval(*once)[0] < RELIABLE:
        yield from variants_with(operator, learned, vocabulary)
    # Plans that bring several times as much are long: only if hardly anything goes without.
    if repeats > 1 and not frequent(*_hits(operator, episodes, repeats, vocabulary)):
        yield from variants_for_repeats(operator, repeats, vocabulary)
    if not works:
        yield from variants_without(operator)
    yield variant_after(operator, vocabulary)


def variants_to_decide(
    operator: Operator, episodes: Trajectories, vocabulary: Vocabulary
) -> Iterator[StartVariant]:
    """Starts without what the episodes neither bear out nor refute (:func:`undecided_needs`)."""
    undecided = undecided_needs(operator, episodes, vocabulary)
    needs = needs_of(operator)
    for variant in variants_without(operator):
        if any(variant.needs.get(name) != needs[name] for name in undecided):
            yield variant


def _hits(operator: Operator, episodes: Trajectories, n: int, vocabulary: Vocabulary) -> tuple[int, int]:
    """``(successes, episodes)`` of ``n`` repeats from where the operator says that they can start."""
    within = episodes.started_within(operator, vocabulary) & (episodes.n == n)
    return int((episodes.succeeded(operator, vocabulary) & within).sum()), int(within.sum())


def variant_from_nothing() -> StartVariant:
    """A fresh world: nothing leads there, so it can always be had, and most that is needed is missing."""
    return StartVariant("from nothing", {})


def variants_for_repeats(operator: Operator, repeats: int, vocabulary: Vocabulary) -> Iterator[StartVariant]:
    """So much more of every amount as ``repeats`` times one repeat needs, then of all but one.

    Where a plan ends there is what one repeat needs. That more repeats fail there does not say which amount
    they lack; nor does that they succeed with more of everything.
    """
    needs = needs_of(operator)
    more: dict[str, int] = {}
    for name, need in needs.items():
        fact = vocabulary[name]
        if fact.kind is FactKind.COUNT and isinstance(need, int) and need:
            more[name] = min(need * repeats, fact.capacity or need * repeats)
    if not more:
        return
    yield StartVariant(f"for {repeats} repeats", {**needs, **more}, repeats)
    for name in more if len(more) > 1 else ():
        label = f"for {repeats} repeats but {name}"
        yield StartVariant(label, {**needs, **more, name: needs[name]}, repeats)


def variants_without(operator: Operator) -> Iterator[StartVariant]:
    """One need less each, and one lower where it is an amount; none below what is consumed."""
    needs = needs_of(operator)
    used = {name: count.at(1) for name, count in operator.consumes.items()}
    for name, need in needs.items():
        rest = {other: value for other, value in needs.items() if other != name}
        least = used.get(name, 0)
        if isinstance(need, tuple):
            yield StartVariant(f"without {name}", rest)
            continue
        for level in sorted({least, need - 1}):
            if least <= level < need:
                lower = {name: level} if level else {}
                yield StartVariant(f"with {level} {name}" if level else f"without {name}", {**rest, **lower})


def variant_after(operator: Operator, vocabulary: Vocabulary) -> StartVariant:
    """Where the skill has just been run, whatever is left: what it takes away is gone there."""
    needs: dict[str, Need] = {}
    for name, gain in operator.gains.items():
        if vocabulary[name].kind is not FactKind.VITAL:
            needs[name] = gain.at(1) if isinstance(gain, Linear) else gain
    return StartVariant("once more", needs)


def variants_with(
    operator: Operator, learned: Mapping[str, Operator], vocabulary: Vocabulary
) -> Iterator[StartVariant]:
    """One fact more each: more of what is needed, then what the learned skills provide, the latest first."""
    needs = needs_of(operator)
    for name, need in needs.items():
        fact = vocabulary[name]
        if isinstance(need, int) and fact.kind in (FactKind.COUNT, FactKind.TIER):
            for more in MORE:
                if fact.capacity is None or need + more <= fact.capacity:
                    yield StartVariant(f"with {need + more} {name}", {**needs, name: need + more})
    for name, skill in reversed(list(learned.items())):
        for fact_name, gain in skill.gains.items():
            if fact_name in needs or vocabulary[fact_name].kind not in _HELPS:
                continue
            gained: Need = gain.at(1) if isinstance(gain, Linear) else gain
            yield StartVariant(f"with {fact_name} of {name}", {**needs, fact_name: gained})
