"""What counts as success, and what a policy sees of its own task."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.rl.task import REWARD_LIMIT, GoalTable, MeasuredGain, Progress, Task, goal_features, judge

OWN, DONE, WOOD = range(3)
"""Snapshot columns: the reward and the done that the skill's code gives, and what is really there."""


def scripted(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Skill code that says what the snapshot tells it to."""
    del start, prev, n
    return now[:, OWN], now[:, DONE] > 0


TASK = Task(
    "wood",
    scripted,
    (MeasuredGain(WOOD, 1, 0, "add", 9),),
    max_steps=10,
    max_repeat=3,
    success_bonus=2.0,
    death_penalty=0.5,
)


def verdict_of(
    now: list[float],
    *,
    start: tuple[float, float, float] = (0, 0, 0),
    n: int = 1,
    steps: int = 1,
    died: bool = False,
    time_up: bool = False,
) -> dict[str, float]:
    """The judge's verdict on one env."""
    progress = Progress(
        jnp.array([start], float), jnp.array([start], float), jnp.array([n]), jnp.array([steps])
    )
    verdict = judge(TASK, progress, jnp.array([now], float), jnp.array([died]), jnp.array([time_up]))
    return {name: value[0].item() for name, value in verdict._asdict().items()}


def outcome(verdict: dict[str, float]) -> tuple[bool, bool, bool]:
    """``(terminated, truncated, success)``."""
    return bool(verdict["terminated"]), bool(verdict["truncated"]), bool(verdict["success"])


def test_success_needs_done_measured_and_alive() -> None:
    """All three give the bonus and end the episode."""
    verdict = verdict_of([0.25, 1, 1])
    assert outcome(verdict) == (True, False, True)
    assert verdict["reward"] == pytest.approx(0.25 + 2.0)


def test_a_false_claim_ends_without_a_bonus() -> None:
    """Done, says the skill, but nothing was gained."""
    verdict = verdict_of([0.25, 1, 0])
    assert outcome(verdict) == (True, False, False)
    assert verdict["reward"] == pytest.approx(0.25)


def test_a_gain_that_is_not_claimed_goes_on() -> None:
    """The skill's own done decides when to stop."""
    verdict = verdict_of([0.25, 0, 5])
    assert outcome(verdict) == (False, False, False)
    assert verdict["reward"] == pytest.approx(0.25)


def test_death_ends_and_costs_even_in_the_moment_of_success() -> None:
    """Dying with the goal in hand is no success."""
    for now in ([0.25, 0, 0], [0.25, 1, 1]):
        verdict = verdict_of(now, died=True)
        assert outcome(verdict) == (True, False, False)
        assert verdict["reward"] == pytest.approx(0.25 - 0.5)


def test_time_runs_out_after_max_steps_for_each_repeat() -> None:
    """n times max_steps; the last step itself may still succeed."""
    assert outcome(verdict_of([0, 0, 0], steps=9)) == (False, False, False)
    assert outcome(verdict_of([0, 0, 0], steps=10)) == (False, True, False)
    assert outcome(verdict_of([0, 0, 0], steps=29, n=3)) == (False, False, False)
    assert outcome(verdict_of([0, 0, 0], steps=30, n=3)) == (False, True, False)
    assert outcome(verdict_of([0, 1, 3], steps=30, n=3)) == (True, False, True)
    assert outcome(verdict_of([0, 1, 2], steps=30, n=3)) == (True, False, False)


def test_the_games_own_time_limit_truncates() -> None:
    """It is not the skill's failure: nothing is taken away."""
    verdict = verdict_of([0.25, 0, 0], time_up=True)
    assert outcome(verdict) == (False, True, False)
    assert verdict["reward"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (1e9, REWARD_LIMIT),
        (-1e9, -REWARD_LIMIT),
        (np.inf, REWARD_LIMIT),
        (-np.inf, -REWARD_LIMIT),
        (np.nan, 0.0),
    ],
)
def test_wild_rewards_are_tamed(own: float, kept: float) -> None:
    """Clipped, and never NaN."""
    assert verdict_of([own, 0, 0])["reward"] == pytest.approx(kept)


