"""The control: flat PPO on the game's own reward, with the same trainer, network and counting of steps."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.config import PPOConfig
from flowrl.pipeline.evaluate import Episodes, score_episodes
from flowrl.pipeline.events import Listener, RunFinished, RunStarted, StageStarted, TrainingProgress
from flowrl.pipeline.fresh_worlds import START_WORLDS, renewed_worlds
from flowrl.pipeline.game_reward import game_reward
from flowrl.pipeline.run import use_compilation_cache
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.task import Task
from flowrl.store.arrays import save_arrays
from flowrl.store.atomic import write_bytes
from flowrl.worlds.base import World
from flowrl.worlds.registry import make_world

NAME = "flat_ppo"


def game_task(world: World, max_steps: int) -> Task:
    """One policy for the whole game, paid what the stock game pays."""
    reward = game_reward(world)

    def program(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del start, n
        return reward(prev, now), jnp.zeros(len(now), bool)

    return Task(NAME, program, (), max_steps, success_bonus=0.0, death_penalty=0.0)


def train_flat(
    env_name: str,
    ppo: PPOConfig,
    out: Path,
    episodes: int,
    max_steps: int,
    seed: int,
    listeners: Sequence[Listener],
) -> dict[str, Any]:
    """Trains for ``ppo.total_timesteps`` env steps, then plays whole episodes in worlds never trained on.

    Writes ``result.json``, ``curves.json`` and the policy into ``out``.

    Returns:
        What ``evaluate`` measures of a graph, with ``env_steps``, ``wall_s`` and the sizes.
    """
    use_compilation_cache()
    world = make_world(env_name)
    ppo, shape = resolve_sizes(ppo, 1, START_WORLDS)
    bench = build_workbench(world, ppo, shape, seed)
    task = game_task(world, max_steps)
    began = time.monotonic()

    def emit(event: Any) -> None:
        for listener in listeners:
            listener(event)

    emit(RunStarted(env_name, str(out), NAME, 1, ()))
    emit(StageStarted("train", NAME, f"{ppo.total_timesteps:,} env steps"))
    curves = _train(bench, task, ppo, emit)
    params = bench.trainer.params(0)
    emit(StageStarted("evaluate", NAME, f"{episodes} episodes in unseen worlds"))
    outcomes = bench.episodes.run(
        task, params, bench.held_out_worlds(0, episodes), jax.random.fold_in(jax.random.key(seed), 1)
    )
    ended = Episodes(
        np.asarray(outcomes.start),
        np.asarray(outcomes.before),
        np.asarray(outcomes.end),
        np.asarray(outcomes.length),
        np.asarray(outcomes.died),
    )
    trained = curves[-1]["env_steps"] if curves else 0
    result = {
        **score_episodes(ended, world),
        "env_steps": trained,
        "wall_s": time.monotonic() - began,
        "max_steps": max_steps,
        "seed": seed,
        "ppo": asdict(ppo),
    }
    out.mkdir(parents=True, exist_ok=True)
    save_arrays(out / "params.npz", jax.tree.map(np.asarray, params))
    write_bytes(out / "curves.json", json.dumps(curves).encode())
    write_bytes(out / "result.json", json.dumps(result, indent=2).encode())
    emit(RunFinished(0, bench.programs.env_steps, time.monotonic() - began))
    return result


def _train(bench: Workbench, task: Task, ppo: PPOConfig, emit: Listener) -> list[dict[str, float]]:
    per_update = bench.shape.batch * bench.shape.num_steps
    bench.trainer.assign(0, task, bench.training_worlds(0, bench.shape.bank_size))
    curves: list[dict[str, float]] = []
    for update in range(1, -(-ppo.total_timesteps // per_update) + 1):
        began = time.monotonic()
        left = 1.0 - (update - 1) * per_update / ppo.total_timesteps
        report = bench.trainer.update([left if ppo.anneal_lr else 1.0])[0]
        if (renewed := renewed_worlds(bench, update, bench.shape.bank_size)) is not None:
            bench.trainer.refresh(0, *renewed)
        if report is None:
            continue
        steps = update * per_update
        rate = per_update / max(time.monotonic() - began, 1e-9)
        metrics = {"episode_length": report.mean_length, **report.metrics}
        curves.append({"env_steps": steps, **metrics})
        emit(TrainingProgress(NAME, steps, ppo.total_timesteps, rate, None, None, metrics))
    return curves
