"""Which step of a plan applies: regression by hand, and plans followed to their goal from facts alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest
from random_problems import Problem, random_game, random_problem
from small_facts import DEED, FLOOR, FOOD, STONE, TABLE, TOOL, VOCABULARY, WOOD, operator

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.plan import Impossible, PlanningGaveUp, PlanStep, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.replanning import courses_from_stages
from flowrl.skills.simulator import PlanDisproved, facts_after
from flowrl.skills.teleo import Bounds, Condition, Course, Row, conditions, merged_rows, start_condition

SKILLS = {
    "wood": operator(gains={WOOD: "n"}),
    "stone": operator(requires={TOOL: 1}, gains={STONE: "n"}),
    "table": operator(consumes={WOOD: 2}, gains={TABLE: 1, DEED: 1}),
    "wood_tool": operator(requires={TABLE: 1}, consumes={WOOD: 1}, gains={TOOL: 1}),
    "stone_tool": operator(requires={TABLE: 1}, consumes={WOOD: 1, STONE: 1}, gains={TOOL: 2}),
    "eat": operator(gains={FOOD: "2*n"}),
    "down_to_1": operator(requires={FLOOR: 0}, gains={FLOOR: 1}),
    "down_to_2": operator(requires={FLOOR: 1}, gains={FLOOR: 2}),
    "dig": operator(requires={FLOOR: 1}, gains={STONE: "n"}),
    "trade": operator(requires={FLOOR: [0, 2, 6]}, consumes={STONE: 1}, gains={WOOD: 5}),
}


def regressed(steps: Sequence[tuple[str, int]], goal: Condition, floor: int = 0) -> list[Condition]:
    return conditions([PlanStep(*step) for step in steps], goal, SKILLS, VOCABULARY, {FLOOR: floor})


def test_regression_by_hand() -> None:
    """Wood for the table and for the tool; the table only from where it is placed.

    ::

        before                      because
        nothing                     6 wood are gathered: 3 are needed
        wood >= 3                   2 for the table, 1 for the tool
        table, wood >= 1            the table's own need is met
        tool >= 1                   the goal
    """
    found = regressed([("wood", 6), ("table", 1), ("wood_tool", 1)], {TOOL: Bounds(1)})
    assert found == [{}, {WOOD: Bounds(3)}, {TABLE: Bounds(1), WOOD: Bounds(1)}, {TOOL: Bounds(1)}]


def test_what_a_step_gains_is_needed_less_before_it() -> None:
    """Of 7 wood, 4 are gathered in the last step; food saturates but counts the same."""
    goal = {WOOD: Bounds(7), FOOD: Bounds(5)}
    assert regressed([("wood", 4)], goal) == [{WOOD: Bounds(3), FOOD: Bounds(5)}, goal]
    assert regressed([("eat", 2)], goal)[0] == {WOOD: Bounds(7), FOOD: Bounds(1)}
    assert regressed([("eat", 3)], goal)[0] == {WOOD: Bounds(7)}


def test_what_is_used_up_is_needed_on_top() -> None:
    """Two wood must be left after placing a table."""
    assert regressed([("table", 1)], {WOOD: Bounds(2)})[0] == {WOOD: Bounds(4)}


def test_a_requirement_and_a_need_are_not_added() -> None:
    """What is required is still there afterwards."""
    found = regressed([("stone", 1)], {TOOL: Bounds(2), STONE: Bounds(3)})
    assert found[0] == {TOOL: Bounds(2), STONE: Bounds(2)}
    assert regressed([("stone", 1)], {STONE: Bounds(1)})[0] == {TOOL: Bounds(1)}


def test_a_lesser_tool_does_not_stand_in_for_a_better_one() -> None:
    """A step that gives tier 1 leaves the need of tier 2 as it is; one that gives tier 2 meets it."""
    assert regressed([("wood_tool", 1)], {TOOL: Bounds(2)})[0][TOOL] == Bounds(2)
    assert TOOL not in regressed([("stone_tool", 1)], {TOOL: Bounds(2)})[0]


def test_flags_and_reach_are_met_by_the_step_that_gains_them() -> None:
    """And needed before every other one."""
    goal = {DEED: Bounds(1), TABLE: Bounds(1)}
    assert regressed([("table", 1)], goal)[0] == {WOOD: Bounds(2)}
    assert regressed([("wood", 1)], goal)[0] == goal


def test_places_have_two_ends() -> None:
    """Nothing is needed of the floor before a step that moves; both ends are needed before one that stays."""
    assert regressed([("dig", 1)], {})[0] == {FLOOR: Bounds(1, 1)}
    assert regressed([("down_to_2", 1), ("dig", 1)], {})[0] == {FLOOR: Bounds(1, 1)}


def test_needs_of_a_place_are_combined() -> None:
    """What may start on several floors must start where the next step can follow."""
    steps = [("trade", 1), ("down_to_1", 1)]
    assert regressed(steps, {})[0] == {FLOOR: Bounds(0, 0), STONE: Bounds(1)}


def test_gaps_between_places_are_not_allowed() -> None:
    """Trading needs floor 0, 2 or 6. On floor 1, after digging, it must not look possible."""
    steps = [("down_to_1", 1), ("dig", 1), ("down_to_2", 1), ("trade", 1)]
    assert regressed(steps, {WOOD: Bounds(5)})[3] == {STONE: Bounds(1), FLOOR: Bounds(2, 2)}
    # The same when trading is what the plan leads to, not its last step.
    found = regressed(steps[:3], start_condition(SKILLS["trade"], 1, VOCABULARY))
    assert found[3] == {STONE: Bounds(1), FLOOR: Bounds(2, 2)}
    assert start_condition(SKILLS["trade"], 1, VOCABULARY)[FLOOR].values == (0, 2, 6)


def test_start_condition_is_all_that_is_required_and_consumed() -> None:
    """For n repeats."""
    assert start_condition(SKILLS["stone_tool"], 1, VOCABULARY) == {
        TABLE: Bounds(1),
        WOOD: Bounds(1),
        STONE: Bounds(1),
    }
    scaled = operator(requires={TOOL: 1, WOOD: 4}, consumes={WOOD: "n", STONE: "2*n - 1"}, gains={FOOD: "n"})
    found = start_condition(scaled, 3, VOCABULARY)
    assert found == {TOOL: Bounds(1), WOOD: Bounds(4), STONE: Bounds(5)}


def merged(*plans: Sequence[tuple[str, int]], goal: Condition) -> list[tuple[Condition, list[str]]]:
    """Rows with what is left to do; every repeat costs 1."""
    courses = [Course({}, tuple(PlanStep(*step) for step in plan)) for plan in plans]
    rows = merged_rows(courses, goal, SKILLS, VOCABULARY, lambda step: step.n)
    return [(row.condition, [f"{step.skill} {step.n}" for step in row.rest]) for row in rows]


TO_STONE_TOOL = [("wood", 6), ("table", 1), ("wood_tool", 1), ("stone", 1), ("table", 1), ("stone_tool", 1)]


def test_who_has_the_tool_gathers_for_the_next_one_only() -> None:
    """Two plans to the second tool, from nothing and with the first one; what both end with is there once.

    ::

        before                     left      because
        nothing                    11        6 wood for both tools and both tables
        tool >= 1                  6         3 wood do
        wood >= 6                  5         the first table
        table, wood >= 4           4         the first tool
        tool >= 1, wood >= 3       3         stone
        wood >= 3, stone >= 1      2         the second table
        table, wood, stone >= 1    1         the second tool
        tool >= 2                  0         the goal
    """
    rows = merged(TO_STONE_TOOL, [("wood", 3), *TO_STONE_TOOL[3:]], goal={TOOL: Bounds(2)})
    assert [condition for condition, _ in rows] == [
        {},
        {TOOL: Bounds(1)},
        {WOOD: Bounds(6)},
        {TABLE: Bounds(1), WOOD: Bounds(4)},
        {TOOL: Bounds(1), WOOD: Bounds(3)},
        {WOOD: Bounds(3), STONE: Bounds(1)},
        {TABLE: Bounds(1), WOOD: Bounds(1), STONE: Bounds(1)},
        {TOOL: Bounds(2)},
    ]
    assert [left[0] for _, left in rows[:-1]] == [
        "wood 6", "wood 3", "table 1", "wood_tool 1", "stone 1", "table 1", "stone_tool 1",
    ]  # fmt: skip
    assert rows[1][1] == ["wood 3", "stone 1", "table 1", "stone_tool 1"]
    assert rows[-1][1] == []


def test_no_row_is_farther_from_the_goal_than_beginning_anew() -> None:
    """Where no condition holds, the first row is run: it must be the first plan's."""
    detour = [("wood", 9), ("wood", 9), *TO_STONE_TOOL[1:]]
    assert merged(TO_STONE_TOOL, detour, goal={TOOL: Bounds(2)}) == merged(
        TO_STONE_TOOL, goal={TOOL: Bounds(2)}
    )