@pytest.mark.parametrize(
    ("mode", "slope", "offset", "capacity", "n", "start", "now", "met"),
    [
        ("add", 1, 0, None, 3, 2, 5, True),
        ("add", 1, 0, None, 3, 2, 4, False),
        ("add", 2, 1, None, 2, 1, 6, True),
        ("add", 2, 1, None, 2, 1, 5, False),
        ("add", 1, 0, 9, 3, 8, 9, True),
        ("add", 1, 0, 9, 3, 5, 7, False),
        ("level", 0, 2, None, 1, 2, 2, True),
        ("level", 0, 2, None, 1, 0, 3, True),
        ("level", 0, 2, None, 1, 0, 1, False),
        ("equal", 0, 2, None, 1, 0, 2, True),
        ("equal", 0, 2, None, 1, 0, 3, False),
    ],
)
def test_gains_are_measured(
    mode: Literal["add", "level", "equal"],
    slope: int,
    offset: int,
    capacity: int | None,
    n: int,
    start: float,
    now: float,
    met: bool,
) -> None:
    """Grown by the amount or at capacity; at least; exactly."""
    gain = MeasuredGain(1, slope, offset, mode, capacity)
    found = gain.met(jnp.array([[99.0, start]]), jnp.array([[-99.0, now]]), jnp.array([n]))
    assert bool(found[0]) is met


def test_every_gain_must_be_measured() -> None:
    """One of two is not enough."""
    task = Task("two", scripted, (MeasuredGain(OWN, 0, 1, "level"), MeasuredGain(WOOD, 0, 1, "level")), 10)
    zero = jnp.zeros((4, 3))
    now = jnp.array([[0, 1, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]], float)
    no = jnp.zeros(4, bool)
    verdict = judge(task, Progress(zero, zero, jnp.ones(4, int), jnp.ones(4, int)), now, no, no)
    assert verdict.success.tolist() == [False, False, False, True]


def counting(column: int, slope: int, offset: int) -> Task:
    """A task that counts one column."""
    return Task(
        "t", scripted, (MeasuredGain(0, 0, 1, "level"), MeasuredGain(column, slope, offset, "add")), 1
    )


def test_goal_features_tell_how_many_repeats_are_left() -> None:
    """In tens, and whether it is the last; each env by its own row of the table."""
    table = GoalTable.of([counting(1, 1, 0), counting(2, 2, 1), None, Task("flag", scripted, (), 1)])
    which = jnp.array([0, 0, 0, 0, 1, 1, 1, 2, 3])
    n = jnp.array([3, 3, 3, 3, 2, 2, 2, 5, 5])
    start = jnp.tile(jnp.array([[50.0, 2.0, 10.0]]), (9, 1))
    # Env 0..3 count column 1 from 2; env 4..6 need 2 * 2 + 1 more of column 2 than 10, two a repeat.
    now = jnp.array(
        [
            [0, 2, 0],
            [0, 4, 0],
            [0, 9, 0],
            [0, 0, 0],
            [0, 0, 10],
            [0, 0, 12],
            [0, 0, 15],
            [7, 7, 7],
            [7, 7, 7],
        ],
        float,
    )
    left, last = goal_features(table, which, start, now, n).T
    np.testing.assert_allclose(left * 10, [3, 1, 0, 3, 2, 2, 0, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(last, [0, 1, 1, 0, 0, 0, 1, 1, 1])


def test_the_counted_gain_is_the_one_that_grows_with_n() -> None:
    """Levels and constants are not counted."""
    assert counting(2, 1, 0).counted == MeasuredGain(2, 1, 0, "add")
    assert counting(2, 0, 3).counted is None
