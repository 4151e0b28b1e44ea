"""Gains as they were measured: overstated ones lowered or dropped, missing ones added."""

from __future__ import annotations

import numpy as np

from flowrl.errors import ProposalRefused
from flowrl.skills.change import ALMOST_ALWAYS, MIN_EPISODES, Change, almost_never
from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.repeat_counts import highest_below
from flowrl.skills.trajectories import Trajectories

_ADDED_UP = (FactKind.COUNT, FactKind.VITAL)
"""Kinds whose gains add to what there was; gains of the others say what holds at the end."""


def without_overstated(
    operator: Operator, episodes: Trajectories, vocabulary: Vocabulary
) -> tuple[dict[str, Count], list[Change]]:
    """The declared gains, less what is almost never there when the skill's own ``is_done`` is true.

    What is left may be empty; it says which episodes are successes.
    """
    done = episodes.select(episodes.done & episodes.started_within(operator, vocabulary))
    gains: dict[str, Count] = dict(operator.gains)
    changes: list[Change] = []
    for name, declared in operator.gains.items():
        fact = vocabulary[name]
        hits, informative = _worst_repeat(done, fact, declared)
        if not almost_never(hits, informative):
            continue
        after = _measured(done, fact, declared)
        if after is None:
            del gains[name]
        else:
            gains[name] = after
        evidence = {"done": len(done), "could_tell": informative, "declared_gain_there": hits}
        changes.append(
            Change("gains", name, declared, after, evidence, "is_done was true without the declared gain")
        )
    return gains, changes


def with_missing(
    operator: Operator, episodes: Trajectories, vocabulary: Vocabulary
) -> tuple[dict[str, Count], list[Change]]:
    """The gains and what almost every success gained beyond them; all together, not only each.

    Args:
        operator: with its needs as they were found: what a skill does where it should not have started, such
            as placing the table that it lacks, is nothing that it gains.

    Raises:
        ProposalRefused: stage ``refine``; there is nothing that the skill gains.
    """
    successful = episodes.succeeded(operator, vocabulary) & episodes.started_within(operator, vocabulary)
    successes = episodes.select(successful)
    gains: dict[str, Count] = dict(operator.gains)
    changes: list[Change] = []
    together = np.ones(len(successes), bool)
    for name in successes.facts:
        fact, declared = vocabulary[name], gains.get(name)
        if fact.kind is FactKind.VITAL or len(successes) < MIN_EPISODES:
            continue
        measured = _measured(successes, fact, declared)
        if measured is None or (declared is not None and not _exceeds(measured, declared, successes)):
            continue
        met = successes.met(fact, measured)
        if (together & met).mean() < ALMOST_ALWAYS:
            continue
        together &= met
        gains[name] = measured
        evidence = {"successes": len(successes), "gained": int(met.sum())}
        reason = "almost every success gained " + ("it" if declared is None else "more")
        changes.append(Change("gains", name, declared, measured, evidence, reason))
    if not gains:
        raise ProposalRefused(
            "refine",
            f"in {len(successes)} episodes where is_done was true, none of the declared gains was measured, "
            "nor any other.",
            "Write an is_done that is true only once a declared gain is there.",
        )
    return gains, changes


def _exceeds(measured: Count, declared: Count, successes: Trajectories) -> bool:
    """Whether a count promises more than the declared one for some ``n``, and less for none."""
    if not isinstance(measured, Linear) or not isinstance(declared, Linear):
        return False
    repeats = [int(n) for n in np.unique(successes.n)]
    more = [measured.at(n) - declared.at(n) for n in repeats]
    return min(more) >= 0 and max(more) > 0


def _worst_repeat(done: Trajectories, fact: Fact, declared: Count) -> tuple[int, int]:
    """``(gain there, episodes that could tell)`` for the ``n`` where the gain was there least often."""
    worst = (0, 0)
    for n in np.unique(done.n):
        rows = done.select(done.n == n)
        could_tell = np.ones(len(rows), bool)
        if fact.kind in _ADDED_UP and fact.capacity is not None and isinstance(declared, Linear):
            # A full bag cannot show whether there would have been more.
            could_tell = rows.start[:, rows.column(fact.name)] + declared.at(int(n)) <= fact.capacity
        hits, informative = int((rows.met(fact, declared) & could_tell).sum()), int(could_tell.sum())
        if informative >= MIN_EPISODES and (not worst[1] or hits * worst[1] < worst[0] * informative):
            worst = (hits, informative)
    return worst


def _measured(episodes: Trajectories, fact: Fact, declared: Count | None) -> Count | None:
    """The most that almost every episode gained of a fact, where it was not there before; None for none."""
    column = episodes.column(fact.name)
    start, end = episodes.start[:, column], episodes.end[:, column]
    if fact.kind in _ADDED_UP:
        form = declared if isinstance(declared, Linear) else None
        return _measured_rise(episodes, fact, form)
    if fact.kind is FactKind.PLACE:
        place = int(np.bincount(end).argmax())
        return (place,) if _newly(start != place, end == place) else None
    for level in range(int(end.max(initial=0)), 0, -1):
        if _newly(start < level, end >= level):
            return Linear(0, level)
    return None


def _newly(absent: np.ndarray, present: np.ndarray) -> bool:
    """Whether something is there at the end of almost every episode, also of those that began without."""
    return (
        int(absent.sum()) >= MIN_EPISODES
        and present[absent].mean() >= ALMOST_ALWAYS
        and present.mean() >= ALMOST_ALWAYS
    )


def _measured_rise(episodes: Trajectories, fact: Fact, form: Linear | None) -> Linear | None:
    points: dict[int, int] = {}
    for n in np.unique(episodes.n):
        rows = episodes.select(episodes.n == n)
        column = rows.column(fact.name)
        start, rise = rows.start[:, column], rows.end[:, column] - rows.start[:, column]
        room = np.full(len(rows), True)
        for amount in range(int(rise.max(initial=0)), 0, -1):
            if fact.capacity is not None:
                room = start + amount <= fact.capacity
            if room.sum() >= MIN_EPISODES and (rise[room] >= amount).mean() >= ALMOST_ALWAYS:
                points[int(n)] = amount
                break
        else:
            if len(rows) >= MIN_EPISODES:
                points[int(n)] = 0
    if not points:
        return None
    line = highest_below(points, form)
    return line if line.at(1) >= 1 else None