def test_a_goal_with_gaps_is_meant_where_the_first_plan_ends() -> None:
    """Trading is possible on floors 0, 2 and 6, and the plan leads to 2: on floor 1 nothing is reached."""
    goal = start_condition(SKILLS["trade"], 1, VOCABULARY)
    rows = merged([("down_to_1", 1), ("dig", 1), ("down_to_2", 1)], [("stone", 1)], goal=goal)
    assert rows == [
        ({FLOOR: Bounds(0, 0)}, ["down_to_1 1", "dig 1", "down_to_2 1"]),
        ({FLOOR: Bounds(1, 1)}, ["dig 1", "down_to_2 1"]),
        ({FLOOR: Bounds(1, 1), STONE: Bounds(1)}, ["down_to_2 1"]),
        ({FLOOR: Bounds(2, 2), STONE: Bounds(1)}, []),
    ]


def test_the_first_step_is_meant_where_the_plan_begins() -> None:
    """Trading there is possible on floor 2, not on floor 1 in between."""
    for floor in (0, 2, 6):
        assert regressed([("trade", 1)], {WOOD: Bounds(5)}, floor)[0][FLOOR] == Bounds(floor, floor)


def test_a_row_that_a_later_one_always_stands_in_for_is_left_out() -> None:
    """For stone one needs a tool; whoever has stone, too, has the tool, and is nearer to trading it."""
    goal = {WOOD: Bounds(5), FLOOR: Bounds(0, 0)}
    gather, swap = [("wood", 9)], [("stone", 2), ("trade", 1)]
    assert merged(gather, swap, goal=goal) == [
        ({FLOOR: Bounds(0, 0)}, ["wood 9"]),
        ({TOOL: Bounds(1), FLOOR: Bounds(0, 0)}, ["stone 2", "trade 1"]),
        ({STONE: Bounds(1), FLOOR: Bounds(0, 0)}, ["trade 1"]),
        (goal, []),
    ]
    rows = merged(gather, [("stone", 3), ("trade", 1)], swap, goal=goal)
    assert [left for _, left in rows] == [["wood 9"], ["stone 2", "trade 1"], ["trade 1"], []]


