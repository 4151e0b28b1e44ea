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
from flowrl.skills.plan import FactGoal, Impossible, Plan, PlanningGaveUp, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import facts_along, prove
from flowrl.skills.teleo import Course

MAX_STATES = 2_000
"""How many states a search for a stage's plan looks at: a deep plan has dozens of stages, and each of them
can do without a plan of its own."""

_LASTING = (FactKind.COUNT, FactKind.TIER, FactKind.FLAG)


def courses_from_stages(
    found: Plan,
    facts: Mapping[str, int],
    operators: Mapping[str, Operator],
    vocabulary: Vocabulary,
) -> tuple[Course, ...]:
    """The course of ``found``, then those of plans to the same target from its stages; of the same skills.

    Args:
        found: a proved plan from ``facts``.
        facts: where it begins.
        operators: of its skills, and of its target where that is one; in whatever order.
        vocabulary: kinds and capacities of all facts.
    """
    skills = {step.skill for step in found.steps}
    if isinstance(found.target, SkillGoal):
        skills.add(found.target.skill)
    # The order decides between equal plans; by name, it is not the order in which skills were learned.
    operators = {name: operators[name] for name in sorted(skills)}
    courses = [Course(facts, found.steps)]
    for stage in _stages(found, facts, operators, vocabulary):
        with contextlib.suppress(Impossible, PlanningGaveUp):
            other = plan(stage, operators, found.target, vocabulary, max_states=MAX_STATES)
            prove(other, stage, operators, found.target, vocabulary)
            courses.append(Course(stage, other.steps))
    return tuple(courses)


def _stages(
    found: Plan, facts: Mapping[str, int], operators: Mapping[str, Operator], vocabulary: Vocabulary
) -> Iterator[Mapping[str, int]]:
    """What is there for good after each step, and beside it no more than at the beginning.

    That is what some step asks for and no step uses up, such as tools, and, where the plan travels, either
    place: a player may be back where it came from.
    """
    used_up = {fact for operator in operators.values() for fact in operator.consumes}
    asked_for = {fact for operator in operators.values() for fact in operator.requires}
    if isinstance(found.target, FactGoal):
        asked_for |= found.target.facts.keys()
    lasting = {name for name in asked_for - used_up if vocabulary[name].kind in _LASTING}
    at_first = {name: value for name, value in facts.items() if value}
    known = [at_first]
    for after in facts_along(found, facts, operators, vocabulary)[1:-1]:
        places = {fact.name: after[fact.name] for fact in vocabulary.of_kind(FactKind.PLACE)}
        made = {**at_first, **{name: after[name] for name in sorted(lasting)}}
        for there in ({}, places):
            stage = {name: value for name, value in {**made, **there}.items() if value}
            if stage not in known:
                known.append(stage)
                yield stage
