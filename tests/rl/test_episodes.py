"""Episodes of one policy: one from every start state, judged to its end and no further."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import ACTION, BRICKS, BUILD, COINS, COLLECT, DIE, WAIT, CoinGame, ScriptedNetwork, always

from flowrl.rl.environment import EnvPrograms, Placed
from flowrl.rl.episodes import EpisodeRunner, Outcomes
from flowrl.rl.task import MeasuredGain, Task

BATCH = 4


def enough_coins(
    start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Done when the purse has grown by n."""
    del prev
    return jnp.zeros(len(now)), now[:, COINS] >= start[:, COINS] + n


def said_so(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Done when the policy claims it, by BUILD, whatever it has."""
    del start, prev, n
    return jnp.zeros(len(now)), now[:, ACTION] == BUILD


COLLECTING = Task("collect", enough_coins, (MeasuredGain(COINS, 1, 0, "add"),), max_steps=5, max_repeat=3)
CLAIMING = Task("claim", said_so, (MeasuredGain(BRICKS, 1, 0, "add"),), max_steps=5)


def runner(game: CoinGame | None = None) -> EpisodeRunner:
    """Four envs at a time, a scripted policy."""
    network: Any = ScriptedNetwork()
    return EpisodeRunner(EnvPrograms(game or CoinGame(), BATCH), network)


def purses(runner: EpisodeRunner, count: int) -> Placed:
    """Start states with 0, 1, 2, ... coins."""
    fresh = runner.programs.fresh(jax.random.key(0), count)
    states = fresh.states._replace(coins=jnp.arange(count, dtype=jnp.int32))
    snapshot = fresh.seen.snapshot.at[:, COINS].set(jnp.arange(count))
    return Placed(states, fresh.seen._replace(snapshot=snapshot))


@pytest.fixture(scope="module")
def plain() -> EpisodeRunner:
    """Of a game without theft or time limit."""
    return runner()


def run(runner: EpisodeRunner, task: Task, action: int, count: int) -> Outcomes:
    """All episodes of a policy that always takes one action."""
    return runner.run(task, always(action), purses(runner, count), jax.random.key(1))


@pytest.mark.parametrize("count", [3, 4, 11])
def test_one_episode_from_every_start_state(plain: EpisodeRunner, count: int) -> None:
    """In their order, fewer or more than step at once; n goes round from 1 to the largest."""
    outcomes = run(plain, COLLECTING, COLLECT, count)
    np.testing.assert_array_equal(outcomes.start[:, COINS], np.arange(count))
    np.testing.assert_array_equal(outcomes.n, np.arange(count) % 3 + 1)
    assert outcomes.success.shape == (count,)
    assert all(isinstance(leaf, np.ndarray) for leaf in outcomes)


def test_outcomes_are_frozen_at_the_end(plain: EpisodeRunner) -> None:
    """The envs go on collecting beside those that need more; nothing of it is noted."""
    outcomes = run(plain, COLLECTING, COLLECT, 9)
    assert outcomes.success.all()
    assert outcomes.claimed.all()
    np.testing.assert_array_equal(outcomes.length, outcomes.n)
    np.testing.assert_array_equal(outcomes.end[:, COINS] - outcomes.start[:, COINS], outcomes.n)


def test_time_runs_out_after_max_steps_for_each_repeat(plain: EpisodeRunner) -> None:
    """Neither claimed, nor dead."""
    outcomes = run(plain, COLLECTING, WAIT, 6)
    assert not outcomes.success.any()
    assert not outcomes.claimed.any()
    assert not outcomes.died.any()
    np.testing.assert_array_equal(outcomes.length, 5 * outcomes.n)


def test_deaths_are_counted(plain: EpisodeRunner) -> None:
    """At the first step, without success, although the game goes on stepping the dead."""
    outcomes = run(plain, COLLECTING, DIE, 6)
    assert outcomes.died.all()
    assert not outcomes.success.any()
    np.testing.assert_array_equal(outcomes.length, 1)


def test_a_claim_is_not_a_success(plain: EpisodeRunner) -> None:
    """Building without a coin makes no brick: claimed, measured, found wanting. With one it does."""
    outcomes = run(plain, CLAIMING, BUILD, 4)
    assert outcomes.claimed.all()
    np.testing.assert_array_equal(outcomes.success, [False, True, True, True])
    np.testing.assert_array_equal(outcomes.length, 1)


def test_the_games_own_time_limit_ends_an_episode() -> None:
    """Without success and without a death."""
    outcomes = run(runner(CoinGame(max_time=2)), COLLECTING, COLLECT, 3)
    np.testing.assert_array_equal(outcomes.length, [1, 2, 2])
    np.testing.assert_array_equal(outcomes.success, [True, True, False])
    assert not outcomes.died.any()


def test_start_states_can_be_used_again(plain: EpisodeRunner) -> None:
    """They are copied before states are donated; the same key gives the same episodes."""
    starts = purses(plain, 6)
    first = plain.run(COLLECTING, always(COLLECT), starts, jax.random.key(1))
    second = plain.run(COLLECTING, always(COLLECT), starts, jax.random.key(1))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_chooser_plays_a_policy(plain: EpisodeRunner) -> None:
    """For play that nobody judges."""
    starts = purses(plain, BATCH)
    choose = plain.chooser(COLLECTING, always(BUILD), starts.seen)
    assert choose(starts.seen, jax.random.key(0)).tolist() == [BUILD] * BATCH


def test_the_policy_is_shown_how_many_are_left() -> None:
    """It collects while repeats are left and waits after the last, so that waiting tells that it saw none."""

    class Counting:
        def apply(self, _: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
            action = jnp.where(features[:, -2] > 0.05, COLLECT, WAIT)
            return 1000.0 * jax.nn.one_hot(action, 4), jnp.zeros(len(tiles))

    def waited(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del start, prev, n
        return jnp.zeros(len(now)), now[:, ACTION] == WAIT

    network: Any = Counting()
    task = Task("count", waited, COLLECTING.gains, max_steps=5, max_repeat=3)
    counting = EpisodeRunner(EnvPrograms(CoinGame(), BATCH), network)
    outcomes = counting.run(task, {}, purses(counting, 6), jax.random.key(0))
    assert outcomes.success.all()
    np.testing.assert_array_equal(outcomes.length, outcomes.n + 1)


def test_what_was_used_on_the_way_is_summed_up() -> None:
    """Collect a coin, build a brick of it, over again: what was spent shows, though it was earned on the way.

    Five steps from an empty purse: +1 -1 +1 -1 +1, so 3 risen and 2 fallen; from one coin as well.
    """

    class Alternating:
        def apply(self, _: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
            action = jnp.where(features[:, 0] % 2 == 0, COLLECT, BUILD)
            return 1000.0 * jax.nn.one_hot(action, 4), jnp.zeros(len(tiles))

    network: Any = Alternating()
    alternating = EpisodeRunner(EnvPrograms(CoinGame(shows="time"), BATCH), network)
    task = Task(
        "never", lambda *args: (jnp.zeros(len(args[2])), jnp.zeros(len(args[2]), bool)), (), max_steps=5
    )
    outcomes = alternating.run(task, {}, purses(alternating, 2), jax.random.key(0))
    np.testing.assert_array_equal(outcomes.rose[:, COINS], [3, 3])
    np.testing.assert_array_equal(outcomes.fell[:, COINS], [2, 2])
    np.testing.assert_array_equal(outcomes.rose[:, BRICKS], [2, 2])
    np.testing.assert_array_equal(outcomes.rose - outcomes.fell, outcomes.end - outcomes.start)


def test_nothing_is_used_after_the_end(plain: EpisodeRunner) -> None:
    """An episode that was done after n coins has gained n, however long the others beside it take."""
    outcomes = run(plain, COLLECTING, COLLECT, 9)
    np.testing.assert_array_equal(outcomes.rose[:, COINS], outcomes.n)
    np.testing.assert_array_equal(outcomes.fell[:, COINS], 0)
