"""Plans as teleo-reactive programs (Nilsson 1994, JAIR 1): which step of a plan applies, from facts alone.

Regressing the goal through the plan gives, before every step, the facts from which the rest of the plan still
works. An agent that always runs the last step whose condition holds repeats what came undone (spent wood, a
table out of reach) and skips what it no longer needs.

A condition asks for all that the rest of its plan uses, also for making what is there already. So there is a
plan for every stage (``replanning``), and their rows make one program: of those that apply, the one from
which the least is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import PlanStep


class Bounds(NamedTuple):
    """The values that a fact may have.

    Attributes:
        low: the least one.
        high: the greatest one; None when there is no upper end.
        values: all of them, where some between ``low`` and ``high`` are not allowed (floors 0 and 2, not 1).
    """

    low: int
    high: int | None = None
    values: tuple[int, ...] | None = None


Condition = Mapping[str, Bounds]
"""Facts that must lie within bounds, all at once."""


class Row(NamedTuple):
    """One row of a program.

    Attributes:
        condition: where it applies.
        rest: what is left to do from there, its own step first; nothing in the goal's row.
    """

    condition: Condition
    rest: tuple[PlanStep, ...]


class Course(NamedTuple):
    """Where a plan begins, and its steps."""

    start: Mapping[str, int]
    steps: tuple[PlanStep, ...]


def merged_rows(
    courses: Sequence[Course],
    goal: Condition,
    operators: Mapping[str, Operator],
    vocabulary: Vocabulary,
    cost: Callable[[PlanStep], float],
) -> list[Row]:
    """The rows of several plans to one goal: the most left to do first, the goal's row last.

    The first row is the first plan's, which is run where no condition holds. Left out is whatever has more
    left to do than that, and rows in whose place a later one always applies, too. A goal that holds at
    several places is meant where the first plan ends.

    Args:
        courses: proved plans; the first is from where everything begins.
        goal: what must hold at the end.
        cost: what a step takes, above 0, such as the env steps to expect.
    """
    first_course = courses[0]
    goal = conditions(first_course.steps, goal, operators, vocabulary, first_course.start)[-1]
    rows: list[tuple[float, Row]] = []
    for start, steps in courses:
        end = _places(start, steps, operators, vocabulary)[-1]
        if not all(_within(Bounds(end[name], end[name]), goal[name]) for name in goal.keys() & end.keys()):
            continue
        regressed = conditions(steps, goal, operators, vocabulary, start)
        for done, condition in enumerate(regressed[:-1]):
            rest = tuple(steps[done:])
            rows.append((sum(map(cost, rest)), Row(condition, rest)))
    most = sum(map(cost, first_course.steps))
    # Of equals the first plan's stays where it is: sorting is stable.
    rows = sorted((row for row in rows if row[0] <= most), key=lambda row: -row[0])
    ordered = [*(row for _, row in rows), Row(goal, ())]
    first, others = ordered[0], ordered[1:]
    return [first, *(row for at, row in enumerate(others) if not _replaced(row, others[at + 1 :]))]


def _replaced(row: Row, later: Iterable[Row]) -> bool:
    """Whether one of ``later`` applies wherever ``row`` does."""
    return any(
        all(_within(row.condition.get(name, Bounds(0)), bounds) for name, bounds in other.condition.items())
        for other in later
    )


def _within(inner: Bounds, outer: Bounds) -> bool:
    return inner.low >= outer.low and (
        outer.high is None or (inner.high is not None and inner.high <= outer.high)
    )


def conditions(
    steps: Sequence[PlanStep],
    goal: Condition,
    operators: Mapping[str, Operator],
    vocabulary: Vocabulary,
    start: Mapping[str, int],
) -> list[Condition]:
    """The condition before every step, then the goal: one more than there are steps.

    Conditions are plain bounds. Of a place with gaps between its allowed values, the values around the one
    that the plan has moved to are meant.

    Args:
        steps: a proved plan.
        goal: what must hold at the end.
        start: the facts that it begins with; what is not named is 0.
    """
    regressed = [goal]
    for step in reversed(steps):
        regressed.append(_before(regressed[-1], operators[step.skill], step.n, vocabulary))
    return [
        {name: _around(bounds, places.get(name)) for name, bounds in condition.items()}
        for places, condition in zip(
            _places(start, steps, operators, vocabulary), reversed(regressed), strict=True
        )
    ]


def _places(
    start: Mapping[str, int],
    steps: Iterable[PlanStep],
    operators: Mapping[str, Operator],
    vocabulary: Vocabulary,
) -> list[dict[str, int]]:
    """The value of every PLACE fact before the first step and after each one."""
    places = [{fact.name: start.get(fact.name, 0) for fact in vocabulary.of_kind(FactKind.PLACE)}]
    for step in steps:
        gains = operators[step.skill].gains.items()
        places.append({**places[-1], **{n: gain[0] for n, gain in gains if not isinstance(gain, Linear)}})
    return places


def start_condition(operator: Operator, n: int, vocabulary: Vocabulary) -> Condition:
    """What must hold for ``n`` repeats of a skill to start: all it requires and all it consumes."""
    return _before({}, operator, n, vocabulary)


def _before(after: Condition, operator: Operator, n: int, vocabulary: Vocabulary) -> Condition:
    """The weakest condition from which running the operator leads to ``after``."""
    before: dict[str, Bounds] = {}
    for name, bounds in after.items():
        left = _regress(bounds, operator.gains.get(name), n, vocabulary[name].kind)
        if left is not None:
            before[name] = left
    for name, used in operator.consumes.items():
        before[name] = Bounds(before.get(name, Bounds(0)).low + used.at(n))
    for name, needed in operator.requires.items():
        if isinstance(needed, Linear):
            before[name] = Bounds(max(before.get(name, Bounds(0)).low, needed.at(n)))
        else:
            both = [value for value in needed if _allows(before.get(name), value)]
            before[name] = _one_of(both or needed)
    return before


def _allows(bounds: Bounds | None, value: int) -> bool:
    if bounds is None:
        return True
    if bounds.values is not None:
        return value in bounds.values
    return bounds.low <= value and (bounds.high is None or value <= bounds.high)


def _one_of(allowed: Iterable[int]) -> Bounds:
    values = tuple(sorted(set(allowed)))
    gaps = values[-1] - values[0] >= len(values)
    return Bounds(values[0], values[-1], values if gaps else None)


def _around(bounds: Bounds, value: int | None) -> Bounds:
    """``bounds`` as low and high alone: the allowed values next to ``value``, all when that is not known."""
    if bounds.values is None or value not in bounds.values:
        return Bounds(bounds.low, bounds.high)
    low = high = value
    while low - 1 in bounds.values:
        low -= 1
    while high + 1 in bounds.values:
        high += 1
    return Bounds(low, high)


def _regress(bounds: Bounds, gain: Count | None, n: int, kind: FactKind) -> Bounds | None:
    """What is still needed of one fact before a step that gains it; None when the step sees to it all."""
    if gain is None:
        return bounds
    if kind is FactKind.TIER and isinstance(gain, Linear) and gain.at(n) < bounds.low:
        return bounds
    if not isinstance(gain, Linear) or kind not in (FactKind.COUNT, FactKind.VITAL):
        return None
    low = bounds.low - gain.at(n)
    return Bounds(low) if low > 0 else None
