"""The control: its reward is the stock game's own, and a short run leaves its scores on disk."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.config import PPOConfig
from flowrl.pipeline.events import Event, RunFinished, TrainingProgress
from flowrl.pipeline.flat import game_task, train_flat
from flowrl.worlds.registry import make_world

CLASSIC = "Craftax-Classic-Symbolic-v1"


@pytest.mark.slow
def test_the_reward_is_the_stock_games_own() -> None:
    """Over random play, step by step, read from snapshots: achievements once, and health up and down."""
    world = make_world(CLASSIC)
    task = game_task(world, 10_000)
    game, params = world._game, world._params  # type: ignore[attr-defined]

    def step(state: tuple, inputs: tuple) -> tuple:  # type: ignore[type-arg]
        key, action = inputs
        before = world.perceive(state).snapshot
        now = world.step(state, action, key)
        reward = game.step_env(key, state.env, action, params)[2]  # type: ignore[attr-defined]
        return now, (before, world.perceive(now).snapshot, reward)

    @jax.jit
    def play(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        keys = jax.random.split(key, 60)
        actions = jax.random.randint(key, (60,), 0, world.num_actions)
        return jax.lax.scan(step, world.generate(key), (keys, actions))[1]

    before, now, reward = jax.vmap(play)(jax.random.split(jax.random.key(0), 16))
    flat = [rows.reshape(-1, rows.shape[-1]) for rows in (before, now)]
    own, done = task.program(flat[0], flat[0], flat[1], jnp.ones(len(flat[0]), jnp.int32))
    np.testing.assert_allclose(np.asarray(own), np.asarray(reward).ravel(), atol=1e-5)
    assert np.asarray(reward).max() >= 1.0
    assert not np.asarray(done).any()


@pytest.mark.slow
def test_a_short_run_leaves_its_scores(tmp_path: Path) -> None:
    """Two updates of a tiny net on the real game: counted, scored, written."""
    seen: list[Event] = []
    ppo = PPOConfig(total_timesteps=1024, num_envs=32, num_steps=16, layer_size=16)
    result = train_flat(CLASSIC, ppo, tmp_path / "flat", 32, 20, 0, [seen.append])
    assert result["env_steps"] == 1024
    assert result["length"] <= 20
    assert set(result["achievements"]) == {
        fact.partition(":")[2] for fact in make_world(CLASSIC).achievement_values
    }
    stored = json.loads((tmp_path / "flat" / "result.json").read_text())
    assert stored["achievements"] == result["achievements"]
    assert (tmp_path / "flat" / "params.npz").is_file()
    assert [event.env_steps for event in seen if isinstance(event, TrainingProgress)] == [512, 1024]
    finished = [event for event in seen if isinstance(event, RunFinished)]
    # What scoring cost is counted too: 20 steps of all 32 envs.
    assert finished[0].env_steps == 1024 + 20 * 32
