"""PPO through the real slot trainer, on games whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from probe_games import (
    BUILD,
    CHOOSE_ACTION,
    COLLECT,
    COLLECT_N,
    CONSTANT,
    ENDLESS,
    ENDLESS_REWARD,
    ENDLESS_STEPS,
    FOLLOW_SIGNAL,
    TWO_STEPS,
    WAIT,
    CoinGame,
    ProbeGame,
)
from small_trainers import GAMMA, policy_at, trained


def test_value_of_a_constant_reward() -> None:
    """Own reward 0.5 and the bonus of 1, nothing after."""
    trainer, reports = trained(ProbeGame(), CONSTANT, 20)
    assert policy_at(trainer)[1] == pytest.approx(1.5, abs=0.05)
    assert reports[-1].metrics["reward"] == pytest.approx(1.5)


def test_value_is_discounted() -> None:
    """A step before the bonus is worth gamma times as much."""
    trainer, _ = trained(ProbeGame("time"), TWO_STEPS, 40)
    assert policy_at(trainer, feature=1.0)[1] == pytest.approx(1.0, abs=0.03)
    assert policy_at(trainer, feature=0.0)[1] == pytest.approx(GAMMA, abs=0.04)


def test_the_better_action_is_learned() -> None:
    """Reward depends on the action alone."""
    trainer, _ = trained(ProbeGame(), CHOOSE_ACTION, 25)
    probabilities, value = policy_at(trainer)
    assert probabilities[BUILD] > 0.95
    assert value == pytest.approx(2.0, abs=0.1)


def test_the_action_follows_what_is_seen() -> None:
    """Reward depends on the tile that is seen and on the action."""
    trainer, _ = trained(ProbeGame("signal"), FOLLOW_SIGNAL, 40)
    for signal in (0, 1):
        probabilities, value = policy_at(trainer, tile=signal)
        assert probabilities[signal] > 0.95
        assert value == pytest.approx(2.0, abs=0.1)


def test_an_endless_game_that_is_cut_off_keeps_its_worth() -> None:
    """A truncated episode is bootstrapped: r / (1 - gamma), not the sum up to the cut."""
    trainer, reports = trained(ProbeGame(), ENDLESS, 60)
    assert reports[-1].mean_length == ENDLESS_STEPS
    forever = ENDLESS_REWARD / (1 - GAMMA)
    until_the_cut = ENDLESS_REWARD * (1 - GAMMA**ENDLESS_STEPS) / (1 - GAMMA)
    assert until_the_cut < 0.5 * forever
    assert policy_at(trainer)[1] == pytest.approx(forever, rel=0.05)


def test_a_repeat_count_is_kept_by_the_goal_features() -> None:
    """Collect n coins and say so: neither too early nor too late for n = 1, 2 and 3.

    Whoever cannot tell how many are left succeeds in fewer than a third of the episodes: for n = 1, two steps
    are allowed, so at most p * (1 - p) of them.
    """
    trainer, reports = trained(CoinGame(), COLLECT_N, 200, anneal=True)
    last = reports[-10:]
    assert sum(r.successes for r in last) / sum(r.episodes for r in last) > 0.85
    assert np.argmax(policy_at(trainer, left=0)[0]) == WAIT
    for left in (1, 2, 3):
        assert np.argmax(policy_at(trainer, left=left)[0]) == COLLECT
