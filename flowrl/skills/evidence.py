"""What validation measured, what it cost, and how sure a success rate is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Z_95 = 1.96


def wilson_interval(successes: int, episodes: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a success rate (95% by default).

    Args:
        successes: in ``0..episodes``.
        episodes: independent trials; 0 gives ``(0.0, 1.0)``: nothing is known.
        z: half-width in standard deviations.

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if not 0 <= successes <= episodes:
        raise ValueError(f"{successes} successes in {episodes} episodes")
    if not episodes:
        return 0.0, 1.0
    rate = successes / episodes
    spread = z * z / episodes
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / episodes + spread / (4 * episodes))
    # At the ends the formula gives exactly 0 and 1; rounding must not put the rate outside its interval.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == episodes else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class EnvSteps:
    """Env steps spent on one skill: in training, in preparing its start states, in validating it, in refining
    its operator."""

    train: int = 0
    prepare: int = 0
    validate: int = 0
    refine: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.prepare, self.validate, self.refine) < 0:
            raise ValueError(f"env steps are never negative, but {self} is")

    @property
    def total(self) -> int:
        """All of them."""
        return self.train + self.prepare + self.validate + self.refine


@dataclass(frozen=True)
class Evidence:
    """What held-out episodes measured.

    Attributes:
        episodes: validation episodes, on worlds that training never saw.
        successes: of them, those that reached the skill's end with its declared gains.
        gains: fact -> share of episodes in which its declared gain was measured in env states.
        deaths: share of episodes that ended in death.
        mean_length: mean episode length in env steps.
    """

    episodes: int
    successes: int
    gains: Mapping[str, float]
    deaths: float
    mean_length: float

    DERIVED: ClassVar[tuple[str, ...]] = ("success", "success_low", "success_high")

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.episodes:
            raise ValueError(f"{self.successes} successes in {self.episodes} episodes")
        for name, share in {**self.gains, "deaths": self.deaths}.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} is {share!r}, not a share in 0..1")

    @property
    def success(self) -> float:
        """Success rate; 0.0 when there was no episode."""
        return self.successes / self.episodes if self.episodes else 0.0

    @property
    def success_low(self) -> float:
        """Lower end of the Wilson 95% interval: what a skill is accepted by."""
        return wilson_interval(self.successes, self.episodes)[0]

    @property
    def success_high(self) -> float:
        """Upper end of the Wilson 95% interval."""
        return wilson_interval(self.successes, self.episodes)[1]
