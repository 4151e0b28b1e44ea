"""What a new skill must add: a fact, a level or a place that no other skill gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowrl.errors import ProposalRefused
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.worlds.base import World


def check_new(
    name: str, operator: Operator, graph: SkillGraph, in_training: Mapping[str, Operator], world: World
) -> None:
    """Refuses what the graph already has, or is about to have.

    Raises:
        ProposalRefused: stage ``plan``.
    """
    if name in graph.names or name in in_training:
        raise ProposalRefused(
            "plan", f"there already is a skill named {name!r}.", "Propose another skill, or another name."
        )
    known = [*graph.operators.values(), *in_training.values()]
    reached = best_gains(known)
    for fact, gain in operator.gains.items():
        kind = world.vocabulary[fact].kind
        if fact not in reached or (kind is FactKind.TIER and _amount(gain) > reached[fact]):
            return
        if kind is FactKind.PLACE and not any(other.gains.get(fact) == gain for other in known):
            return
    others = "accepted skills or those in training" if in_training else "accepted skills"
    raise ProposalRefused(
        "plan",
        f"{name!r} gains only what {others} already gain ({', '.join(sorted(operator.gains))}).",
        "Propose a skill that gains a fact that none of them gains yet.",
    )


def best_gains(operators: Iterable[Operator]) -> dict[str, int]:
    """Fact -> the most that one run (n = 1) of one of the skills gains of it."""
    best: dict[str, int] = {}
    for operator in operators:
        for fact, gain in operator.gains.items():
            best[fact] = max(best.get(fact, 0), _amount(gain))
    return best


def _amount(gain: Count) -> int:
    """What one run (n = 1) gains; of a place, its number."""
    return gain.at(1) if isinstance(gain, Linear) else gain[0]
