"""Plans carried out by scripted policies on a game of coins and bricks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import (
    ACTION,
    BRICKS,
    BUILD,
    COINS,
    COLLECT,
    COLUMNS,
    DIE,
    TIME,
    WAIT,
    CoinGame,
    ScriptedNetwork,
    State,
    always,
)

from flowrl.rl.environment import EnvPrograms, Placed, Seen
from flowrl.rl.executor import LEFT_BEHIND, PlanExecutor, PlanProgram, Reached, _bank, _Run, hopeless
from flowrl.rl.maintenance import InForce
from flowrl.rl.task import MeasuredGain, Task

BATCH = 8


def no_goal(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of a task whose policy is scripted anyway."""
    del start, prev, n
    return jnp.zeros(len(now)), jnp.zeros(len(now), bool)


TASK = Task("scripted", no_goal, (MeasuredGain(COINS, 1, 0, "add"),), max_steps=10, max_repeat=9)


def at_least(**amounts: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on snapshot columns from below."""
    low = np.full(len(COLUMNS), -np.inf, np.float32)
    for name, amount in amounts.items():
        low[COLUMNS.index(name)] = amount
    return low, np.full(len(COLUMNS), np.inf, np.float32)


def program(*steps: tuple[dict[str, int], int, int], goal: dict[str, int]) -> PlanProgram:
    """A plan from ``(condition, policy, n)`` a step."""
    bounds = [at_least(**condition) for condition in (*(condition for condition, _, _ in steps), goal)]
    return PlanProgram(
        np.stack([low for low, _ in bounds]),
        np.stack([high for _, high in bounds]),
        np.array([policy for _, policy, _ in steps], np.int32),
        np.array([n for _, _, n in steps], np.int32),
    )


BRICK_PLAN = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 1})
"""Collect two coins, build one brick."""


def reach(
    game: CoinGame,
    plan: PlanProgram,
    actions: list[int],
    *,
    max_steps: int = 10,
    worlds: int = 20,
) -> Reached:
    """Carries the plan out with policies that always take one action each."""
    network: Any = ScriptedNetwork()
    executor = PlanExecutor(EnvPrograms(game, BATCH), network)
    fresh = executor.programs.fresh(jax.random.key(0), worlds)
    policies = [always(action) for action in actions]
    return executor.reach(plan, [TASK] * len(actions), policies, fresh, max_steps, jax.random.key(1))


def banked(reached: Reached, column: int) -> np.ndarray:
    """One snapshot column of the banked states; the states and what is seen of them must agree."""
    assert reached.starts is not None
    seen = np.asarray(reached.starts.seen.snapshot[:, column])
    np.testing.assert_array_equal(seen, np.asarray(reached.starts.states[column]))
    return seen


def test_a_plan_of_two_policies_reaches_its_goal() -> None:
    """Two coins, then a brick: three steps, in every world."""
    reached = reach(CoinGame(), BRICK_PLAN, [COLLECT, BUILD])
    assert reached.starts is not None
    assert reached.starts.rows == 20
    np.testing.assert_array_equal(banked(reached, BRICKS), 1)
    np.testing.assert_array_equal(banked(reached, COINS), 1)
    np.testing.assert_array_equal(banked(reached, TIME), 3)
    assert reached.attempts >= 20
    assert reached.deaths == 0


def test_a_step_that_came_undone_is_redone() -> None:
    """The coins are stolen at time 2, in the moment when there are enough: two more are collected."""
    reached = reach(CoinGame(theft_at=2), BRICK_PLAN, [COLLECT, BUILD])
    np.testing.assert_array_equal(banked(reached, BRICKS), 1)
    np.testing.assert_array_equal(banked(reached, TIME), 5)


def test_a_step_that_is_not_needed_is_skipped() -> None:
    """Worlds that begin with coins start at the second step."""

    class Rich(CoinGame):
        def generate(self, key: jax.Array) -> State:
            return super().generate(key)._replace(coins=jnp.int32(2))

    reached = reach(Rich(), BRICK_PLAN, [COLLECT, BUILD])
    np.testing.assert_array_equal(banked(reached, TIME), 1)


def test_upper_bounds_hold_too() -> None:
    """A goal of exactly two coins is left behind by a policy that collects on; one of at least two is not."""
    plan = program(({}, 0, 2), goal={"coins": 2, "time": 3})
    plan.high[-1, COINS] = 2
    reached = reach(CoinGame(), plan, [COLLECT], max_steps=6)
    assert reached.starts is None
    plan.high[-1, COINS] = 3
    np.testing.assert_array_equal(banked(reach(CoinGame(), plan, [COLLECT], max_steps=6), COINS), 3)


def test_deaths_are_counted() -> None:
    """Every world ends by death at the second step; nothing is banked."""
    plan = program(({}, 0, 1), ({"coins": 1}, 1, 1), goal={"bricks": 1})
    reached = reach(CoinGame(), plan, [COLLECT, DIE], max_steps=4)
    assert reached.starts is None
    assert reached.attempts > BATCH
    assert reached.deaths == reached.attempts


def test_the_dead_are_not_banked() -> None:
    """Death in the moment of reaching the goal is a death."""
    plan = program(({}, 0, 1), goal={"hurt": 1})
    reached = reach(CoinGame(), plan, [DIE], max_steps=4)
    assert reached.starts is None
    assert reached.deaths == reached.attempts > 0


@pytest.mark.parametrize("max_time", [2, 1_000_000])
def test_worlds_that_run_out_of_time_are_attempts_but_not_deaths(max_time: int) -> None:
    """Whether the game or the plan sets the limit."""
    reached = reach(CoinGame(max_time=max_time), BRICK_PLAN, [WAIT, WAIT], max_steps=4)
    assert reached.starts is None
    assert reached.attempts > 0
    assert reached.deaths == 0


def test_an_empty_plan_returns_worlds() -> None:
    """All of them, without a step."""
    nothing = PlanProgram(
        np.full((1, len(COLUMNS)), -np.inf, np.float32),
        np.full((1, len(COLUMNS)), np.inf, np.float32),
        np.zeros(0, np.int32),
        np.zeros(0, np.int32),
    )
    reached = reach(CoinGame(), nothing, [], worlds=5)
    assert reached.starts is not None
    assert reached.starts.rows == 5
    np.testing.assert_array_equal(banked(reached, TIME), 0)


def test_every_world_is_handed_out_once() -> None:
    """At most one state of each, so that start states are independent."""

    class Numbered(CoinGame):
        def generate(self, key: jax.Array) -> State:
            return super().generate(key)._replace(hurt=-jax.random.randint(key, (), 1, 1 << 20))

    reached = reach(Numbered(), BRICK_PLAN, [COLLECT, BUILD], worlds=24)
    assert len(set(banked(reached, COLUMNS.index("hurt")).tolist())) == 24


def test_a_policy_is_shown_the_repeats_of_its_step() -> None:
    """It collects while any are left and then waits: with n = 3, exactly three coins from where it began."""

    class Counting:
        def apply(self, _: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
            action = jnp.where(features[:, -2] > 0.05, COLLECT, WAIT)
            return 1000.0 * jax.nn.one_hot(action, 4), jnp.zeros(len(tiles))

    network: Any = Counting()
    executor = PlanExecutor(EnvPrograms(CoinGame(), BATCH), network)
    plan = program(({}, 0, 3), goal={"coins": 1})
    plan.low[-1, ACTION] = plan.high[-1, ACTION] = WAIT
    fresh = executor.programs.fresh(jax.random.key(0), 12)
    reached = executor.reach(plan, [TASK], [always(WAIT)], fresh, 8, jax.random.key(1))
    np.testing.assert_array_equal(banked(reached, COINS), 3)
    np.testing.assert_array_equal(banked(reached, TIME), 4)


@pytest.mark.parametrize("seed", range(4))
def test_what_reached_the_goal_is_appended_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    room, batch = 20, 4
    empty = Seen(
        jnp.zeros((room, 1, 1, 1), jnp.uint8),
        jnp.zeros((room, 1)),
        jnp.full((room, 1), -1.0),
        jnp.zeros(room, bool),
        jnp.zeros(room, bool),
    )
    zero = jnp.int32(0)
    run = _Run(zero, zero, zero, InForce.none(batch, 0), Placed(jnp.full(room, -1), empty), *(zero,) * 5)
    expected: list[int] = []
    for wave in range(5):
        numbers = np.arange(batch) + 10 * wave
        reached = rng.random(batch) < 0.5
        expected += numbers[reached].tolist()
        seen = jax.tree.map(lambda leaf: leaf[:batch], empty)
        seen = seen._replace(snapshot=jnp.asarray(numbers[:, None], jnp.float32))
        run = jax.jit(_bank)(run, Placed(jnp.asarray(numbers), seen), jnp.asarray(reached))
        assert int(run.filled) == len(expected)
        kept = expected + [-1] * (room - len(expected))
        assert run.banked.states.tolist() == kept
        assert run.banked.seen.snapshot[:, 0].tolist() == kept


def test_slow_worlds_are_banked_as_well_as_quick_ones() -> None:
    """A quarter of the worlds is rid of its coins late, when all others have long ended."""

    class Slow(CoinGame):
        def generate(self, key: jax.Array) -> State:
            return super().generate(key)._replace(hurt=-jax.random.bernoulli(key, 0.25).astype(jnp.int32))

        def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
            after = super().step(state, action, key)
            return after._replace(coins=jnp.where((after.hurt < 0) & (after.time < 30), 0, after.coins))

    reached = reach(Slow(), BRICK_PLAN, [COLLECT, BUILD], worlds=40, max_steps=50)
    times = banked(reached, TIME)
    assert reached.attempts == len(times) >= (1 - LEFT_BEHIND) * 40
    assert sorted(set(times.tolist())) == [3, 32]
    slow = banked(reached, COLUMNS.index("hurt")) < 0
    np.testing.assert_array_equal(times == 32, slow)
    assert 0 < slow.sum() < 20


def test_a_hopeless_plan_is_given_up_early() -> None:
    """Nothing reaches the goal: given up when that is sure, long before all worlds are through."""
    network: Any = ScriptedNetwork()
    programs = EnvPrograms(CoinGame(), BATCH)
    executor = PlanExecutor(programs, network)
    worlds = programs.fresh(jax.random.key(0), 100 * BATCH)
    reached = executor.reach(BRICK_PLAN, [TASK] * 2, [always(WAIT)] * 2, worlds, 10, jax.random.key(1))
    assert reached.starts is None
    assert 190 <= reached.attempts <= 230


@pytest.mark.parametrize(
    ("reached", "attempts", "given_up"),
    [(0, 0, False), (0, 117, False), (2, 128, False), (0, 190, True), (2, 400, True), (30, 1000, False)],
)
def test_bad_luck_in_a_few_worlds_is_not_hopeless(reached: int, attempts: int, given_up: bool) -> None:
    assert hopeless(reached, attempts) is given_up
