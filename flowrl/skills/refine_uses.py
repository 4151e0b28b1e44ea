"""Consumption as it was measured: what successes really used up, for each repeat count."""

from __future__ import annotations

import numpy as np

from flowrl.skills.change import ALMOST_ALWAYS, MIN_EPISODES, Change, frequent
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.repeat_counts import closest
from flowrl.skills.trajectories import Trajectories


def refined_uses(
    operator: Operator, successes: Trajectories, vocabulary: Vocabulary
) -> tuple[dict[str, Linear], list[Change]]:
    """What the skill consumes: a declared amount stays unless most successes used more, or almost all less.

    Less is not so bad: a plan that keeps a piece of wood goes on, one that lacks it does not. A policy that
    places a table of its own where none is near uses more there, and as much as declared elsewhere.

    Vitals are no amounts and decay by themselves; facts that the skill gains are left alone. What falls only
    where it happens to be there is nothing that the skill consumes: starts without it succeed as well, and
    are among the successes.
    """
    consumes: dict[str, Linear] = dict(operator.consumes)
    changes: list[Change] = []
    for fact in vocabulary.of_kind(FactKind.COUNT):
        if fact.name in operator.gains or fact.name not in successes.facts:
            continue
        declared = operator.consumes.get(fact.name)
        used = used_up(successes, fact.name)
        points: dict[int, int] = {}
        differs = []
        for n in np.unique(successes.n):
            amounts = used[(successes.n == n) & (used >= 0)]
            if len(amounts) < MIN_EPISODES:
                continue
            claim = declared.at(int(n)) if declared else 0
            more, less = int((amounts > claim).sum()), int((amounts < claim).sum())
            usual = more >= ALMOST_ALWAYS * len(amounts) or (declared and frequent(more, len(amounts)))
            differs.append(bool(usual or less >= ALMOST_ALWAYS * len(amounts)))
            points[int(n)] = int(np.median(amounts))
        # A wrong slope shows at some n alone; what is not declared at all must be used at every n.
        if not (any(differs) if declared else differs and all(differs)):
            continue
        # With one n measured: what is gained for each repeat is paid for with each.
        line = closest(points, declared or Linear(int(operator.scales), 0))
        after = line if line.at(1) > 0 else None
        if after == declared:
            continue
        consumes.pop(fact.name, None)
        if after is not None:
            consumes[fact.name] = after
        counted = used[used >= 0]
        evidence = {
            "successes": len(counted),
            "used_some": int((counted > 0).sum()),
            "used_in_all": int(counted.sum()),
        }
        changes.append(Change("consumes", fact.name, declared, after, evidence, "what successes used up"))
    return consumes, changes


def used_up(successes: Trajectories, fact: str) -> np.ndarray:
    """int32 ``[E]``: how much of what was there at the start an episode used up; -1 where it cannot tell.

    Where a fact only fell, the fall tells. Where it rose as well, part of what was used was found on the way,
    and only the net fall came out of the stock: those episodes count only where most are of that kind.
    """
    column = successes.column(fact)
    net = np.maximum(successes.start[:, column] - successes.end[:, column], 0)
    only_fell = successes.rose[:, column] == 0
    if only_fell.sum() < max(MIN_EPISODES, len(successes) / 2):
        return net
    return np.where(only_fell, net, -1)
