"""Plans from the stages of a plan: what they ask for, and what they leave to others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Operator, parse_operator
from flowrl.skills.plan import FactGoal, Goal, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.replanning import plans_from_stages
from flowrl.skills.simulator import prove

WOOD, STONE, PICKAXE, SWORD = "inventory:wood", "inventory:stone", "inventory:pickaxe", "inventory:sword"
TABLE, FOOD, FLOOR, GEM = "near:table", "vital:food", "floor", "inventory:gem"
VOCABULARY = Vocabulary(
    [
        Fact(WOOD, FactKind.COUNT, 9),
        Fact(STONE, FactKind.COUNT, 9),
        Fact(PICKAXE, FactKind.COUNT, 9),
        Fact(SWORD, FactKind.COUNT, 9),
        Fact(GEM, FactKind.COUNT, 9),
        Fact(FOOD, FactKind.VITAL, 9),
        Fact(TABLE, FactKind.REACH),
        Fact(FLOOR, FactKind.PLACE),
    ]
)


def operator(**sections: Mapping[str, Any]) -> Operator:
    return parse_operator(sections, VOCABULARY)


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
    found = plans_from_stages(first, start, operators, VOCABULARY)
    assert found[0] is first
    assert all(one.target == goal for one in found)
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
    found = plans_from_stages(first, {}, SKILLS, VOCABULARY)
    assert not any("beg" in str(one) for one in found)


def test_what_is_there_at_the_start_is_there_at_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The food that a fresh player has; it is no tool, though nothing uses it up."""
    starts: list[Mapping[str, int]] = []

    def noted(facts: Mapping[str, int], *rest: Any) -> Any:
        starts.append(facts)
        return plan(facts, *rest)

    monkeypatch.setattr("flowrl.skills.replanning.plan", noted)
    plans(FactGoal({STONE: 1}), facts={FOOD: 9})
    assert {FOOD: 9, PICKAXE: 1} in [{name: n for name, n in start.items() if n} for start in starts]
