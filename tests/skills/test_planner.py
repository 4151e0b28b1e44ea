"""The planner: worked examples, reasons for "impossible", and input that it refuses."""

from __future__ import annotations

import pytest
from plan_examples import (
    CLASSIC,
    COAL,
    DIAMOND,
    FURNACE,
    IRON,
    STONE,
    TABLE,
    WOOD,
    problem,
    proved,
    refused,
    skill,
)

from flowrl.errors import UserError
from flowrl.skills.facts import FactKind
from flowrl.skills.plan import FactGoal, Goal, PlanStep, SkillGoal
from flowrl.skills.planner import plan

# --- worked examples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIC)
def test_every_classic_achievement_has_a_proved_plan_from_an_empty_bag(name: str) -> None:
    made = proved(problem(CLASSIC, FactGoal({f"achievement:{name}": 1})))
    assert made.steps[-1].skill == name


def test_the_plan_for_a_diamond_is_the_one_worked_out_by_hand() -> None:
    # Wood: three tables of 2, three pickaxes of 1 = 9, one full bag. Collecting leaves the table behind,
    # so there is a table for each age; the furnace keeps the table within reach.
    made = proved(problem(CLASSIC, SkillGoal("collect_diamond", include=True)))
    assert str(made) == DIAMOND
    assert made.to_json()[0] == ["collect_wood", 9]


def test_all_classic_achievements_in_one_plan() -> None:
    goal = FactGoal({f"achievement:{name}": 1 for name in CLASSIC})
    assert len(proved(problem(CLASSIC, goal)).steps) <= 26


def test_a_skill_goal_stops_before_the_skill_or_includes_it() -> None:
    before = proved(problem(CLASSIC, SkillGoal("place_table")))
    assert before.steps == (PlanStep("collect_wood", 2),)
    through = proved(problem(CLASSIC, SkillGoal("place_table", include=True)))
    assert through.steps == (PlanStep("collect_wood", 2), PlanStep("place_table", 1))


def test_a_goal_that_holds_needs_no_steps() -> None:
    made = proved(problem(CLASSIC, FactGoal({WOOD: 3}), {WOOD: 3}))
    assert made.steps == ()
    assert str(made) == "nothing to do"


def test_a_goal_with_n_scales_what_it_needs() -> None:
    made = proved(problem(CLASSIC, SkillGoal("make_wood_pickaxe", 4, include=True)))
    assert made.steps == (
        PlanStep("collect_wood", 6),
        PlanStep("place_table"),
        PlanStep("make_wood_pickaxe", 4),
    )


def test_counts_with_slope_and_offset() -> None:
    skills = {
        "mine": skill(gains={"inventory:ore": "2*n + 1"}),
        "smelt": skill(consumes={"inventory:ore": "3*n"}, gains={"inventory:bar": "n"}),
    }
    # Two bars need 6 ore: 2n + 1 >= 6 at n = 3, which gives 7.
    made = proved(problem(skills, FactGoal({"inventory:bar": 2})))
    assert made.steps == (PlanStep("mine", 3), PlanStep("smelt", 2))


def test_collecting_is_split_when_the_bag_is_full() -> None:
    skills = {
        "collect": skill(gains={WOOD: "n"}),
        "build": skill(consumes={WOOD: 4}, gains={"inventory:plank": 1}),
    }
    # Three planks take 12 wood; the bag holds 9.
    made = proved(problem(skills, FactGoal({"inventory:plank": 3})))
    assert [step.skill for step in made.steps] == ["collect", "build", "build", "collect", "build"]
    assert sum(step.n for step in made.steps if step.skill == "collect") == 12


def test_what_there_is_no_room_for_is_lost_and_does_no_harm() -> None:
    skills = {
        "dig": skill(gains={"inventory:dirt": 3, "inventory:gem": 1}),
        "dump": skill(consumes={"inventory:dirt": "n"}, gains={"vital:calm": "n"}),
    }
    made = proved(problem(skills, FactGoal({"inventory:gem": 2}), {"inventory:dirt": 8}))
    assert [step.skill for step in made.steps] == ["dig", "dig"]


def test_a_full_bag_keeps_no_skill_from_running() -> None:
    full = {"inventory:iron_pickaxe": 9}
    made = proved(problem(CLASSIC, SkillGoal("make_iron_pickaxe", include=True), full))
    assert made.steps == proved(problem(CLASSIC, SkillGoal("make_iron_pickaxe", include=True))).steps


def test_the_last_step_to_a_full_bag_may_give_more_than_fits() -> None:
    # Threes within a capacity of 8: 3, 6, 8.
    made = proved(problem({"dig": skill(gains={STONE: 3})}, FactGoal({STONE: 7}), capacity=8))
    assert made.steps == (PlanStep("dig"),) * 3


