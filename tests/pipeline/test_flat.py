"""The control: its reward is the stock game's own, and a short run leaves its scores on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.config import PPOConfig
from flowrl.errors import UserError
from flowrl.pipeline.events import Event, RunFinished, TrainingProgress
from flowrl.pipeline.flat import game_task, train_flat
from flowrl.rl.environment import Placed
from flowrl.rl.task import Task
from flowrl.rl.trainer import SlotTrainer
from flowrl.store.arrays import load_arrays
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
    assert (tmp_path / "flat" / "policy_1024" / "params.npz").is_file()
    assert [event.env_steps for event in seen if isinstance(event, TrainingProgress)] == [512, 1024]
    finished = [event for event in seen if isinstance(event, RunFinished)]
    # What scoring cost is counted too: 20 steps of all 32 envs.
    assert finished[0].env_steps == 1024 + 20 * 32


def visible(folder: Path) -> set[str]:
    """All but the lock."""
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}


@pytest.mark.slow
def test_a_run_goes_on_from_what_it_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in its third update: what was kept after the second is in the trainer again."""
    monkeypatch.setattr("flowrl.pipeline.flat.KEEP_EVERY", 512)
    ppo = PPOConfig(total_timesteps=2048, num_envs=32, num_steps=16, layer_size=16)

    def cut_off(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.env_steps == 1536:
            raise KeyboardInterrupt

    out = tmp_path / "flat"
    with pytest.raises(KeyboardInterrupt):
        train_flat(CLASSIC, ppo, out, 32, 20, 0, [cut_off])
    assert visible(out) == {"policy_1024"}
    with pytest.raises(UserError, match=r"trained with --lr 0\.001, not 0\.5"):
        train_flat(CLASSIC, replace(ppo, lr=0.5), out, 32, 20, 0, [])
    with pytest.raises(UserError, match=r"1,024 env steps, more than the 512 asked"):
        train_flat(CLASSIC, replace(ppo, total_timesteps=512), out, 32, 20, 0, [])
    kept = load_arrays(out / "policy_1024" / "params.npz", "")
    assigned: list[Any] = []
    assign = SlotTrainer.assign

    def noted(trainer: SlotTrainer, slot: int, task: Task, starts: Placed, params: Any = None) -> None:
        assigned.append(jax.tree.map(np.asarray, params))
        assign(trainer, slot, task, starts, params)

    monkeypatch.setattr(SlotTrainer, "assign", noted)
    seen: list[Event] = []
    result = train_flat(CLASSIC, ppo, out, 32, 20, 0, [seen.append])
    jax.tree.map(np.testing.assert_array_equal, assigned, [kept])
    assert [event.env_steps for event in seen if isinstance(event, TrainingProgress)] == [1536, 2048]
    assert result["env_steps"] == 2048
    assert visible(out) == {"policy_2048", "result.json"}
    curves = json.loads((out / "policy_2048" / "curves.json").read_text())
    assert [point["env_steps"] for point in curves] == [512, 1024, 1536, 2048]
    # Nothing is left to train: it is scored again.
    again = train_flat(CLASSIC, ppo, out, 32, 20, 0, [])
    assert again["achievements"] == result["achievements"]
