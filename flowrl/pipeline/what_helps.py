"""What makes fights cheaper, told from how they went: targets that gain it come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np

from flowrl.pipeline.game_reward import HEALTH
from flowrl.rl.fights import FightWatch
from flowrl.skills.evidence import Z_95
from flowrl.skills.facts import FactKind
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.practice import Spared
from flowrl.worlds.base import World

LEAST_SPARED = 0.25
"""Points of health a fight: what a tool must spare at least, for sure, to come before other targets."""

LEAST_FIGHTS = 100
"""With a tool and without it."""

_OF_ITS_OWN = 0.01
"""Share of a tool's variance that all others must leave unexplained; who always has both tells of neither."""


def tools_of(operators: Iterable[Operator], world: World) -> dict[str, tuple[str, int]]:
    """What skills gain for good: it lies in the bag, and none of them uses it up.

    Returns:
        By name, such as ``inventory:iron_sword`` or ``inventory:sword>=2``: the fact and its least value.
    """
    operators = list(operators)
    used_up = {fact for operator in operators for fact in operator.consumes}
    return {
        name: (fact, least)
        for operator in operators
        for name, (fact, least) in _in_the_bag(operator, world).items()
        if fact not in used_up and fact not in world.initial_facts
    }


def gains_one_of(operator: Operator, tools: Set[str], world: World) -> bool:
    """Whether a skill gains any of these tools."""
    return not tools.isdisjoint(_in_the_bag(operator, world))


def _in_the_bag(operator: Operator, world: World) -> dict[str, tuple[str, int]]:
    found = {}
    for fact, gain in operator.gains.items():
        kept = world.vocabulary[fact].kind in (FactKind.COUNT, FactKind.TIER)
        if kept and fact.startswith("inventory:") and isinstance(gain, Linear):
            least = gain.at(1)
            found[fact if least == 1 else f"{fact}>={least}"] = fact, least
    return found


def fight_watch(fights: Sequence[int], tools: Mapping[str, tuple[str, int]], world: World) -> FightWatch:
    """What practice is to look at; no fights in a world without health.

    Args:
        fights: which rules beat something off.
        tools: as :func:`tools_of` finds them.
    """
    columns = world.snapshot_spec.fact_columns
    return FightWatch(
        tuple(fights) if HEALTH in columns else (),
        tuple((columns[fact], float(least)) for fact, least in tools.values()),
        columns.get(HEALTH, 0),
    )


def what_is_spared(looks: Sequence[np.ndarray], tools: Sequence[str]) -> dict[str, Spared]:
    """How many points of health a fight is cheaper with each tool, all others being equal.

    Least squares of what a fight cost on the tools in the bag, within the fights of one rule and one look:
    policies learn to fight while tools become more common, which are two things. Swords and pickaxes come at
    about the same time, and only those who have one without the other tell them apart.

    Args:
        looks: float64 ``[terms, terms]`` each, as :class:`~flowrl.rl.fights.Fights` adds them up, of
            stretches in which policies changed little.
        tools: the terms before the last.

    Returns:
        By tool; without those that too few fights were fought with or without, or never without another.
    """
    within = np.zeros((len(tools) + 1, len(tools) + 1))
    had, total, means = np.zeros(len(tools)), 0.0, 0
    for sums in looks:
        rules = len(sums) - len(within)
        fought = [row for row in range(rules) if sums[row, row] > 0]
        rest = range(rules, len(sums))
        # The rules' own terms are 1 in their fights and 0 in others, so what they explain are means.
        explained = sums[np.ix_(rest, fought)] / np.diag(sums)[fought]
        within += sums[np.ix_(rest, rest)] - explained @ sums[np.ix_(fought, rest)]
        had += np.diag(sums)[rules:-1]
        total, means = total + float(np.diag(sums)[fought].sum()), means + len(fought)
    enough = [row for row, count in enumerate(had) if min(count, total - count) >= LEAST_FIGHTS]
    chosen = [row for row in enough if _tells(within, row, [other for other in enough if other != row])]
    if not chosen:
        return {}
    products, with_cost = within[np.ix_(chosen, chosen)], within[chosen, -1]
    effects = np.linalg.solve(products, with_cost)
    left = max(within[-1, -1] - effects @ with_cost, 0.0)
    errors = np.sqrt(left / max(total - means - len(chosen), 1.0) * np.diag(np.linalg.inv(products)))
    return {
        tools[row]: Spared(-float(effect), Z_95 * float(error), int(had[row]), int(total - had[row]))
        for row, effect, error in zip(chosen, effects, errors, strict=True)
    }


def _tells(within: np.ndarray, row: int, others: list[int]) -> bool:
    """Whether a tool was there often enough when the others do not say so."""
    beside = within[row, others]
    own = within[row, row] - beside @ np.linalg.pinv(within[np.ix_(others, others)]) @ beside
    return bool(own >= max(_OF_ITS_OWN * within[row, row], 1.0))


def more_is_known(known: Mapping[str, Spared], new: Mapping[str, Spared]) -> dict[str, Spared]:
    """What was known of each tool, or what is new where that is at least as sure."""
    surer = {tool: one for tool, one in new.items() if tool not in known or one.margin <= known[tool].margin}
    return {**known, **surer}


def helping(spared: Mapping[str, Spared]) -> frozenset[str]:
    """Tools that surely help."""
    return frozenset(tool for tool, found in spared.items() if found.points - found.margin >= LEAST_SPARED)
