"""Plans as teleo-reactive programs (Nilsson 1994, JAIR 1): which step of a plan applies, from facts alone.

Regressing the goal through the plan gives, before every step, the facts from which the rest of the plan still
works. An agent that always runs the last step whose condition holds repeats what came undone (spent wood, a
table out of reach) and skips what it no longer needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import PlanStep


class Bounds(NamedTuple):
    """The values that a fact may have; ``high`` is None when there is no upper end."""

    low: int
    high: int | None = None


Condition = Mapping[str, Bounds]
"""Facts that must lie within bounds, all at once."""


def conditions(
    steps: Sequence[PlanStep], goal: Condition, operators: Mapping[str, Operator], vocabulary: Vocabulary
) -> list[Condition]:
    """The condition before every step, then the goal: one more than there are steps.

    Args:
        steps: a proved plan.
        goal: what must hold at the end.
    """
    regressed = [goal]
    for step in reversed(steps):
        regressed.append(_before(regressed[-1], operators[step.skill], step.n, vocabulary))
    return regressed[::-1]


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
            before[name] = Bounds(min(needed), max(needed))
    return before


def _regress(bounds: Bounds, gain: Count | None, n: int, kind: FactKind) -> Bounds | None:
    """What is still needed of one fact before a step that gains it; None when the step sees to it all."""
    if gain is None:
        return bounds
    if not isinstance(gain, Linear) or kind not in (FactKind.COUNT, FactKind.VITAL):
        return None
    low = bounds.low - gain.at(n)
    return Bounds(low) if low > 0 else None