def holds(condition: Condition, facts: Mapping[str, int]) -> bool:
    """As the executor checks it on snapshots: bounds alone."""
    return all(
        bounds.low <= facts.get(name, 0) and (bounds.high is None or facts.get(name, 0) <= bounds.high)
        for name, bounds in condition.items()
    )


def goal_of(problem: Problem) -> Condition:
    """The goal as a condition; a place by its allowed values."""
    goal = problem.goal
    if isinstance(goal, SkillGoal):
        return start_condition(problem.operators[goal.skill], goal.n, problem.vocabulary)
    wanted: dict[str, Bounds] = {}
    for name, value in goal.facts.items():
        if problem.vocabulary[name].kind is FactKind.PLACE:
            values = tuple(sorted(value)) if isinstance(value, tuple) else (value,)
            wanted[name] = Bounds(values[0], values[-1], values)
        else:
            assert isinstance(value, int)
            wanted[name] = Bounds(value)
    return wanted


def bottomless(vocabulary: Vocabulary) -> Vocabulary:
    """The same facts without capacities: in the game a full bag loses what is gained, it does not refuse."""
    return Vocabulary([Fact(name, vocabulary[name].kind, None) for name in vocabulary])


def follow(problem: Problem, rows: Sequence[Row], facts: Mapping[str, int]) -> None:
    """Always runs the step of the last row whose condition holds, until the goal's does.

    Each step leads at least to the condition of its plan's next one, so the row only rises. The goal is not
    just taken to hold, and no step is run where it cannot be.
    """
    vocabulary = bottomless(problem.vocabulary)
    at = -1
    while at < len(rows) - 1:
        before = at
        at = max(index for index, row in enumerate(rows) if holds(row.condition, facts))
        assert at > before, (rows, before, at, facts)
        if rows[at].rest:
            facts = facts_after(rows[at].rest[0], facts, problem.operators, vocabulary)
    for name, bounds in goal_of(problem).items():
        value = facts.get(name, 0)
        assert value >= bounds.low, (rows, name, facts)
        assert bounds.values is None or value in bounds.values, (rows, name, facts)


