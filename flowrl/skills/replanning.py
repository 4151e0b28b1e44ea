"""Plans from further on: what is left to do by one who has the tools that a plan makes, and nothing else.

A plan from an empty bag gathers all that it will use up, and one of its early steps is where a player falls
back to who has lost something: for a sapling it would gather wood for tools that it has long made. From every
stage there is another plan, which asks for what is still to be used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Operator
from flowrl.skills.plan import Impossible, Plan, PlanningGaveUp, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import facts_along, prove

_LASTING = (FactKind.COUNT, FactKind.TIER, FactKind.FLAG)


def plans_from_stages(
    found: Plan,
    facts: Mapping[str, int],
    operators: Mapping[str, Operator],
    vocabulary: Vocabulary,
) -> tuple[Plan, ...]:
    """``found``, then plans to the same target from its stages, each plan once; of the same skills.

    Args:
        found: a proved plan from ``facts``.
        facts: where it begins.
        operators: of its skills, and of its target where that is one.
        vocabulary: kinds and capacities of all facts.
    """
    skills = {step.skill for step in found.steps}
    if isinstance(found.target, SkillGoal):
        skills.add(found.target.skill)
    operators = {name: operator for name, operator in operators.items() if name in skills}
    plans = {found.steps: found}
    for stage in _stages(found, facts, operators, vocabulary):
        # One that cannot be planned from within bounds has the first plan.
        with contextlib.suppress(Impossible, PlanningGaveUp):
            other = plan(stage, operators, found.target, vocabulary)
            prove(other, stage, operators, found.target, vocabulary)
            plans.setdefault(other.steps, other)
    return tuple(plans.values())


def _stages(
    found: Plan, facts: Mapping[str, int], operators: Mapping[str, Operator], vocabulary: Vocabulary
) -> Iterator[Mapping[str, int]]:
    """What is there for good after each step, and beside it no more than at the beginning.

    That is all that no step uses up, tools and what has been achieved, and, where the plan travels, either
    floor: a player may be back where it came from.
    """
    used_up = {fact for operator in operators.values() for fact in operator.consumes}
    known: list[Mapping[str, int]] = [dict(facts)]
    for after in facts_along(found, facts, operators, vocabulary)[1:-1]:
        lasting = {
            name: value
            for name, value in after.items()
            if vocabulary[name].kind in _LASTING and name not in used_up
        }
        places = {name: value for name, value in after.items() if vocabulary[name].kind is FactKind.PLACE}
        for stage in ({**facts, **lasting}, {**facts, **lasting, **places}):
            if stage not in known:
                known.append(stage)
                yield stage
