"""What progress pays, step by step, on a plan of coins and a brick."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import BRICKS, COINS, COLUMNS, TIME
from test_executor import BRICK_PLAN, TASK, program

from flowrl.rl.agent_program import AgentProgram, ProgramTable
from flowrl.rl.maintenance import Rule
from flowrl.rl.milestones import MOST_PAID, NEW_TILE, OWN_LIMIT, STEP_BONUS, Milestones, pay
from flowrl.rl.pursuit import nothing_pursued, pursue
from flowrl.rl.task import GoalTable

FIVE_COINS = program(({}, 0, 5), goal={"coins": 5})
RULE = Rule(column=TIME, below=0, until=1, policy=1, patience=9, rest=9)
"""Wanted at time 0, and over at time 1."""


class Payer:
    """One env that is paid step by step, with scripted snapshots."""

    def __init__(self, *targets: object) -> None:
        agent = AgentProgram(targets, (99,) * len(targets), (RULE,))  # type: ignore[arg-type]
        self._table = ProgramTable.of(agent, GoalTable.of([TASK, TASK]))
        self._now = self._snapshot(0, 0)
        self._doing = nothing_pursued(self._table, self._now)
        self._milestones = Milestones.none(1, 1)

    def _snapshot(self, coins: int, bricks: int, time: int = 1) -> jnp.ndarray:
        row = np.zeros((1, len(COLUMNS)), np.float32)
        row[0, COINS], row[0, BRICKS], row[0, TIME] = coins, bricks, time
        return jnp.asarray(row)

    def begin_another_episode(self) -> None:
        """As after a death: a fresh world, and nothing pursued."""
        self._milestones = self._milestones.forgotten(jnp.array([True]))
        self._now = self._snapshot(0, 0)
        self._doing = nothing_pursued(self._table, self._now)

    def step(
        self, coins: int, bricks: int = 0, own: float = 0.0, time: int = 1, searched: float = 0.0
    ) -> float:
        """What a step to so many coins and bricks pays; the rule is in force from time 0 to time 1."""
        self._doing = pursue(self._table, self._now, self._doing)
        after = self._snapshot(coins, bricks, time)
        paid, self._milestones = pay(
            self._table, self._milestones, self._doing, self._now, after, jnp.array([own]),
            jnp.array([searched]),
        )  # fmt: skip
        self._now = after
        return float(paid[0])


def test_each_step_of_a_plan_pays_once() -> None:
    payer = Payer(BRICK_PLAN)
    assert payer.step(coins=1) == 0
    assert payer.step(coins=2) == STEP_BONUS
    assert payer.step(coins=0) == 0
    assert payer.step(coins=2) == 0, "the same coins again"
    assert payer.step(coins=0, bricks=1) == STEP_BONUS


def test_own_rewards_are_paid_up_to_a_limit() -> None:
    """Two coins are asked for at the first step, so two repeats' worth; a coin that is lost pays back."""
    payer = Payer(BRICK_PLAN)
    assert payer.step(coins=1, own=1.0) == 1.0
    assert payer.step(coins=0, own=-1.0) == -1.0
    assert payer.step(coins=1, own=1.0) == 1.0
    assert payer.step(coins=1, own=5.0) == np.float32(2 * MOST_PAID - 1), "clipped by what is left"
    assert payer.step(coins=1, own=5.0) == 0


def test_below_the_farthest_step_only_losses_count() -> None:
    payer = Payer(BRICK_PLAN)
    payer.step(coins=2)
    assert payer.step(coins=1, own=0.0) == 0
    assert payer.step(coins=1, own=0.7) == 0
    assert payer.step(coins=0, own=-0.7) == np.float32(-0.7)


def test_a_rule_pays_up_to_a_limit_until_it_is_no_longer_wanted() -> None:
    """What is farmed while a rule is in force pays no more than doing once what it is for."""
    payer = Payer(BRICK_PLAN)
    payer.step(coins=0, time=0)
    assert payer.step(coins=0, own=0.8, time=0) == np.float32(0.8)
    assert payer.step(coins=0, own=0.8, time=0) == pytest.approx(MOST_PAID - 0.8)
    assert payer.step(coins=0, own=0.8, time=0) == 0
    assert payer.step(coins=0, own=-0.5, time=0) == -0.5
    assert payer.step(coins=0, own=OWN_LIMIT + 9, time=1) == 0.5
    assert payer.step(coins=0, own=float("nan"), time=0) == 0
    assert payer.step(coins=0, own=0.7, time=0) == np.float32(0.7), "wanted again, after it was not"


def test_another_target_begins_anew() -> None:
    """What the second target's plan needs and has already is no progress of its own."""
    payer = Payer(BRICK_PLAN, FIVE_COINS)
    payer.step(coins=2)
    assert payer.step(coins=1, bricks=1) == STEP_BONUS
    assert payer.step(coins=2, bricks=1, own=1.0) == 1.0
    assert payer.step(coins=5, bricks=1, own=1.0) == 1.0 + STEP_BONUS


def test_an_ended_episode_is_forgotten() -> None:
    payer = Payer(BRICK_PLAN)
    payer.step(coins=2)
    payer.begin_another_episode()
    assert payer.step(coins=2) == STEP_BONUS


def test_new_tiles_pay_while_something_is_searched_for() -> None:
    """Not under a rule, nor when nothing is left to be reached; beside what a skill's own reward pays."""
    payer = Payer(BRICK_PLAN)
    payer.step(coins=0, time=0)
    assert payer.step(coins=0, searched=9.0, time=1) == 0
    assert payer.step(coins=0, searched=9.0) == pytest.approx(9 * NEW_TILE)
    assert payer.step(coins=1, own=1.0, searched=4.5) == pytest.approx(1 + 4.5 * NEW_TILE)
    payer.step(coins=2)
    payer.step(coins=0, bricks=1)
    assert payer.step(coins=0, bricks=1, searched=9.0) == 0
