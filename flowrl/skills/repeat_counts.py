"""Linear counts ``a * n + b`` from what was measured for each repeat count ``n``."""

from __future__ import annotations

from collections.abc import Mapping

from flowrl.skills.operator import Linear


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


def _through(points: Mapping[int, int], form: Linear | None) -> Linear:
    """One measured point: what was declared for each repeat stays for each repeat."""
    ((n, amount),) = points.items()
    if form is not None and form.slope:
        if form.offset == 0 and amount % n == 0:
            return Linear(amount // n, 0)
        if form.slope + (amount - form.slope * n) >= 0:
            return Linear(form.slope, amount - form.slope * n)
    return Linear(0, amount)
