"""Planning where nothing limits an amount: how often to repeat, what is impossible, what takes too long."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from plan_examples import CLASSIC, DIAMOND, STONE, WOOD, problem, proved, refused, skill
from random_problems import Problem

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.plan import FactGoal, PlanningGaveUp, PlanStep, SkillGoal
from flowrl.skills.planner import plan

COIN, PLANK, TOKEN = "inventory:coin", "inventory:plank", "inventory:token"
SAW = skill(consumes={WOOD: "4*n"}, gains={PLANK: "n"})


def test_amounts_without_a_capacity() -> None:
    made = proved(problem(CLASSIC, FactGoal({WOOD: 500}), capacity=None))
    assert made.steps == (PlanStep("collect_wood", 500),)


def test_the_plan_for_a_diamond_needs_no_capacity() -> None:
    assert str(proved(problem(CLASSIC, SkillGoal("collect_diamond", include=True), capacity=None))) == DIAMOND


def test_one_coin_buys_all_the_wood_that_is_needed() -> None:
    # 50 planks of 4 wood each: 200 wood, bought at once, because there is one coin.
    skills = {"buy": skill(consumes={COIN: 1}, gains={WOOD: "n"}), "saw": SAW}
    made = proved(problem(skills, FactGoal({PLANK: 50}), {COIN: 1}, capacity=None))
    assert made.steps == (PlanStep("buy", 200), PlanStep("saw", 50))


def test_what_is_free_is_fetched_in_one_step_too() -> None:
    skills = {"chop": skill(gains={WOOD: "n"}), "saw": SAW}
    made = proved(problem(skills, FactGoal({PLANK: 50}), capacity=None))
    assert made.steps == (PlanStep("chop", 200), PlanStep("saw", 50))


def test_any_amount_is_planned_for() -> None:
    skills = {"chop": skill(gains={WOOD: "2*n + 1"}), "saw": SAW}
    made = proved(problem(skills, FactGoal({PLANK: 10**30}), capacity=None))
    # 2 n + 1 >= 4 * 10^30
    assert made.steps == (PlanStep("chop", 2 * 10**30), PlanStep("saw", 10**30))


def test_vitals_and_levels_without_a_limit() -> None:
    skills = {
        "rest": skill(consumes={COIN: 1}, gains={"vital:energy": "n"}),
        "climb": skill({"vital:energy": 300}, gains={"stat:height": "3*n"}),
        "fly": skill({"stat:height": 1000}, {COIN: 1}, {"achievement:fly": 1}),
    }
    made = proved(problem(skills, FactGoal({"achievement:fly": 1}), {COIN: 2}, capacity=None))
    assert made.steps == (PlanStep("rest", 300), PlanStep("climb", 334), PlanStep("fly"))
    assert (
        refused(problem(skills, FactGoal({"achievement:fly": 1}), {COIN: 1}, capacity=None)).missing == COIN
    )


def test_as_often_as_fills_what_has_a_limit() -> None:
    skills = {"feast": skill(consumes={COIN: 1}, gains={"vital:food": "2*n", WOOD: "n"})}
    asked = problem(skills, FactGoal({"vital:food": 9, WOOD: 2}), {COIN: 1}, capacity=None)
    facts = [Fact("vital:food", FactKind.VITAL, 9), asked.vocabulary[WOOD], asked.vocabulary[COIN]]
    # 2 n >= 9, though 2 would do for the wood.
    made = proved(replace(asked, vocabulary=Vocabulary(facts)))
    assert made.steps == (PlanStep("feast", 5),)


def test_a_large_stock_is_divided() -> None:
    skills = {
        "change": skill(consumes={COIN: "n"}, gains={TOKEN: "n"}),
        "melt": skill(consumes={COIN: "2*n"}, gains={STONE: "n"}),
        "pay": skill(consumes={TOKEN: 5_000, COIN: 3_000}, gains={"achievement:pay": 1}),
    }
    # 10,000 = 5,000 changed + 3,000 paid + 2 * 1,000 melted.
    goal = {"achievement:pay": 1}
    made = proved(problem(skills, FactGoal({**goal, STONE: 1_000}), {COIN: 10_000}, capacity=None))
    assert {(step.skill, step.n) for step in made.steps} == {("change", 5_000), ("melt", 1_000), ("pay", 1)}
    asked = problem(skills, FactGoal({**goal, STONE: 1_001}), {COIN: 10_000}, capacity=None)
    assert refused(asked).missing == COIN


def test_what_feeds_itself_grows() -> None:
    skills = {"breed": skill(consumes={COIN: "n"}, gains={COIN: "2*n"})}
    made = proved(problem(skills, FactGoal({COIN: 1000}), {COIN: 1}, capacity=None))
    # Doubled at most each time: 2^10 = 1024.
    assert len(made.steps) == 10


@pytest.mark.parametrize("n", ["n", 1])
def test_it_is_impossible_however_much_there_may_be_of_something_else(n: int | str) -> None:
    # There is one coin, in the left or in the right hand, never in both; but stones can be piled up without
    # end, in one step or one by one: there are infinitely many states.
    skills = {
        "to_right": skill({STONE: 1}, {"inventory:left": 1}, {"inventory:right": 1}),
        "to_left": skill({STONE: 1}, {"inventory:right": 1}, {"inventory:left": 1}),
        "pile_up": skill(gains={STONE: n}),
    }
    goal = FactGoal({"inventory:left": 1, "inventory:right": 1})
    for capacity in (None, 9):
        asked = problem(skills, goal, {"inventory:left": 1}, capacity=capacity)
        assert refused(asked).missing in goal.facts


# --- giving up ---------------------------------------------------------------------------------------------


def gave_up(asked: Problem, **options: int) -> str:
    """Why planning gave up."""
    with pytest.raises(PlanningGaveUp) as caught:
        plan(asked.facts, asked.operators, asked.goal, asked.vocabulary, **options)
    assert caught.value.to_json() == {"reason": str(caught.value)}
    return str(caught.value)


def test_a_plan_of_hundreds_of_steps() -> None:
    made = proved(problem({"chop": skill(gains={WOOD: 2})}, FactGoal({WOOD: 999}), capacity=None))
    assert made.steps == (PlanStep("chop"),) * 500


@pytest.mark.parametrize("skills", [1, 3])
def test_what_takes_too_many_steps_is_given_up_at_once(skills: int) -> None:
    # 3 wood at most a step: 100,000 wood takes 33,334 steps.
    chops = {f"chop_{i}": skill(gains={WOOD: 3 - i}) for i in range(skills)}
    asked = problem(chops, FactGoal({WOOD: 100_000}), capacity=None)
    began = time.process_time()
    assert "every plan takes at least 33334 steps" in gave_up(asked)
    assert time.process_time() - began < 0.5


def test_what_is_too_far_may_still_be_proved_impossible() -> None:
    skills = {"chop": skill(consumes={COIN: 1}, gains={WOOD: 1})}
    asked = problem(skills, FactGoal({WOOD: 100_000}), {COIN: 5}, capacity=None)
    assert refused(asked).missing == COIN


def test_a_bound_that_is_reached_is_not_called_impossible() -> None:
    # Coins and tokens are 10,000 together, whatever is changed, and more than that is asked for. Nothing but
    # trying all amounts shows it.
    skills = {
        "change": skill(consumes={COIN: "n"}, gains={TOKEN: "n"}),
        "back": skill(consumes={TOKEN: "n"}, gains={COIN: "n"}),
    }
    goal = FactGoal({COIN: 9_000, TOKEN: 2_000})
    assert "within 300 states" in gave_up(
        problem(skills, goal, {COIN: 10_000}, capacity=None), max_states=300
    )
    # So few that all are seen: a proof.
    small = problem(skills, FactGoal({COIN: 9, TOKEN: 2}), {COIN: 10}, capacity=None)
    assert refused(small).missing in goal.facts


def test_a_plan_that_repeats_much_is_not_called_impossible() -> None:
    # Two steps for each wood, 1,200 in all, of which a first estimate sees half.
    skills = {
        "walk": skill(gains={"floor": 1}),
        "chop": skill({"floor": 1}, gains={WOOD: 1, "floor": 0}),
    }
    asked = problem(skills, FactGoal({WOOD: 600}), capacity=None, kinds={"floor": FactKind.PLACE})
    assert "There is a plan" in gave_up(asked, max_states=3_000)
