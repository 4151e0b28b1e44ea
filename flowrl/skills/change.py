"""One correction of an operator with the counts it rests on, and how much evidence a correction takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flowrl.skills.evidence import wilson_interval
from flowrl.skills.operator import Count, Linear

MIN_EPISODES = 32
"""Fewer on either side of a comparison decide nothing: the upper Wilson bound of 0 in 32 is still 11%."""

ALMOST_NEVER = 0.15
"""An upper Wilson bound below it reads as "does not happen": 0 of 32, 1 of 40, 5 of 80. A policy succeeds by
accident now and then where its skill should not."""

ALMOST_ALWAYS = 0.95
"""Share of the successes in which an effect must be seen to be claimed of the skill: what an operator says is
what plans rely on."""

FREQUENT = 0.5
"""A lower Wilson bound above it reads as "works here": well apart from ALMOST_NEVER, and below what policies
reach when they are refined (``--success_state_rate``)."""

AS_GOOD = 0.8
"""Share of the usual success rate that the lower Wilson bound without a requirement must reach for the
requirement to be dropped. 64 episodes at the usual rate of 95% have their bound at 0.9 of it; policies were
not trained in these states and may lose a little there."""

Part = Literal["requires", "consumes", "gains"]


@dataclass(frozen=True)
class Change:
    """One entry of an operator, before and after.

    Attributes:
        part: of the operator.
        fact: whose entry it is.
        before, after: the entry; None where there is none.
        evidence: counts of episodes that speak for it, by what they count.
        reason: one line.
    """

    part: Part
    fact: str
    before: Count | None
    after: Count | None
    evidence: Mapping[str, int]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "part": self.part,
            "fact": self.fact,
            "before": _shown(self.before),
            "after": _shown(self.after),
            "evidence": dict(self.evidence),
            "reason": self.reason,
        }

    def __str__(self) -> str:
        return f"{self.part} {self.fact}: {_shown(self.before)} -> {_shown(self.after)} ({self.reason})"


def _shown(count: Count | None) -> Any:
    if count is None:
        return None
    return count.to_json() if isinstance(count, Linear) else list(count)


def almost_never(hits: int, episodes: int) -> bool:
    """Whether so few hits in so many episodes read as "does not happen"."""
    return episodes >= MIN_EPISODES and wilson_interval(hits, episodes)[1] < ALMOST_NEVER


def frequent(hits: int, episodes: int) -> bool:
    """Whether so many hits in so many episodes read as "works here"."""
    return episodes >= MIN_EPISODES and wilson_interval(hits, episodes)[0] > FREQUENT


def as_good(hits: int, episodes: int, usual: float) -> bool:
    """Whether a success rate is about the ``usual`` one, with enough episodes to say so."""
    return episodes >= MIN_EPISODES and wilson_interval(hits, episodes)[0] >= AS_GOOD * usual
