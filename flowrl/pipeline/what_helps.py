"""What makes fights cheaper, told from how they went: targets that gain it come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from flowrl.pipeline.game_reward import HEALTH
from flowrl.rl.fights import FightWatch
from flowrl.skills.evidence import Z_95
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillNode
from flowrl.skills.operator import Linear
from flowrl.skills.practice import Spared
from flowrl.worlds.base import World

DEFEND = "defend:"
"""How the labels of rules begin that beat something off."""

LEAST_SPARED = 0.25
"""Points of health a fight: what a tool must spare at least, for sure, to come before other targets."""

LEAST_FIGHTS = 100
"""With a tool and without it."""

_OF_ITS_OWN = 0.01
"""Share of a tool's variance that the tools before it must leave unexplained; who always has both tells
nothing of either."""


def tools_of(nodes: Iterable[SkillNode], world: World) -> dict[str, tuple[str, int]]:
    """What skills gain for good, by skill: what lies in the bag and no skill uses up, and the least of it."""
    nodes = list(nodes)
    used_up = {fact for node in nodes for fact in node.operator.consumes}
    tools = {}
    for node in nodes:
        for fact, gain in node.operator.gains.items():
            kept = fact.startswith("inventory:") and fact not in used_up | world.initial_facts.keys()
            if kept and world.vocabulary[fact].kind in (FactKind.COUNT, FactKind.TIER):
                tools[node.name] = fact, gain.at(1) if isinstance(gain, Linear) else gain[0]
    return tools


def fight_watch(labels: Sequence[str], tools: Mapping[str, tuple[str, int]], world: World) -> FightWatch:
    """What practice is to look at; nothing in a world without health.

    Args:
        labels: of the rules, in order.
        tools: as :func:`tools_of` finds them.
    """
    columns = world.snapshot_spec.fact_columns
    if HEALTH not in columns:
        return FightWatch()
    return FightWatch(
        tuple(row for row, label in enumerate(labels) if label.startswith(DEFEND)),
        tuple((columns[fact], float(least)) for fact, least in tools.values()),
        columns[HEALTH],
    )


def what_is_spared(sums: np.ndarray, skills: Sequence[str]) -> dict[str, Spared]:
    """How many points of health a fight is cheaper with what each skill gains, all else being equal.

    Least squares of what a fight cost on which rule it served and on the tools in the bag: swords and
    pickaxes come at about the same time, and only those who have one without the other tell them apart.

    Args:
        sums: float64 ``[terms, terms]``, as :class:`~flowrl.rl.fights.Fights` adds them up.
        skills: whose tools the terms before the last are.

    Returns:
        By skill; without those whose tool too few fights were fought with or without.
    """
    terms = len(sums) - 1
    fights = terms - len(skills)
    total = float(np.trace(sums[:fights, :fights]))
    chosen = [row for row in range(fights) if sums[row, row] > 0]
    if not chosen:
        return {}
    for row in range(fights, terms):
        if min(sums[row, row], total - sums[row, row]) < LEAST_FIGHTS:
            continue
        known, beside = sums[np.ix_(chosen, chosen)], sums[chosen, row]
        mean = sums[row, row] / total
        left = sums[row, row] - beside @ np.linalg.solve(known, beside)
        if left >= _OF_ITS_OWN * total * mean * (1 - mean):
            chosen.append(row)
    products, with_cost = sums[np.ix_(chosen, chosen)], sums[chosen, -1]
    effects = np.linalg.solve(products, with_cost)
    variance = max(sums[-1, -1] - effects @ with_cost, 0.0) / max(total - len(chosen), 1.0)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(products)))
    return {
        skills[row - fights]: Spared(
            -float(effect), Z_95 * float(error), int(sums[row, row]), int(total - sums[row, row])
        )
        for row, effect, error in zip(chosen, effects, errors, strict=True)
        if row >= fights
    }


def helping(spared: Mapping[str, Spared]) -> dict[str, float]:
    """Skills that gain what surely helps, with the points that it spares."""
    return {
        skill: found.points for skill, found in spared.items() if found.points - found.margin >= LEAST_SPARED
    }
