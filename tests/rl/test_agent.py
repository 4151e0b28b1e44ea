"""The agent with several targets and maintenance, on a game of coins and bricks, with scripted policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import (
    BRICKS,
    BUILD,
    COINS,
    COLLECT,
    DIE,
    SIGNAL,
    TIME,
    WAIT,
    CoinGame,
    ScriptedNetwork,
    State,
    always,
)
from test_executor import TASK, program

from flowrl.rl.agent import Agent, Played
from flowrl.rl.agent_program import AgentProgram
from flowrl.rl.environment import EnvPrograms
from flowrl.rl.maintenance import Rule

BATCH = 8
BRICK = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 1})
"""Two coins, then a brick."""

FIVE_COINS = program(({}, 0, 5), goal={"coins": 5})


def make_agent(
    actions: list[int],
    *targets: Any,
    patience: int = 50,
    rules: tuple[Rule, ...] = (),
    game: CoinGame | None = None,
) -> Agent:
    """Its policies always take one action each."""
    network: Any = ScriptedNetwork()
    return Agent(
        EnvPrograms(game or CoinGame(), BATCH),
        network,
        AgentProgram(targets, (patience,) * len(targets), rules),
        [TASK] * len(actions),
        [always(action) for action in actions],
    )


def play(
    actions: list[int],
    *targets: Any,
    steps: int = 12,
    episodes: int = 10,
    ended: Callable[[int], None] = lambda _: None,
    **more: Any,
) -> Played:
    """Whole episodes; ``more`` as of :func:`make_agent`."""
    agent = make_agent(actions, *targets, **more)
    return agent.play(agent.programs.fresh(jax.random.key(0), episodes), steps, jax.random.key(1), ended)


def test_progress_counts_the_episodes_that_ended_and_no_row_that_only_fills_a_batch() -> None:
    told: list[int] = []
    play([COLLECT], program(({}, 0, 1), goal={"coins": 99}), steps=40, episodes=BATCH + 3, ended=told.append)
    assert told == sorted(told)
    assert BATCH in told
    assert told[-1] == BATCH + 3


def test_targets_are_pursued_in_their_order() -> None:
    """Collect, collect, build (1 coin left), then four more coins: done at the seventh step."""
    played = play([COLLECT, BUILD], BRICK, FIVE_COINS, steps=7)
    assert played.reached.shape == (10, 2)
    assert np.asarray(played.reached).all()
    np.testing.assert_array_equal(np.asarray(played.end)[:, BRICKS], 1)
    np.testing.assert_array_equal(np.asarray(played.end)[:, COINS], 5)
    np.testing.assert_array_equal(np.asarray(played.charge), [[6, 1]] * 10)
    assert not np.asarray(play([COLLECT, BUILD], BRICK, FIVE_COINS, steps=6).reached)[:, 1].any()


@pytest.mark.parametrize(("steps", "brick_at"), [(1, 0), (2, 1)])
def test_who_is_next_in_each_plan_when_an_episode_ends(steps: int, brick_at: int) -> None:
    """With one coin another has to be collected, with two a brick is built; for five, collecting goes on."""
    agent = make_agent([COLLECT, BUILD], BRICK, FIVE_COINS)
    played = play([COLLECT, BUILD], BRICK, FIVE_COINS, steps=steps)
    at = agent.standing_at(np.asarray(played.end))
    np.testing.assert_array_equal(at, [[brick_at, 0]] * 10)


def test_what_targets_have_in_common_is_looked_at_once() -> None:
    """Two coins, anything at all, and each goal: four conditions in the three plans, of two or three rows."""
    bricks = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 2})
    agent = make_agent([COLLECT, BUILD], BRICK, bricks, program(({}, 0, 2), goal={"coins": 2}))
    assert agent._table.low.shape == (4, 2)
    assert agent._table.condition.shape == (3, 3)


def test_a_target_that_does_not_come_about_rests() -> None:
    """Waiting 3 steps, collecting 3, waiting 3, collecting 2: five coins after 11."""
    hopeless = program(({}, 2, 1), goal={"bricks": 9})
    played = play([COLLECT, BUILD, WAIT], hopeless, FIVE_COINS, patience=3, steps=11)
    np.testing.assert_array_equal(np.asarray(played.reached), [[False, True]] * 10)
    assert (np.asarray(played.rested)[:, 0] >= 1).all()
    np.testing.assert_array_equal(np.asarray(played.rested), [[2, 1]] * 10)
    np.testing.assert_array_equal(np.asarray(played.charge), [[5, 0, 6]] * 10)


def test_maintenance_goes_first_and_ends_where_it_should() -> None:
    """A rule that wants two coins at all times collects before the target, whose policy waits, ever runs."""
    rule = Rule(column=COINS, below=0, until=2, policy=0, patience=50, rest=50)
    waiting = program(({}, 1, 1), goal={"bricks": 1})
    played = play([COLLECT, WAIT], waiting, rules=(rule,), steps=6)
    np.testing.assert_array_equal(np.asarray(played.charge), [[2, 4]] * 10)
    np.testing.assert_array_equal(np.asarray(played.end)[:, COINS], 2)


def test_maintenance_that_cannot_succeed_gives_way() -> None:
    """A rule whose policy only waits holds for its patience and then lets the target go on for as long."""
    rule = Rule(column=BRICKS, below=0, until=1, policy=1, patience=2, rest=2)
    played = play([COLLECT, WAIT], FIVE_COINS, rules=(rule,), steps=20)
    assert np.asarray(played.reached).all()
    assert (np.asarray(played.charge)[:, 1] > 0).all()


def test_a_rule_rests_for_as_long_as_it_is_told() -> None:
    """In charge for 2 steps, away for 5, and again: 4 of 14."""
    rule = Rule(column=BRICKS, below=0, until=1, policy=1, patience=2, rest=5)
    played = play([COLLECT, WAIT], program(({}, 0, 1), goal={"coins": 99}), rules=(rule,), steps=14)
    np.testing.assert_array_equal(np.asarray(played.charge), [[10, 4]] * 10)


NOWHERE = 99
"""The distance of a creature that is not in view."""


class CreatureGame(CoinGame):
    """A creature comes within two tiles at time 3 and kills at time 6; BUILD next to it drives it away.

    The signal is its distance.
    """

    def __init__(self, can_be_hit: bool = True, strikes: bool = True) -> None:
        super().__init__()
        self._can_be_hit = can_be_hit
        self._strikes = strikes

    def generate(self, key: jax.Array) -> State:
        """Nobody there."""
        return super().generate(key)._replace(signal=jnp.int32(NOWHERE))

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """The transition."""
        now = super().step(state, action, key)
        driven_off = self._can_be_hit & (action == BUILD) & (state.signal <= 2)
        distance = jnp.where(now.time == 3, 2, jnp.where(driven_off, NOWHERE, state.signal))
        struck = self._strikes & (now.time == 6) & (distance <= 2)
        return now._replace(signal=distance.astype(jnp.int32), hurt=struck.astype(jnp.int32))


def test_a_creature_that_comes_near_is_driven_off_before_the_target_goes_on() -> None:
    """Three coins, a blow that costs one, two coins; without the rule, four coins and death at time 6."""
    four_coins = program(({}, 0, 4), goal={"coins": 4})
    rule = Rule(column=SIGNAL, below=2, until=4, policy=1, patience=8, rest=16)
    defended = play([COLLECT, BUILD], four_coins, rules=(rule,), steps=6, game=CreatureGame())
    assert not np.asarray(defended.died).any()
    assert np.asarray(defended.reached).all()
    np.testing.assert_array_equal(np.asarray(defended.charge), [[5, 1]] * 10)
    assert np.asarray(play([COLLECT, BUILD], four_coins, steps=6, game=CreatureGame()).died).all()


def test_a_creature_that_cannot_be_reached_does_not_starve_the_target() -> None:
    """Three coins; then 2 steps of defence in every 6: 6 of the 16 steps left, the others give ten coins."""
    rule = Rule(column=SIGNAL, below=2, until=4, policy=1, patience=2, rest=4)
    thirteen = program(({}, 0, 9), goal={"coins": 13})
    game = CreatureGame(can_be_hit=False, strikes=False)
    played = play([COLLECT, WAIT], thirteen, rules=(rule,), steps=19, game=game)
    assert np.asarray(played.reached).all()
    np.testing.assert_array_equal(np.asarray(played.charge), [[13, 6]] * 10)


def test_an_episode_is_frozen_when_it_ends() -> None:
    """Death at the first step: length 1, whatever follows; the game's own end at time 4 likewise."""
    deadly = program(({}, 0, 1), goal={"bricks": 1})
    played = play([DIE], deadly, steps=6)
    np.testing.assert_array_equal(np.asarray(played.length), 1)
    assert np.asarray(played.died).all()
    np.testing.assert_array_equal(np.asarray(played.end)[:, TIME], 1)
    timed = play([WAIT], deadly, steps=9, game=CoinGame(max_time=4))
    np.testing.assert_array_equal(np.asarray(timed.length), 4)
    assert not np.asarray(timed.died).any()
