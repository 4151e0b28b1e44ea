"""Counts that grow with n come out right where several n were played, and keep their form where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled_trajectories import VOCABULARY, Starts, operator, sampled

from flowrl.skills.operator import Linear, Operator
from flowrl.skills.refine_ranges import NeedRange
from flowrl.skills.refinement import Refinement, refine
from flowrl.skills.repeat_counts import best_separating
from flowrl.skills.trajectories import Trajectories

SAPLING, WOOD, STONE, TABLE = "inventory:sapling", "inventory:wood", "inventory:stone", "near:table"

SAPLING_STARTS = (
    Starts(600, {SAPLING: [6, 7]}),
    Starts(600, {SAPLING: [0, 1]}),
    Starts(600, {SAPLING: [2, 3]}),
    Starts(600, {SAPLING: [4, 5]}),
)
WOOD_STARTS = (
    Starts(600, {TABLE: 1, WOOD: [6, 7, 8, 9]}),
    Starts(600, {TABLE: 1, WOOD: [0, 1]}),
    Starts(600, {WOOD: [6, 7]}),
    Starts(600, {TABLE: 1, WOOD: [2, 3, 4, 5]}),
)
STONE_STARTS = (Starts(600, {TABLE: [0, 1], STONE: [0, 1, 2]}),)


def needing(count: int | str) -> Operator:
    return operator({SAPLING: count} if count else {}, {}, {STONE: "n"})


def using(count: int | str) -> Operator:
    return operator({TABLE: 1}, {WOOD: count} if count else {}, {STONE: "n"})


def gaining(count: int | str) -> Operator:
    return operator({}, {}, {STONE: count, "achievement:dig": 1})


def refined(truth: Operator, wrong: Operator, starts: Sequence[Starts], repeats: int = 3) -> Refinement:
    return refine(wrong, sampled(truth, starts, repeats=repeats), VOCABULARY)


SLOPES = [
    # true, declared
    ("2*n", "n"),
    ("2*n", "3*n"),
    ("2*n", 2),
    ("2*n", 6),
    ("2*n", "2*n + 1"),
    ("n + 1", 2),
    ("n + 1", "2*n"),
    ("3*n", "n"),
    (2, "2*n"),
    (2, "n"),
    (2, "n + 1"),
    (1, "3*n"),
    (0, "n"),
    (0, "2*n"),
]


@pytest.mark.parametrize(("true", "declared"), SLOPES)
def test_a_requirement_grows_as_episodes_of_several_n_show(true: int | str, declared: int | str) -> None:
    found = refined(needing(true), needing(declared), SAPLING_STARTS)
    assert found.operator.to_json() == needing(true).to_json()
    [change] = found.changes
    assert (change.part, change.fact) == ("requires", SAPLING)
    assert "measured for n = " in change.reason
    # Episodes of other n are among what it rests on: with what is needed, and with less.
    assert change.evidence["with_for_n_2"] >= 32
    assert change.evidence["without_for_n_2"] >= 32


@pytest.mark.parametrize(("true", "declared"), [pair for pair in SLOPES if 0 not in pair])
def test_what_is_used_up_grows_as_successes_show(true: int | str, declared: int | str) -> None:
    found = refined(using(true), using(declared), WOOD_STARTS)
    assert found.operator.to_json() == using(true).to_json()


@pytest.mark.parametrize(
    ("true", "declared"), [("2*n", "n"), ("2*n", "3*n"), ("2*n", 2), (2, "2*n"), (2, "n"), ("n + 1", "2*n")]
)
def test_what_is_gained_grows_as_successes_show(true: int | str, declared: int | str) -> None:
    found = refined(gaining(true), gaining(declared), STONE_STARTS)
    assert found.operator.to_json() == gaining(true).to_json()


@pytest.mark.parametrize("declared", ["n", 1])
def test_a_need_beside_another_that_grows_otherwise(declared: int | str) -> None:
    """Starts with more of both, and of each alone, tell which of the two more repeats lack."""
    truth = operator({SAPLING: "2*n"}, {WOOD: 1}, {STONE: "n"})
    wrong = operator({SAPLING: declared}, {WOOD: 1}, {STONE: "n"})
    starts = [Starts(400, {SAPLING: s, WOOD: w}) for s in ([2, 3], [4, 5], [6, 7], [0, 1]) for w in (1, 4)]
    assert refined(truth, wrong, starts).operator == truth


def test_of_two_amounts_that_go_together_neither_grows() -> None:
    """More repeats fail where there is little of both: which one they lack cannot be told."""
    truth = operator({SAPLING: "2*n"}, {}, {STONE: "n"})
    declared = operator({SAPLING: 2, WOOD: 2}, {}, {STONE: "n"})
    episodes = sampled(truth, [Starts(400, {SAPLING: 2}), Starts(400, {SAPLING: 6})], repeats=3)
    episodes.start[:, episodes.column(WOOD)] = episodes.start[:, episodes.column(SAPLING)]
    episodes.end[:, episodes.column(WOOD)] = episodes.start[:, episodes.column(SAPLING)]
    assert refine(declared, episodes, VOCABULARY).operator == declared


@pytest.mark.parametrize(("declared", "expected"), [("n", "2*n"), (1, 2), ("n + 1", "n + 1")])
def test_with_one_n_played_the_declared_form_stays(declared: int | str, expected: int | str) -> None:
    found = refined(needing("2*n"), needing(declared), SAPLING_STARTS, repeats=1)
    assert found.operator == needing(expected)
    for change in found.changes:
        assert "measured for n = 1 alone" in change.reason
        assert not any(key.endswith("_for_n_2") for key in change.evidence)


@pytest.mark.parametrize(("declared", "expected"), [("n", "2*n"), (1, 2)])
def test_repeats_that_never_succeed_tell_nothing_about_slopes(
    declared: int | str, expected: int | str
) -> None:
    """A policy that can do it once: that it fails twice says nothing about what it lacks."""
    once = sampled(needing(2), SAPLING_STARTS, repeats=1)
    more = sampled(needing(2), SAPLING_STARTS, seed=1, success=0.0, repeats=1)
    more.n[:] = 2
    found = refine(needing(declared), Trajectories.joined([once, more]), VOCABULARY)
    assert found.operator == needing(expected)


@given(
    seed=st.integers(0, 10_000),
    need=st.sampled_from([1, 2, "n", "2*n", "n + 1", "3*n"]),
    used=st.sampled_from([0, 1, "n", "2*n"]),
    success=st.sampled_from([0.75, 0.9, 1.0]),
    size=st.sampled_from([48, 150, 400]),
)
@settings(max_examples=25, derandomize=True)
def test_a_right_slope_is_left_alone(
    seed: int, need: int | str, used: int | str, success: float, size: int
) -> None:
    truth = operator({SAPLING: need, TABLE: 1}, {WOOD: used} if used else {}, {STONE: "n"})
    having: dict[str, Any] = {TABLE: 1, WOOD: [6, 7, 8], SAPLING: 9}
    starts = [
        Starts(size, having),
        Starts(size, {**having, SAPLING: [0, 1, 2, 3, 4, 5, 6]}),
        Starts(size, {**having, WOOD: [0, 1, 2, 3, 4, 5]}),
        Starts(size, {**having, TABLE: 0}),
    ]
    episodes = sampled(truth, starts, seed, success, repeats=3)
    assert refine(truth, episodes, VOCABULARY).changes == ()


def test_the_line_that_explains_most_episodes_by_hand() -> None:
    """n = 1 begins with 0 to 3, n = 2 with 2 or 4, ten episodes each; from 2*n on they succeed."""
    once = NeedRange(2, 2, {0: (0, 10), 1: (0, 10), 2: (9, 10), 3: (10, 10)})
    twice = NeedRange(3, 4, {2: (1, 10), 4: (10, 10)})
    # Needing 2: one failure with it. 1: ten failures with 1 besides. 3: nine successes with 2.
    assert [once.misfits(need) for need in (1, 2, 3)] == [11, 1, 9]
    assert [twice.misfits(need) for need in (2, 3, 4, 5)] == [9, 1, 1, 11]
    found = {1: once, 2: twice}

    def best(declared: Linear) -> Linear:
        ranges = {n: (one.low, one.high) for n, one in found.items()}
        return best_separating(
            ranges, lambda n, need: found[n].misfits(need), Linear(0, 0), declared, Linear(0, 2)
        )

    # 2*n and n + 1 lie within both ranges and explain as much: what was declared stays, else the simpler.
    assert best(Linear(1, 1)) == Linear(1, 1)
    assert best(Linear(1, 0)) == Linear(2, 0)
    assert best(Linear(0, 2)) == Linear(2, 0)
