"""Episodes drawn from a known operator: what a policy that has learned it would leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator, parse_operator
from flowrl.skills.trajectories import Trajectories

CAPACITY = 9
VOCABULARY = Vocabulary(
    [
        Fact("inventory:wood", FactKind.COUNT, CAPACITY),
        Fact("inventory:stone", FactKind.COUNT, CAPACITY),
        Fact("inventory:sapling", FactKind.COUNT, CAPACITY),
        Fact("vital:food", FactKind.VITAL, CAPACITY),
        Fact("stat:pickaxe", FactKind.TIER, 4),
        Fact("achievement:dig", FactKind.FLAG),
        Fact("achievement:build", FactKind.FLAG),
        Fact("near:table", FactKind.REACH),
        Fact("near:water", FactKind.REACH),
        Fact("floor", FactKind.PLACE),
    ]
)
FACTS = tuple(VOCABULARY)


def operator(
    requires: Mapping[str, Any] | None = None,
    consumes: Mapping[str, Any] | None = None,
    gains: Mapping[str, Any] | None = None,
) -> Operator:
    """Sections as a model writes them."""
    data = {"requires": requires or {}, "consumes": consumes or {}, "gains": gains or {}}
    return parse_operator(data, VOCABULARY)


@dataclass(frozen=True)
class Starts:
    """A number of start states: facts with one value, or several to draw from; what is left out is 0."""

    count: int
    facts: Mapping[str, int | Sequence[int]]


def sampled(
    truth: Operator,
    starts: Sequence[Starts],
    seed: int = 0,
    success: float = 0.92,
    repeats: int = 1,
    done_needs_gains: bool = True,
) -> Trajectories:
    """Plays ``truth``: done with probability ``success`` where its needs hold, else one in fifty times.

    Vitals decay on the way, ``near:water`` comes and goes, a sapling is picked up now and then and one in
    thirty successes used a wood more than it should have, where there is one: what holds of no skill.

    Args:
        repeats: n goes round from 1 to it.
        done_needs_gains: whether ``is_done`` looks at the gains; if not, failures claim success as well.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for group in starts:
        for _ in range(group.count):
            n = len(rows) % repeats + 1
            start = {name: int(rng.choice(np.atleast_1d(group.facts.get(name, 0)))) for name in FACTS}
            start["vital:food"] = int(rng.integers(4, 10))
            rows.append(_played(truth, start, n, success, done_needs_gains, rng))
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return Trajectories(FACTS, **columns)


def _played(
    truth: Operator,
    start: Mapping[str, int],
    n: int,
    success: float,
    done_needs_gains: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    works = all(
        _has(start[name], count, n) for name, count in [*truth.requires.items(), *truth.consumes.items()]
    )
    done = bool(rng.random() < (success if works else 0.02))
    died = not done and bool(rng.random() < 0.1)
    fell, rose = dict.fromkeys(FACTS, 0), dict.fromkeys(FACTS, 0)
    end = dict(start)
    fell["vital:food"] = int(rng.integers(0, 3))
    end["near:water"] = int(rng.random() < 0.3)
    rose["inventory:sapling"] = int(rng.random() < 0.1 and start["inventory:sapling"] < CAPACITY)
    if done:
        for name, count in truth.consumes.items():
            fell[name] = min(count.at(n), start[name])
        if rng.random() < 1 / 30 and start["inventory:wood"] > fell["inventory:wood"]:
            fell["inventory:wood"] += 1
        for name, gain in truth.gains.items():
            kind = VOCABULARY[name].kind
            if not isinstance(gain, Linear):
                end[name] = gain[0]
            elif kind in (FactKind.COUNT, FactKind.VITAL):
                rose[name] += gain.at(n)
            else:
                end[name] = max(start[name], gain.at(n))
    for name in FACTS:
        if VOCABULARY[name].kind in (FactKind.COUNT, FactKind.VITAL):
            end[name] = min(max(start[name] - fell[name], 0) + rose[name], CAPACITY)
        else:
            rose[name], fell[name] = max(end[name] - start[name], 0), max(start[name] - end[name], 0)
    claims = done or (not done_needs_gains and not died)

    def row(values: Mapping[str, int]) -> list[int]:
        return [values[name] for name in FACTS]

    return {
        "start": row(start),
        "end": row(end),
        "fell": row(fell),
        "rose": row(rose),
        "done": claims,
        "died": died,
        "n": n,
        "length": int(rng.integers(1, 50)),
    }


def _has(value: int, count: Any, n: int) -> bool:
    return value >= count.at(n) if isinstance(count, Linear) else value in count
