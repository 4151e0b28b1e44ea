"""Fresh worlds, stepping them, and copying rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import COLLECT, DIE, CoinGame, State

from flowrl.report.bench_slots import compilations
from flowrl.rl.environment import WORLD_CHUNK, EnvPrograms, copy_rows


class NumberedGame(CoinGame):
    """Every world has a number of its own, so that worlds can be told apart."""

    def generate(self, key: jax.Array) -> State:
        """The key's own number, as coins."""
        return super().generate(key)._replace(coins=jax.random.randint(key, (), 0, 1 << 20))


@pytest.fixture(scope="module")
def programs() -> EnvPrograms:
    """Four envs at a time."""
    return EnvPrograms(NumberedGame(), 4)


@pytest.mark.parametrize("seed", range(8))
def test_copy_rows_against_numpy(seed: int) -> None:
    """Leaves of several ranks and dtypes; none, some and all rows chosen."""
    rng = np.random.default_rng(seed)
    batch, bank = 6, 4
    target = {
        "a": rng.normal(size=(batch, 3)),
        "b": rng.integers(0, 9, batch),
        "c": rng.random((batch, 2, 2)) < 0.5,
    }
    source = {
        "a": rng.normal(size=(bank, 3)),
        "b": rng.integers(0, 9, bank),
        "c": rng.random((bank, 2, 2)) < 0.5,
    }
    rows, chosen = rng.integers(0, bank, batch), rng.random(batch) < [0.0, 1.0, 0.5, 0.5][seed % 4]
    arrays: Any = jax.tree.map(jnp.asarray, (target, source, rows, chosen))
    found = jax.jit(copy_rows)(*arrays)
    for name in target:
        expected = np.asarray(arrays[0][name]).copy()
        for env in range(batch):
            if chosen[env]:
                expected[env] = arrays[1][name][rows[env]]
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == arrays[0][name].dtype


def test_fresh_worlds_follow_from_the_key(programs: EnvPrograms) -> None:
    """The same key, the same worlds; more of them begin with the same ones; all differ."""
    few = programs.fresh(jax.random.key(3), 5)
    many = programs.fresh(jax.random.key(3), WORLD_CHUNK + 10)
    others = programs.fresh(jax.random.key(4), WORLD_CHUNK)
    assert few.rows == 5
    assert many.rows == WORLD_CHUNK + 10
    np.testing.assert_array_equal(few.states.coins, many.states.coins[:5])
    numbers = np.concatenate([many.states.coins, others.states.coins])
    assert len(set(numbers.tolist())) == len(numbers)


def test_fresh_worlds_are_seen(programs: EnvPrograms) -> None:
    """What is seen belongs to the state in the same row."""
    fresh = programs.fresh(jax.random.key(0), 9)
    np.testing.assert_array_equal(fresh.seen.snapshot[:, State._fields.index("coins")], fresh.states.coins)
    assert not fresh.seen.died.any()
    assert not fresh.seen.time_up.any()


def test_advancing_never_resets(programs: EnvPrograms) -> None:
    """The dead stay dead and time goes on for them."""
    placed = programs.fresh(jax.random.key(0), 4)
    coins = np.asarray(placed.states.coins)
    before = programs.env_steps
    actions = jnp.array([COLLECT, COLLECT, COLLECT, DIE])
    for step in range(3):
        placed = programs.advance(placed.states, actions, jax.random.key(step))
        assert placed.seen.died.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(placed.states.time, 3)
    np.testing.assert_array_equal(placed.states.coins, coins + np.array([3, 3, 3, 0]))
    assert programs.env_steps == before + 12


def test_envs_step_with_keys_of_their_own(programs: EnvPrograms) -> None:
    """Another key at the next step, another in the next env."""
    wide = EnvPrograms(programs.env, 64)
    placed = wide.fresh(jax.random.key(0), 64)
    signals = []
    for step in range(2):
        placed = wide.advance(placed.states, jnp.zeros(64, jnp.int32), jax.random.key(step))
        signals.append(placed.states.signal.tolist())
    assert signals[0] != signals[1]
    assert len(set(signals[0])) == 2


def test_worlds_and_steps_are_compiled_once() -> None:
    """Whatever the number of worlds, and whether states are fresh, stepped or copied."""
    programs = EnvPrograms(NumberedGame(), 4)
    with compilations() as names:
        for count in (3, 4, 100):
            placed = programs.fresh(jax.random.key(count), count)
        placed = programs.fresh(jax.random.key(0), 4)
        for step in range(3):
            placed = programs.advance(placed.states, jnp.zeros(4, jnp.int32), jax.random.key(step))
        host = jax.tree.map(jnp.asarray, jax.device_get(placed.states))
        programs.advance(host, np.ones(4, np.int32), jax.random.key(9))
    assert names["_generate_chunk"] == 1
    assert names["_advance_batch"] == 1
