"""The control: flat PPO on the game's own reward, with the same trainer, network and counting of steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.config import PPOConfig
from flowrl.pipeline.evaluate import Episodes, score_episodes
from flowrl.pipeline.events import (
    Listener,
    RunFinished,
    RunNote,
    RunStarted,
    StageStarted,
    TrainingProgress,
)
from flowrl.pipeline.flat_checkpoint import Kept, go_on, keep
from flowrl.pipeline.fresh_worlds import START_WORLDS, renewed_worlds
from flowrl.pipeline.game_reward import game_reward
from flowrl.pipeline.run import use_compilation_cache
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.task import Task
from flowrl.store.atomic import write_bytes
from flowrl.worlds.base import World
from flowrl.worlds.registry import make_world

NAME = "flat_ppo"

KEEP_EVERY = 1_000_000
"""Env steps after which the policy is kept: what is lost at most when training is interrupted."""


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

    Writes ``result.json`` and the policy with its curves into ``out``; goes on from a policy that is there.

    Returns:
        What ``evaluate`` measures of a graph, with ``env_steps``, ``wall_s`` and the sizes.

    Raises:
        UserError: ``out`` holds a policy that was trained with other settings.
        GraphError: what it holds is damaged.
    """
    use_compilation_cache()
    world = make_world(env_name)
    ppo, shape = resolve_sizes(ppo, 1, START_WORLDS)
    settings = _settings(env_name, ppo, max_steps, seed)
    kept = go_on(out, settings)
    bench = build_workbench(world, ppo, shape, seed)
    task = game_task(world, max_steps)
    began = time.monotonic()

    def emit(event: Any) -> None:
        for listener in listeners:
            listener(event)

    emit(RunStarted(env_name, str(out), NAME, 1, ()))
    if kept is not None:
        emit(RunNote(f"goes on from {kept.env_steps:,} env steps"))
    emit(StageStarted("train", NAME, f"{ppo.total_timesteps:,} env steps"))
    trained = _train(bench, task, ppo, kept, lambda now: keep(out, now, settings), emit)
    emit(StageStarted("evaluate", NAME, f"{episodes} episodes in unseen worlds"))
    outcomes = bench.episodes.run(
        task, trained.params, bench.held_out_worlds(0, episodes), jax.random.fold_in(jax.random.key(seed), 1)
    )
    ended = Episodes(
        np.asarray(outcomes.start),
        np.asarray(outcomes.before),
        np.asarray(outcomes.end),
        np.asarray(outcomes.length),
        np.asarray(outcomes.died),
    )
    result = {
        **score_episodes(ended, world),
        "env_steps": trained.env_steps,
        "wall_s": trained.wall_s,
        "max_steps": max_steps,
        "seed": seed,
        "ppo": asdict(ppo),
    }
    write_bytes(out / "result.json", json.dumps(result, indent=2).encode())
    emit(RunFinished(0, bench.programs.env_steps, time.monotonic() - began))
    return result


def _settings(env_name: str, ppo: PPOConfig, max_steps: int, seed: int) -> dict[str, Any]:
    """What must be the same for a run to be gone on with; the budget may be another."""
    numbers = {name: value for name, value in asdict(ppo).items() if name != "total_timesteps"}
    return {"env_name": env_name, "seed": seed, "max_steps": max_steps, **numbers}


def _train(
    bench: Workbench,
    task: Task,
    ppo: PPOConfig,
    kept: Kept | None,
    keep_it: Callable[[Kept], None],
    emit: Listener,
) -> Kept:
    """Trains until the budget is spent, from what was kept, and keeps the policy on the way and at the end.

    Adam's moments and the envs' states are not kept: episodes under way begin anew.
    """
    per_update = bench.shape.batch * bench.shape.num_steps
    updates = -(-ppo.total_timesteps // per_update)
    bench.trainer.assign(
        0, task, bench.training_worlds(0, bench.shape.bank_size), kept.params if kept else None
    )
    curves = kept.curves if kept else []
    done, before_s = (kept.env_steps // per_update, kept.wall_s) if kept else (0, 0.0)
    began = time.monotonic()

    def now(update: int) -> Kept:
        wall_s = before_s + time.monotonic() - began
        return Kept(update * per_update, wall_s, bench.trainer.params(0), curves)

    for update in range(done + 1, updates + 1):
        lap = time.monotonic()
        left = 1.0 - (update - 1) * per_update / ppo.total_timesteps
        report = bench.trainer.update([left if ppo.anneal_lr else 1.0])[0]
        assert report is not None
        if (renewed := renewed_worlds(bench, update, bench.shape.bank_size)) is not None:
            bench.trainer.refresh(0, *renewed)
        steps = update * per_update
        rate = per_update / max(time.monotonic() - lap, 1e-9)
        metrics = {"episode_length": report.mean_length, **report.metrics}
        curves.append({"env_steps": steps, **metrics})
        emit(TrainingProgress(NAME, steps, ppo.total_timesteps, rate, None, None, metrics))
        if steps // KEEP_EVERY > (steps - per_update) // KEEP_EVERY and update < updates:
            keep_it(now(update))
    last = now(max(updates, done))
    if updates > done:
        keep_it(last)
    return last
