"""The simulator, by hand: what each kind of fact does, and that wrong plans are disproved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Operator, parse_operator
from flowrl.skills.plan import FactGoal, Goal, Plan, PlanStep, SkillGoal
from flowrl.skills.simulator import PlanDisproved, facts_after, facts_along, prove

VOCABULARY = Vocabulary(
    [
        Fact("inventory:wood", FactKind.COUNT, 9),
        Fact("inventory:seed", FactKind.COUNT),
        Fact("vital:food", FactKind.VITAL, 9),
        Fact("inventory:pickaxe", FactKind.TIER, 4),
        Fact("achievement:done", FactKind.FLAG),
        Fact("floor", FactKind.PLACE),
        Fact("near:table", FactKind.REACH),
        Fact("near:furnace", FactKind.REACH),
    ]
)

ANYTHING = FactGoal({})


def operator(**sections: Mapping[str, Any]) -> Operator:
    return parse_operator({section: dict(facts) for section, facts in sections.items()}, VOCABULARY)


def after(made: Operator, facts: Mapping[str, int], n: int = 1) -> dict[str, int]:
    """What is not 0 after one run."""
    changed = facts_after(PlanStep("it", n), facts, {"it": made}, VOCABULARY)
    return {name: value for name, value in changed.items() if value}


def failing(made: Operator, facts: Mapping[str, int], n: int = 1) -> str:
    with pytest.raises(PlanDisproved) as caught:
        after(made, facts, n)
    return caught.value.reason


def test_a_count_adds_and_is_used_up_first() -> None:
    swap = operator(consumes={"inventory:wood": "2*n"}, gains={"inventory:wood": 1, "inventory:seed": "n"})
    assert after(swap, {"inventory:wood": 9}, n=2) == {"inventory:wood": 6, "inventory:seed": 2}
    # 9 - 2 + 1 fits, though 9 + 1 would not.
    assert after(swap, {"inventory:wood": 9}) == {"inventory:wood": 8, "inventory:seed": 1}


def test_an_amount_stops_at_its_capacity() -> None:
    chop = operator(gains={"inventory:wood": "n"})
    assert after(chop, {"inventory:wood": 4}, n=5) == {"inventory:wood": 9}
    assert after(chop, {"inventory:wood": 4}, n=6) == {"inventory:wood": 9}


def test_an_amount_without_capacity_never_fills() -> None:
    assert after(operator(gains={"inventory:seed": "n"}), {}, n=1000) == {"inventory:seed": 1000}


def test_a_vital_saturates() -> None:
    assert after(operator(gains={"vital:food": 6}), {"vital:food": 7}) == {"vital:food": 9}


def test_a_tier_is_raised_never_lowered() -> None:
    craft = operator(gains={"inventory:pickaxe": 2})
    assert after(craft, {"inventory:pickaxe": 1}) == {"inventory:pickaxe": 2}
    assert after(craft, {"inventory:pickaxe": 3}) == {"inventory:pickaxe": 3}


def test_a_tier_has_a_highest_level() -> None:
    better = operator(gains={"inventory:pickaxe": "n"})
    assert after(better, {}, n=4) == {"inventory:pickaxe": 4}
    assert "beyond its highest level of 4" in failing(better, {}, n=5)


def test_a_flag_stays() -> None:
    finish = operator(gains={"achievement:done": 1})
    assert after(finish, {"achievement:done": 1}) == {"achievement:done": 1}


def test_reach_lapses_unless_required() -> None:
    held = {"near:table": 1, "near:furnace": 1}
    assert after(operator(gains={"inventory:wood": 1}), held) == {"inventory:wood": 1}
    keeps_table = operator(requires={"near:table": 1}, gains={"inventory:wood": 1})
    assert after(keeps_table, held) == {"inventory:wood": 1, "near:table": 1}
    assert after(operator(gains={"near:furnace": 1}), held) == {"near:furnace": 1}


def test_moving_ends_all_reach_but_what_it_gains() -> None:
    stairs = operator(requires={"near:table": 1, "floor": [0, 2]}, gains={"floor": 1, "near:furnace": 1})
    assert after(stairs, {"near:table": 1}) == {"floor": 1, "near:furnace": 1}
    assert "needs 'floor' to be one of [0, 2], but it is 1" in failing(stairs, {"near:table": 1, "floor": 1})


def test_requirements_and_consumption_are_both_checked_at_the_start() -> None:
    build = operator(requires={"inventory:wood": 3}, consumes={"inventory:wood": 2}, gains={"near:table": 1})
    assert after(build, {"inventory:wood": 3}) == {"inventory:wood": 1, "near:table": 1}
    assert "needs 3 of 'inventory:wood', but there is 2" in failing(build, {"inventory:wood": 2})


def test_n_must_be_one_that_the_skill_can_have() -> None:
    assert "n must be 1" in failing(operator(gains={"near:table": 1}), {}, n=2)
    assert "n must be at least 1" in failing(operator(gains={"inventory:wood": "n"}), {}, n=0)


OPERATORS = {
    "chop": operator(gains={"inventory:wood": "n"}),
    "build": operator(consumes={"inventory:wood": 2}, gains={"near:table": 1}),
    "carve": operator(
        requires={"near:table": 1}, consumes={"inventory:wood": 1}, gains={"achievement:done": 1}
    ),
}


def proves(goal: Goal, *steps: tuple[str, int]) -> None:
    prove(Plan(tuple(PlanStep(*step) for step in steps), goal), {}, OPERATORS, goal, VOCABULARY)


def test_right_plans_are_proved() -> None:
    proves(FactGoal({"achievement:done": 1, "floor": (0, 1)}), ("chop", 3), ("build", 1), ("carve", 1))
    proves(FactGoal({"floor": 0}))
    proves(SkillGoal("carve"), ("chop", 3), ("build", 1))
    proves(SkillGoal("carve", include=True), ("chop", 3), ("build", 1), ("carve", 1))


@pytest.mark.parametrize(
    ("goal", "steps", "at", "reason"),
    [
        (ANYTHING, [("chop", 1), ("build", 1)], 1, "needs 2 of 'inventory:wood'"),
        (ANYTHING, [("chop", 3), ("build", 1), ("chop", 1), ("carve", 1)], 3, "needs 1 of 'near:table'"),
        (
            FactGoal({"inventory:wood": 10}),
            [("chop", 5), ("chop", 5)],
            2,
            "needs 10 of 'inventory:wood', but",
        ),
        (ANYTHING, [("chpo", 1)], 0, "Did you mean 'chop'?"),
        (FactGoal({"inventory:wood": 4}), [("chop", 3)], 1, "the goal needs 4"),
        (FactGoal({"floor": (1, 2)}), [], 0, "one of [1, 2]"),
        (FactGoal({"inventory:wod": 1}), [], 0, "Did you mean 'inventory:wood'?"),
        (FactGoal({"inventory:wood": (1,)}), [], 0, "not a place"),
        (SkillGoal("carve"), [("chop", 2), ("build", 1)], 2, "needs 1 of 'inventory:wood'"),
        (SkillGoal("chop", include=True), [("chop", 2)], 1, "does not end with the goal"),
        (SkillGoal("chop", include=True), [], 0, "does not end with the goal"),
    ],
)
def test_wrong_plans_are_disproved(goal: Goal, steps: list[tuple[str, int]], at: int, reason: str) -> None:
    with pytest.raises(PlanDisproved) as caught:
        proves(goal, *steps)
    assert caught.value.step == at
    assert reason in str(caught.value)


def test_unknown_facts_at_the_start_are_refused() -> None:
    with pytest.raises(PlanDisproved, match="unknown fact 'inventory:wod'"):
        prove(Plan((), ANYTHING), {"inventory:wod": 1}, OPERATORS, ANYTHING, VOCABULARY)


def test_the_facts_before_and_after_each_step() -> None:
    plan = Plan((PlanStep("chop", 3), PlanStep("build")), SkillGoal("carve"))
    trail = facts_along(plan, {"vital:food": 5}, OPERATORS, VOCABULARY)
    assert [facts["inventory:wood"] for facts in trail] == [0, 3, 1]
    assert [facts["near:table"] for facts in trail] == [0, 0, 1]
    assert all(facts["vital:food"] == 5 and set(facts) == set(VOCABULARY) for facts in trail)


def test_it_shares_no_code_with_the_planner() -> None:
    from flowrl.skills import simulator

    shared = {"flowrl.skills.facts", "flowrl.skills.operator", "flowrl.skills.plan", "flowrl.errors"}
    used = {getattr(value, "__module__", "") or "" for value in vars(simulator).values()}
    assert {name for name in used if name.startswith("flowrl")} <= shared | {simulator.__name__}
