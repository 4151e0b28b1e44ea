"""Plans from the stages of a plan: what they ask for, and what they leave to others."""

from __future__ import annotations

from collections.abc import Mapping

from small_facts import FLOOR, FOOD, GEM, PICKAXE, STONE, SWORD, TABLE, VOCABULARY, WOOD, operator

from flowrl.skills.plan import FactGoal, Goal, Plan, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.replanning import courses_from_stages
from flowrl.skills.simulator import prove

SKILLS = {
    "wood": operator(gains={WOOD: "n"}),
    "table": operator(consumes={WOOD: 2}, gains={TABLE: 1}),
    "pickaxe": operator(requires={TABLE: 1}, consumes={WOOD: 1}, gains={PICKAXE: 1}),
    "stone": operator(requires={PICKAXE: 1}, gains={STONE: "n"}),
    "sword": operator(requires={TABLE: 1}, consumes={WOOD: 1, STONE: 1}, gains={SWORD: 1}),
    "down": operator(requires={FLOOR: 0}, gains={FLOOR: 1}),
    "up": operator(requires={FLOOR: 1}, gains={FLOOR: 0}),
    "gem": operator(requires={FLOOR: 1, SWORD: 1}, gains={GEM: 1}),
    "beg": operator(requires={SWORD: 1}, gains={GEM: 1}),
}


def plans(goal: Goal, *without: str, facts: Mapping[str, int] | None = None) -> list[str]:
    """The plan from ``facts`` and those from its stages, each proved to reach the goal from somewhere."""
    operators = {name: operator for name, operator in SKILLS.items() if name not in without}
    start = facts or {}
    first = plan(start, operators, goal, VOCABULARY)
    prove(first, start, operators, goal, VOCABULARY)
    courses = courses_from_stages(first, start, operators, VOCABULARY)
    assert courses[0] == (start, first.steps)
    found = [Plan(steps, goal) for _, steps in courses]
    for course, one in zip(courses, found, strict=True):
        prove(one, course.start, operators, goal, VOCABULARY)
    return [str(one) for one in found]


def test_from_each_stage_only_what_is_still_to_be_used() -> None:
    """With a pickaxe 3 wood do instead of 6; wood and stone are used up, so they make no stage."""
    assert plans(FactGoal({SWORD: 1})) == [
        "wood x6 -> table -> pickaxe -> stone -> table -> sword",
        "wood x3 -> stone -> table -> sword",
    ]


def test_a_skill_may_be_the_goal() -> None:
    """A plan that ends just before running it ends with the last stage; another goes on from there."""
    assert plans(SkillGoal("stone"))[1:] == []
    assert plans(SkillGoal("stone", 2, include=True))[1:] == ["stone x2"]


def test_a_plan_that_makes_nothing_lasting_has_no_other() -> None:
    assert plans(FactGoal({TABLE: 1})) == ["wood x2 -> table"]


def test_a_traveller_may_be_back_where_it_came_from() -> None:
    """With the sword on floor 0, and on floor 1, where the gem is."""
    found = plans(FactGoal({GEM: 1}), "beg")
    assert found[-2:] == ["down -> gem", "gem"]


def test_other_stages_bring_in_no_other_skills() -> None:
    """Who has a sword could beg, but the plan that is meant does without (it may belong to another graph)."""
    modest = {name: skill for name, skill in SKILLS.items() if name != "beg"}
    first = plan({}, modest, FactGoal({GEM: 1}), VOCABULARY)
    courses = courses_from_stages(first, {}, SKILLS, VOCABULARY)
    assert len(courses) > 1
    assert not any(step.skill == "beg" for course in courses for step in course.steps)


def stages(goal: Goal, facts: Mapping[str, int]) -> list[Mapping[str, int]]:
    """What is planned from: every stage has a plan here."""
    first = plan(facts, SKILLS, goal, VOCABULARY)
    return [start for start, _ in courses_from_stages(first, facts, SKILLS, VOCABULARY)]


def test_a_stage_is_what_is_asked_for_and_not_used_up() -> None:
    """Of the plan wood, table, pickaxe, stone, table, sword, beg: each tool once, no table, no wood.

    The food that a fresh player has is there at every stage; it is no tool, though nothing uses it up.
    """
    food = {FOOD: 9}
    assert stages(FactGoal({GEM: 1}), food) == [food, {**food, PICKAXE: 1}, {**food, PICKAXE: 1, SWORD: 1}]


def test_nothing_is_planned_twice() -> None:
    """Facts that are 0 and facts that are not named are the same."""
    assert stages(FactGoal({STONE: 2}), {WOOD: 0, FLOOR: 0}) == [{WOOD: 0, FLOOR: 0}, {PICKAXE: 1}]


def test_the_order_in_which_skills_were_learned_makes_no_difference() -> None:
    first = plan({}, SKILLS, FactGoal({GEM: 1}), VOCABULARY)
    backwards = dict(reversed(SKILLS.items()))
    assert courses_from_stages(first, {}, SKILLS, VOCABULARY) == courses_from_stages(
        first, {}, backwards, VOCABULARY
    )