def test_what_a_later_step_needs_is_not_used_up_before() -> None:
    skills = {
        "burn": skill(consumes={WOOD: 1}, gains={"achievement:fire": 1}),
        "show": skill({WOOD: 3}, gains={"achievement:show": 1}),
    }
    made = proved(problem(skills, FactGoal({"achievement:fire": 1, "achievement:show": 1}), {WOOD: 3}))
    assert [step.skill for step in made.steps] == ["show", "burn"]


def test_the_provider_that_works_is_chosen() -> None:
    skills = {
        "buy": skill(consumes={"inventory:coin": 1}, gains={WOOD: "n"}),
        "beg": skill({"achievement:humble": 1}, gains={WOOD: "n"}),
        "chop": skill({"inventory:axe": 1}, gains={WOOD: "n"}),
    }
    assert proved(problem(skills, FactGoal({WOOD: 2}), {"inventory:axe": 1})).steps == (PlanStep("chop", 2),)
    assert proved(problem(skills, FactGoal({WOOD: 2}), {"inventory:coin": 1})).steps == (PlanStep("buy", 2),)


def test_a_side_product_spares_a_step() -> None:
    skills = {
        "pick_apple": skill(gains={"inventory:apple": "n"}),
        "fell_apple_tree": skill(gains={WOOD: "n", "inventory:apple": "n"}),
    }
    made = proved(problem(skills, FactGoal({WOOD: 2, "inventory:apple": 2})))
    assert made.steps == (PlanStep("fell_apple_tree", 2),)


def test_a_better_tool_serves_for_a_lesser_one() -> None:
    skills = {
        "make_wood": skill(gains={"inventory:pickaxe": 1}),
        "make_iron": skill({"inventory:pickaxe": 1}, gains={"inventory:pickaxe": 3}),
        "mine": skill({"inventory:pickaxe": 2}, gains={STONE: "n"}),
        "scratch": skill({"inventory:pickaxe": 1}, gains={COAL: "n"}),
    }
    asked = problem(
        skills,
        FactGoal({STONE: 1, COAL: 1, "inventory:pickaxe": 3}),
        kinds={"inventory:pickaxe": FactKind.TIER},
    )
    assert [step.skill for step in proved(asked).steps][:2] == ["make_wood", "make_iron"]
    assert len(proved(asked).steps) == 4


def test_floors_are_travelled_and_things_within_reach_made_again() -> None:
    skills = {
        "descend": skill({"floor": 0}, gains={"floor": 1}),
        "ascend": skill({"floor": 1}, gains={"floor": 0}),
        "mine": skill({"floor": [1, 2]}, gains={IRON: "n"}),
        "place_table": skill({"floor": 0}, {WOOD: 1}, {TABLE: 1}),
        "forge": skill({TABLE: 1}, {IRON: "n"}, {"inventory:sword": "n"}),
    }
    made = proved(problem(skills, FactGoal({"inventory:sword": 1}), {WOOD: 2, TABLE: 1}))
    assert [step.skill for step in made.steps] == ["descend", "mine", "ascend", "place_table", "forge"]


def test_a_goal_place_is_met_exactly() -> None:
    skills = {"fall": skill(gains={"floor": 2}), "climb": skill({"floor": 2}, gains={"floor": 1})}
    made = proved(problem(skills, FactGoal({"floor": 1})))
    assert made.steps == (PlanStep("fall"), PlanStep("climb"))


def test_two_places_hold_together_only_when_one_keeps_the_other() -> None:
    made = proved(problem(CLASSIC, SkillGoal("make_iron_sword")))
    assert [step.skill for step in made.steps][-2:] == ["place_table", "place_furnace"]


# --- impossible, and why -----------------------------------------------------------------------------------


def test_nobody_provides_it() -> None:
    skills = {name: sections for name, sections in CLASSIC.items() if name != "collect_iron"}
    error = refused(problem(skills, SkillGoal("collect_diamond")))
    assert error.missing == IRON
    assert error.providers == ()
    assert error.cycle == ()
    assert "no skill gains 'inventory:iron'" in str(error)
    assert "make_iron_pickaxe" in str(error)


def test_the_provider_that_could_have_is_named() -> None:
    skills = {"chop": skill({"floor": 3}, gains={WOOD: "n"}), "go": skill({WOOD: 1}, gains={"floor": 3})}
    error = refused(problem(skills, FactGoal({WOOD: 1})))
    assert error.missing == WOOD
    assert error.providers == ("chop",)
    assert error.to_json()["providers"] == ["chop"]


