"""The agent with several targets and maintenance, on a game of coins and bricks, with scripted policies."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from probe_games import (
    BRICKS,
    BUILD,
    COINS,
    COLLECT,
    DIE,
    TIME,
    WAIT,
    CoinGame,
    ScriptedNetwork,
    always,
)
from test_executor import TASK, program

from flowrl.rl.agent import Agent, AgentProgram, Maintenance, Played
from flowrl.rl.environment import EnvPrograms

BATCH = 8
BRICK = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 1})
"""Two coins, then a brick."""

FIVE_COINS = program(({}, 0, 5), goal={"coins": 5})


def play(
    actions: list[int],
    *targets: Any,
    patience: int = 50,
    rules: tuple[Maintenance, ...] = (),
    steps: int = 12,
    game: CoinGame | None = None,
    episodes: int = 10,
) -> Played:
    """Whole episodes with policies that always take one action each."""
    network: Any = ScriptedNetwork()
    programs = EnvPrograms(game or CoinGame(), BATCH)
    agent = Agent(
        programs,
        network,
        AgentProgram(targets, (patience,) * len(targets), rules),
        [TASK] * len(actions),
        [always(action) for action in actions],
    )
    return agent.play(programs.fresh(jax.random.key(0), episodes), steps, jax.random.key(1))


def test_targets_are_pursued_in_their_order() -> None:
    """Collect, collect, build (1 coin left), then four more coins: done at the seventh step."""
    played = play([COLLECT, BUILD], BRICK, FIVE_COINS, steps=7)
    assert played.reached.shape == (10, 2)
    assert np.asarray(played.reached).all()
    np.testing.assert_array_equal(np.asarray(played.end)[:, BRICKS], 1)
    np.testing.assert_array_equal(np.asarray(played.end)[:, COINS], 5)
    np.testing.assert_array_equal(np.asarray(played.charge), [[6, 1]] * 10)
    assert not np.asarray(play([COLLECT, BUILD], BRICK, FIVE_COINS, steps=6).reached)[:, 1].any()


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
    rule = Maintenance(column=COINS, below=0, until=2, policy=0, patience=50)
    waiting = program(({}, 1, 1), goal={"bricks": 1})
    played = play([COLLECT, WAIT], waiting, rules=(rule,), steps=6)
    np.testing.assert_array_equal(np.asarray(played.charge), [[2, 4]] * 10)
    np.testing.assert_array_equal(np.asarray(played.end)[:, COINS], 2)


def test_maintenance_that_cannot_succeed_gives_way() -> None:
    """A rule whose policy only waits holds for its patience and then lets the target go on for as long."""
    rule = Maintenance(column=BRICKS, below=0, until=1, policy=1, patience=2)
    played = play([COLLECT, WAIT], FIVE_COINS, rules=(rule,), steps=20)
    assert np.asarray(played.reached).all()
    assert (np.asarray(played.charge)[:, 1] > 0).all()


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