def planned(problem: Problem) -> list[Row] | None:
    """The rows of a plan for the problem and of those from its stages; None when there is none."""
    goal = problem.goal
    if isinstance(goal, SkillGoal):
        goal = SkillGoal(goal.skill, goal.n)
    try:
        found = plan(problem.facts, problem.operators, goal, problem.vocabulary, max_states=2000)
    except (Impossible, PlanningGaveUp):
        return None
    courses = courses_from_stages(found, problem.facts, problem.operators, problem.vocabulary)
    return merged_rows(courses, goal_of(problem), problem.operators, problem.vocabulary, lambda step: step.n)


@pytest.mark.parametrize("kind", ["problem", "game"])
def test_following_the_conditions_reaches_the_goal(kind: str) -> None:
    """From where the plan was made, and from wherever else some condition holds; plans of all kinds."""
    followed = elsewhere = 0
    for seed in range(4000 if kind == "problem" else 150):
        rng = random.Random(seed)
        problem = random_problem(rng) if kind == "problem" else random_game(rng, skills=12)
        rows = planned(problem)
        if rows is None:
            continue
        facts = {name: problem.facts.get(name, 0) for name in problem.vocabulary}
        follow(problem, rows, facts)
        followed += len(rows) > 1
        for _ in range(10):
            other = {**facts, **_disturbed(rng, problem.vocabulary)}
            if any(holds(row.condition, other) for row in rows):
                follow(problem, rows, other)
                elsewhere += 1
    assert followed > 80
    assert elsewhere > 400


def _disturbed(rng: random.Random, vocabulary: Vocabulary) -> dict[str, int]:
    """Some facts as they might have become, the floor among them."""
    return {
        name: rng.randint(0, 8 if vocabulary[name].kind is FactKind.PLACE else vocabulary[name].capacity or 1)
        for name in rng.sample(list(vocabulary), min(len(vocabulary), rng.randint(1, 6)))
    }


def test_without_a_step_the_goal_is_the_condition() -> None:
    """A plan that has nothing to do."""
    assert regressed([], {WOOD: Bounds(1)}) == [{WOOD: Bounds(1)}]


def test_a_plan_from_elsewhere_is_disproved_not_followed() -> None:
    """The simulator that the tests above trust refuses what cannot run."""
    with pytest.raises(PlanDisproved, match="needs 2"):
        facts_after(PlanStep("table"), {WOOD: 1}, SKILLS, VOCABULARY)
