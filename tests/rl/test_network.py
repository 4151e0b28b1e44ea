"""Policies as they play: sharper than they train, and never with an action that they may not take."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from probe_games import BUILD, COINS, COLLECT, CoinGame
from small_trainers import BANK, small_trainer

from flowrl.rl.network import NEVER, PLAY_TEMPERATURE, play, without_actions
from flowrl.rl.task import MeasuredGain, Task


def test_what_is_likely_is_played_more_often() -> None:
    logits = jnp.log(jnp.tile(jnp.array([0.6, 0.3, 0.1]), (20_000, 1)))
    played = np.bincount(np.asarray(play(jax.random.key(0), logits)), minlength=3) / 20_000
    sharp = np.array([0.6, 0.3, 0.1]) ** (1 / PLAY_TEMPERATURE)
    np.testing.assert_allclose(played, sharp / sharp.sum(), atol=0.02)


def rich(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Paid for what the policy may not do, so that training pulls towards it."""
    del start, prev, n
    return now[:, COINS], now[:, COINS] >= 9


def test_a_barred_action_is_never_taken_and_never_learned() -> None:
    trainer = small_trainer(CoinGame())
    params = without_actions(trainer.initial_params(jax.random.key(0)), [COLLECT, BUILD])
    task = Task("rich", rich, (MeasuredGain(COINS, 0, 9, "add"),), max_steps=12)
    trainer.assign(0, task, trainer.programs.fresh(jax.random.key(1), BANK), params)
    for _ in range(3):
        trainer.update()
        assert trainer._carry is not None
        assert not np.isin(np.asarray(trainer._carry.rollout.action), [COLLECT, BUILD]).any()
    after = trainer.params(0)
    assert np.isfinite(np.asarray(after["policy"]["kernel"])).all()
    np.testing.assert_array_equal(after["policy"]["bias"][jnp.array([COLLECT, BUILD])], NEVER)
    assert np.any(np.asarray(after["actor"]["kernel"]) != np.asarray(params["actor"]["kernel"]))
