"""How calls of policies end inside whole episodes, counted by hand on the game of coins and bricks."""

from __future__ import annotations

import numpy as np
from probe_games import BRICKS, BUILD, COINS, COLLECT, DIE, WAIT, CoinGame
from test_agent import BRICK, FIVE_COINS, play
from test_executor import program

from flowrl.rl.agent import Played
from flowrl.rl.calls import OUTCOMES
from flowrl.rl.maintenance import Rule


def calls(played: Played, policy: int) -> dict[str, int]:
    """What one policy's calls ended with, and their steps; the same in every episode."""
    ended, steps = np.asarray(played.calls.ended)[:, policy], np.asarray(played.calls.steps)[:, policy]
    assert (ended == ended[0]).all()
    assert (steps == steps[0]).all()
    counts = {name: int(count) for name, count in zip(OUTCOMES, ended[0], strict=True) if count}
    return {**counts, "steps": int(steps[0])}


def test_calls_advance_step_by_step() -> None:
    """Two coins (2 steps), a brick (1), then four more coins (4), the last as the episode is cut off."""
    played = play([COLLECT, BUILD], BRICK, FIVE_COINS, steps=7)
    assert calls(played, 0) == {"advanced": 2, "steps": 6}
    assert calls(played, 1) == {"advanced": 1, "steps": 1}


def test_a_call_under_way_at_the_end_is_not_counted() -> None:
    """Three of the five coins."""
    played = play([COLLECT], FIVE_COINS, steps=3)
    assert calls(played, 0) == {"steps": 0}
    np.testing.assert_array_equal(np.asarray(played.charge), 3)


def test_nothing_is_asked_once_all_targets_are_reached() -> None:
    """Five coins in one call; what the policy collects afterwards, nobody called for."""
    played = play([COLLECT], FIVE_COINS, steps=9)
    assert calls(played, 0) == {"advanced": 1, "steps": 5}
    np.testing.assert_array_equal(np.asarray(played.end)[:, COINS], 9)
    np.testing.assert_array_equal(np.asarray(played.charge), 5)


def test_calls_give_way_when_patience_runs_out() -> None:
    """Waiting 3 steps, collecting 3, waiting 3, collecting the last 2: only the fourth call gets there."""
    hopeless = program(({}, 1, 1), goal={"bricks": 9})
    played = play([COLLECT, WAIT], hopeless, FIVE_COINS, patience=3, steps=11)
    assert calls(played, 0) == {"advanced": 1, "gave_way": 1, "steps": 5}
    assert calls(played, 1) == {"gave_way": 2, "steps": 6}


def test_a_call_gives_way_when_the_facts_fall_back() -> None:
    """Two coins in 2 steps; they are stolen at time 4, after two steps of waiting for a brick."""
    plan = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 1})
    played = play([COLLECT, WAIT], plan, steps=5, game=CoinGame(theft_at=4))
    assert calls(played, 0) == {"advanced": 1, "steps": 2}
    assert calls(played, 1) == {"gave_way": 1, "steps": 2}


def test_rules_interrupt_calls_and_have_calls_of_their_own() -> None:
    """A rule keeps one coin: it collects 1, the plan 2; at time 3 all are stolen; the rule 1, the plan 4."""
    rule = Rule(column=COINS, below=0, until=1, policy=1, patience=50, rest=50)
    played = play([COLLECT, COLLECT], FIVE_COINS, rules=(rule,), steps=8, game=CoinGame(theft_at=3))
    assert calls(played, 0) == {"interrupted": 1, "advanced": 1, "steps": 6}
    assert calls(played, 1) == {"advanced": 2, "steps": 2}


def test_a_rule_gives_way_when_its_patience_runs_out() -> None:
    """Two steps of waiting for a coin, then the plan's five."""
    rule = Rule(column=COINS, below=0, until=1, policy=1, patience=2, rest=50)
    played = play([COLLECT, WAIT], FIVE_COINS, rules=(rule,), steps=7)
    assert calls(played, 0) == {"advanced": 1, "steps": 5}
    assert calls(played, 1) == {"gave_way": 1, "steps": 2}


def test_death_ends_a_call_and_nothing_follows() -> None:
    """At the second step of the plan."""
    plan = program(({}, 0, 1), ({"coins": 1}, 1, 1), goal={"bricks": 1})
    played = play([COLLECT, DIE], plan, steps=6)
    assert calls(played, 0) == {"advanced": 1, "steps": 1}
    assert calls(played, 1) == {"died": 1, "steps": 1}


def test_a_rule_that_must_get_somewhere_too_has_one_call_until_then() -> None:
    """The coin is there after one step, the brick that the rule gives never comes: one call of four steps."""
    rule = Rule(column=COINS, below=0, until=1, policy=1, patience=4, rest=50, gives={BRICKS: 1})
    played = play([COLLECT, COLLECT], FIVE_COINS, rules=(rule,), steps=7)
    assert calls(played, 1) == {"gave_way": 1, "steps": 4}


def test_a_rule_that_gets_where_another_begins_has_advanced() -> None:
    """It collects a coin, for the rule above it to build a brick with; that one is no interruption."""
    build = Rule(column=BRICKS, below=0, until=1, policy=1, patience=9, rest=9, needs={COINS: 1})
    collect = Rule(column=BRICKS, below=0, until=-np.inf, policy=2, patience=9, rest=9, gives={COINS: 1})
    played = play([COLLECT, BUILD, COLLECT], FIVE_COINS, rules=(build, collect), steps=8)
    assert calls(played, 2) == {"advanced": 1, "steps": 1}
    assert calls(played, 1) == {"advanced": 1, "steps": 1}
    assert calls(played, 0) == {"advanced": 1, "steps": 5}
