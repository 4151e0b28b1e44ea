"""Trainers of the smallest useful size; equal sizes, so that compiled programs come from the cache."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from probe_games import CoinGame, ProbeGame

from flowrl.rl.environment import EnvPrograms, Placed
from flowrl.rl.ppo import PPOSettings
from flowrl.rl.task import Task
from flowrl.rl.trainer import SlotReport, SlotTrainer, TrainerShape

GAMMA = 0.9
SETTINGS = PPOSettings(
    lr=1e-3,
    gamma=GAMMA,
    gae_lambda=0.95,
    clip_eps=0.2,
    ent_coef=0.01,
    vf_coef=0.5,
    max_grad_norm=0.5,
    update_epochs=4,
    num_minibatches=4,
)
ENVS, STEPS, BANK = 16, 16, 64


def small_trainer(game: ProbeGame, slots: int = 1, seed: int = 0) -> SlotTrainer:
    """16 envs a slot, 16 steps a rollout, 32 units a layer, 64 start states."""
    programs = EnvPrograms(game, slots * ENVS)
    return SlotTrainer(programs, TrainerShape(slots, ENVS, STEPS, 32, BANK), SETTINGS, seed)


def starts_of(trainer: SlotTrainer, coins: int = 0, count: int = BANK) -> Placed:
    """Fresh start states with so many coins."""
    fresh = trainer.programs.fresh(jax.random.key(7), count)
    states = fresh.states._replace(coins=jnp.full(count, coins, jnp.int32))
    seen = jax.vmap(CoinGame().perceive)(states)
    return Placed(states, fresh.seen._replace(snapshot=seen.snapshot))


def trained(
    game: ProbeGame, task: Task, updates: int, anneal: bool = False, seed: int = 0
) -> tuple[SlotTrainer, list[SlotReport]]:
    """A trainer after ``updates`` updates of one task, and their reports."""
    trainer = small_trainer(game, seed=seed)
    trainer.assign(0, task, trainer.programs.fresh(jax.random.key(seed), BANK))
    reports = []
    for update in range(updates):
        (report,) = trainer.update([1.0 - update / updates] if anneal else None)
        assert report is not None
        reports.append(report)
    return trainer, reports


def policy_at(
    trainer: SlotTrainer, slot: int = 0, *, tile: int = 0, feature: float = 0.0, left: int = 1
) -> tuple[np.ndarray, float]:
    """``(action probabilities [A], value)`` for one observation with ``left`` repeats to do."""
    features = jnp.array([[feature, left / 10.0, float(left <= 1)]])
    logits, value = trainer.network.apply(
        {"params": trainer.params(slot)}, jnp.full((1, 1, 1, 1), tile, jnp.uint8), features
    )
    return np.asarray(jax.nn.softmax(logits)[0]), float(value[0])
