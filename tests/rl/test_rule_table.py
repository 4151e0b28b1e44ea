"""Maintenance rules: when they begin and end, and what training, episodes and plans make of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import ACTION, BRICKS, COINS, COLLECT, COLUMNS, TIME, CoinGame, ProbeGame
from small_trainers import BANK, small_trainer, starts_of

from flowrl.rl.episodes import EpisodeRunner
from flowrl.rl.maintenance import InForce, Maintenance, Rule, RuleTable, rules_in_force
from flowrl.rl.task import MeasuredGain, Task

COLUMN_COUNT = len(COLUMNS)


def in_turn(rules: list[Rule], rows: list[dict[int, float]], places: int | None = None) -> list[int]:
    """The rule in force at each of one env's snapshots, given as column -> value."""
    table = RuleTable.of(rules, COLUMN_COUNT, places)
    state = InForce.none(1, table.places)
    seen = []
    for row in rows:
        snapshot = np.zeros((1, COLUMN_COUNT), np.float32)
        for column, value in row.items():
            snapshot[0, column] = value
        state = rules_in_force(table, jnp.asarray(snapshot), state)
        seen.append(int(state.rule[0]))
    return seen


def test_a_rule_goes_on_until_its_column_is_up() -> None:
    rule = Rule(COINS, below=2, until=5, policy=0, patience=99, rest=1)
    assert in_turn([rule], [{COINS: c} for c in (4, 3, 2, 3, 4, 5, 4, 2)]) == [-1, -1, 0, 0, 0, -1, -1, 0]


def test_the_first_rule_that_is_wanted_goes_first() -> None:
    rules = [Rule(COINS, 1, 2, 0, 99, 1), Rule(BRICKS, 1, 2, 0, 99, 1)]
    rows = [{COINS: 5, BRICKS: 0}, {COINS: 0, BRICKS: 0}, {COINS: 5, BRICKS: 0}, {COINS: 5, BRICKS: 5}]
    assert in_turn(rules, rows) == [1, 0, 1, -1]


def test_what_does_not_come_about_gives_way_and_rests() -> None:
    rule = Rule(COINS, below=1, until=2, policy=0, patience=3, rest=2)
    assert in_turn([rule], [{COINS: 0}] * 9) == [0, 0, 0, -1, -1, 0, 0, 0, -1]


def test_a_rule_waits_for_what_its_policy_needs() -> None:
    rule = Rule(COINS, below=1, until=2, policy=0, patience=99, rest=1, needs={BRICKS: 2})
    assert in_turn([rule], [{BRICKS: b} for b in (0, 1, 2, 1)]) == [-1, -1, 0, -1]


def test_a_rule_goes_on_until_what_it_gives_is_there() -> None:
    """Rested, but still walled in."""
    rule = Rule(COINS, below=1, until=3, policy=0, patience=99, rest=1, gives={BRICKS: 2})
    rows = [{COINS: 1}, {COINS: 4}, {COINS: 4, BRICKS: 1}, {COINS: 4, BRICKS: 2}, {COINS: 4}]
    assert in_turn([rule], rows) == [0, 0, 0, -1, -1]


def test_empty_places_never_begin_and_too_many_rules_are_refused() -> None:
    rule = Rule(COINS, below=1, until=2, policy=0, patience=99, rest=1)
    assert in_turn([rule], [{COINS: 0}, {COINS: 9}], places=3) == [0, -1]
    assert in_turn([], [{COINS: 0}], places=2) == [-1]
    assert in_turn([], [{COINS: 0}]) == [-1]
    with pytest.raises(ValueError, match="2 rules, but room for 1"):
        RuleTable.of([rule, rule], COLUMN_COUNT, 1)


def test_an_episode_that_begins_forgets_the_last_one() -> None:
    state = InForce(jnp.array([1, 0]), jnp.array([[3, -5], [2, 4]])).restarted(jnp.array([True, False]))
    assert state.rule.tolist() == [-1, 0]
    assert state.spent.tolist() == [[0, 0], [2, 4]]


def collect_after(coins: int) -> Task:
    """Done with so many coins more than at the start; pays nothing on the way."""

    def program(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del prev, n
        return jnp.zeros(len(now)), now[:, COINS] >= start[:, COINS] + coins

    return Task("collect", program, (MeasuredGain(COINS, 0, coins, "add"),), max_steps=12)


def always_collect(trainer: object, rule: Rule, places: int = 2) -> Maintenance:
    """A rule whose policy collects, whatever it sees."""
    params = trainer.initial_params(jax.random.key(0))  # type: ignore[attr-defined]
    forced = jax.tree.map(jnp.zeros_like, params)
    forced["policy"]["bias"] = forced["policy"]["bias"].at[COLLECT].set(1e3)
    return Maintenance.of([rule], [forced], params, COLUMN_COUNT, places)


def test_a_rule_acts_in_training_and_teaches_the_policy_nothing() -> None:
    trainer = small_trainer(ProbeGame())
    always = Rule(TIME, below=np.inf, until=np.inf, policy=0, patience=10**6, rest=1)
    trainer.maintenance = always_collect(trainer, always)
    trainer.assign(0, collect_after(1), trainer.programs.fresh(jax.random.key(1), BANK))
    before = trainer.params(0)
    trainer.update()
    after = trainer.params(0)
    carry = trainer._carry
    assert carry is not None
    assert np.all(np.asarray(carry.rollout.action) == COLLECT)
    assert not np.any(np.asarray(carry.rollout.weight))
    for part in ("actor", "policy"):
        np.testing.assert_array_equal(before[part]["kernel"], after[part]["kernel"])
    assert np.any(np.asarray(before["value"]["kernel"]) != np.asarray(after["value"]["kernel"]))


def test_another_rule_in_a_free_place_compiles_nothing_and_is_followed() -> None:
    trainer = small_trainer(ProbeGame())
    never = Rule(TIME, below=-1, until=-1, policy=0, patience=1, rest=1)
    trainer.maintenance = always_collect(trainer, never)
    trainer.assign(0, collect_after(1), trainer.programs.fresh(jax.random.key(1), BANK))
    trainer.update()
    assert trainer._carry is not None
    assert np.all(np.asarray(trainer._carry.rollout.weight))
    size = trainer._act.jitted._cache_size()
    trainer.maintenance = always_collect(trainer, Rule(TIME, np.inf, np.inf, 0, 10**6, 1))
    trainer.update()
    assert not np.any(np.asarray(trainer._carry.rollout.weight))
    assert trainer._act.jitted._cache_size() == size


def test_episodes_are_run_under_the_same_rules() -> None:
    """The policy waits; only the rule collects, and only while there are fewer than three coins."""
    trainer = small_trainer(CoinGame())
    starts = starts_of(trainer, coins=0)
    task = collect_after(5)
    runner = EpisodeRunner(trainer.programs, trainer.network)
    idle = jax.tree.map(jnp.zeros_like, trainer.initial_params(jax.random.key(0)))
    idle["policy"]["bias"] = idle["policy"]["bias"].at[0].set(1e3)
    alone = runner.run(task, idle, starts, jax.random.key(2))
    assert np.all(alone.end[:, COINS] == 0)
    runner.maintenance = always_collect(trainer, Rule(COINS, below=0, until=3, policy=0, patience=99, rest=1))
    kept_up = runner.run(task, idle, starts, jax.random.key(2))
    assert np.all(kept_up.end[:, COINS] == 3)
    assert np.all(kept_up.end[:, ACTION] == 0)
    assert not np.any(kept_up.success)
