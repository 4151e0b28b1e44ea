"""Linear counts ``a * n + b`` from what was measured for each repeat count ``n``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowrl.skills.operator import Linear

NOISE = 3
"""Episodes that may go against a need for reasons of their own: policies fail, and succeed by accident."""


def highest_below(points: Mapping[int, int], form: Linear | None) -> Linear:
    """The greatest linear count that promises no more than was measured for any ``n``.

    Args:
        points: ``n`` -> amount, at least one.
        form: what was declared; with a single ``n`` measured, it says how to go on from there.
    """
    if len(points) == 1:
        return _through(points, form)
    lines = []
    for slope in range(max(points.values()) + 1):
        offset = min(amount - slope * n for n, amount in points.items())
        if slope + offset >= 0:
            lines.append(Linear(slope, offset))
    return max(lines, key=lambda line: (sum(line.at(n) for n in points), -line.slope))


def closest(points: Mapping[int, int], form: Linear | None) -> Linear:
    """The linear count with the least absolute error, the flattest of several.

    Args:
        points: ``n`` -> amount, at least one.
        form: as of :func:`highest_below`.
    """
    if len(points) == 1:
        return _through(points, form)
    lines = [
        Linear(slope, amount - slope * n)
        for slope in range(max(points.values()) + 1)
        for n, amount in points.items()
        if slope + amount - slope * n >= 0
    ]
    return min(
        lines, key=lambda line: (sum(abs(line.at(n) - amount) for n, amount in points.items()), line.slope)
    )


def best_separating(
    ranges: Mapping[int, tuple[int, int]],
    misfits: Callable[[int, int], int],
    least: Linear,
    declared: Linear,
    now: Linear,
) -> Linear:
    """The linear count that leaves measured ranges the least and explains the most episodes.

    What was declared stays unless it leaves them. Else so few episodes as NOISE do not speak against a
    simpler form: that which was declared, a constant, or so much for each repeat.

    Args:
        ranges: ``n`` -> the least and the greatest amount that it may be, at least one.
        misfits: ``(n, amount) -> episodes`` that the amount cannot explain.
        least: what it is in any case: a count below it means as much as it.
        declared: as it was.
        now: as it would be with n = 1 alone measured.
    """

    def amount(line: Linear, n: int) -> int:
        return max(line.at(n), least.at(n))

    def outside(line: Linear) -> int:
        return sum(max(low - amount(line, n), amount(line, n) - high, 0) for n, (low, high) in ranges.items())

    def preference(line: Linear) -> tuple[int, int, int, bool, int, int]:
        strange = (_form(line) != _form(declared)) + bool(line.slope and line.offset)
        unexplained = sum(misfits(n, amount(line, n)) for n in ranges)
        # Of several that explain as much: the greatest, with which the skill was seen to work.
        total = sum(amount(line, n) for n in ranges)
        return outside(line), unexplained + NOISE * strange, strange, line != now, -total, line.slope

    highest = max(high for _, high in ranges.values())
    # A count is at least 0 for n = 1, and never falls.
    lines = [
        Linear(slope, offset) for slope in range(highest + 1) for offset in range(-slope, highest + 1 - slope)
    ]
    best = min([now, *lines], key=preference)
    return declared if outside(declared) <= outside(best) else best


def _form(line: Linear) -> tuple[bool, bool]:
    """Constant, so much for each repeat, or both."""
    return bool(line.slope), bool(line.slope and line.offset)


def _through(points: Mapping[int, int], form: Linear | None) -> Linear:
    """One measured point: what was declared for each repeat stays for each repeat."""
    ((n, amount),) = points.items()
    if form is not None and form.slope:
        if form.offset == 0 and amount % n == 0:
            return Linear(amount // n, 0)
        if form.slope + (amount - form.slope * n) >= 0:
            return Linear(form.slope, amount - form.slope * n)
    return Linear(0, amount)
