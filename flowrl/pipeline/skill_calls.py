"""Each skill's success alone, as validation measured it, beside its success inside whole episodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowrl.rl.agent import Played
from flowrl.rl.calls import OUTCOMES
from flowrl.skills.graph import SkillGraph


def calls_by_skill(graph: SkillGraph, played: Played) -> dict[str, dict[str, Any]]:
    """How the calls of each skill ended; what a call is, see :mod:`flowrl.rl.calls`.

    Args:
        played: with the graph's skills as policies, in the graph's order.

    Returns:
        By skill: ``alone`` and ``alone_low`` (its evidence: of its own policy, also where a practised one
        plays), ``calls``, the share of them that ended in each
        of :data:`~flowrl.rl.calls.OUTCOMES`, ``inside`` (the share that advanced, of those that no rule
        interrupted), ``mean_steps`` of a call, and ``charge`` (its share of all env steps). What cannot be
        known of a skill that was never called is None.
    """
    ended, steps = np.asarray(played.calls.ended).sum(axis=0), np.asarray(played.calls.steps).sum(axis=0)
    charge, all_steps = np.asarray(played.charge).sum(axis=0), int(np.asarray(played.length).sum())
    return {
        node.name: {
            "alone": node.evidence.success,
            "alone_low": node.evidence.success_low,
            **_shares(dict(zip(OUTCOMES, ended[row].tolist(), strict=True)), int(steps[row])),
            "charge": float(charge[row] / max(all_steps, 1)),
        }
        for row, node in enumerate(graph.nodes)
    }


def _shares(counts: dict[str, int], steps: int) -> dict[str, int | float | None]:
    calls = sum(counts.values())
    finished = calls - counts["interrupted"]
    return {
        "calls": calls,
        **{outcome: count / calls if calls else None for outcome, count in counts.items()},
        "inside": counts["advanced"] / finished if finished else None,
        "mean_steps": steps / calls if calls else None,
    }