def test_a_cycle_is_reported_as_one() -> None:
    wood_needs_iron = {**CLASSIC, "collect_wood": skill({"inventory:iron_pickaxe": 1}, gains={WOOD: "n"})}
    error = refused(problem(wood_needs_iron, SkillGoal("collect_diamond")))
    assert set(error.cycle) == {"make_iron_pickaxe", "place_table", "collect_wood"}
    assert error.missing == "inventory:iron_pickaxe"
    assert error.providers == ("make_iron_pickaxe",)
    assert "cycle" in str(error)


def test_another_floor_is_not_a_cycle() -> None:
    """Nobody gets to floor 1, whence one gets to floor 2; a real ring of floors is told as one."""
    descend = {
        "descend": skill({"floor": 1}, gains={"floor": 2}),
        "mine": skill({"floor": 2}, gains={STONE: 1}),
    }
    error = refused(problem(descend, SkillGoal("mine", include=True)))
    assert error.cycle == ()
    assert "no skill gains 'floor' = 1 (descend: elsewhere)" in str(error)
    ring = {**descend, "ascend": skill({"floor": 2}, gains={"floor": 1})}
    error = refused(problem(ring, SkillGoal("mine", include=True)))
    assert set(error.cycle) == {"descend", "ascend"}
    assert "descend needs 'floor' = 1" in str(error)


def test_a_dead_end_is_a_better_reason_than_a_cycle() -> None:
    skills = {
        "a": skill({"achievement:y": 1}, gains={"achievement:x": 1}),
        "b": skill({"achievement:x": 1}, gains={"achievement:y": 1}),
        "c": skill({"inventory:key": 1}, gains={"achievement:y": 1}),
    }
    error = refused(problem(skills, FactGoal({"achievement:x": 1})))
    assert error.missing == "inventory:key"
    assert error.cycle == ()


def test_what_runs_out_is_named() -> None:
    skills = {name: sections for name, sections in CLASSIC.items() if name != "collect_wood"}
    for wood in range(9):
        error = refused(problem(skills, SkillGoal("collect_diamond"), {WOOD: wood}))
        assert error.missing == WOOD, wood
    assert len(proved(problem(skills, SkillGoal("collect_diamond"), {WOOD: 9})).steps) == 10


def test_places_that_never_hold_together() -> None:
    forgetful = {**CLASSIC, "place_furnace": skill({}, {STONE: 1}, {FURNACE: 1})}
    error = refused(problem(forgetful, SkillGoal("make_iron_pickaxe")))
    assert error.missing in (TABLE, FURNACE)
    assert "never together" in str(error)


def test_beyond_the_capacity() -> None:
    assert refused(problem(CLASSIC, FactGoal({WOOD: 10}))).missing == WOOD
    assert refused(problem(CLASSIC, SkillGoal("collect_wood", 10))).missing == WOOD


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "facts", "expected"),
    [
        (SkillGoal("colect_wood"), {}, "Did you mean 'collect_wood'?"),
        (SkillGoal("collect_wood", 0), {}, "n = 0"),
        (SkillGoal("place_table", 2), {}, "n = 2"),
        (FactGoal({"inventory:wood": -1}), {}, "at least 0"),
        (FactGoal({"near:furnace": 2}), {}, "must be 1"),
        (FactGoal({"inventory:wood": (1, 2)}), {}, "Give one number"),
        (FactGoal({"inventory:wood": 1}), {"inventory:stone": 10}, "at most its capacity, 9"),
        (FactGoal({"inventory:wood": 1}), {"inventory:stone": -1}, "at least 0"),
        (FactGoal({"inventory:wood": 1}), {"near:furnace": 5}, "'near:furnace' is 5.*write 0 or 1"),
        (FactGoal({"inventory:wood": 1}), {"achievement:wake_up": 2}, "'achievement:wake_up' is 2.*0 or 1"),
    ],
)
def test_bad_input_is_refused_with_the_fix(goal: Goal, facts: dict[str, int], expected: str) -> None:
    asked = problem(CLASSIC, goal, facts)
    with pytest.raises(UserError, match=expected.replace("?", r"\?")):
        plan(asked.facts, asked.operators, asked.goal, asked.vocabulary)


def test_unknown_facts_are_refused_with_the_nearest() -> None:
    asked = problem(CLASSIC, SkillGoal("place_table"))
    with pytest.raises(UserError, match="Did you mean 'inventory:wood'"):
        plan({"inventory:wod": 1}, asked.operators, asked.goal, asked.vocabulary)
    with pytest.raises(UserError, match="Did you mean 'inventory:wood'"):
        plan({}, asked.operators, FactGoal({"inventory:wod": 1}), asked.vocabulary)
