"""The control: flat PPO on the game's own reward, with the same trainer, network and counting of steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.config import PPOConfig, RunConfig
from flowrl.errors import GraphError
from flowrl.pipeline.available_memory import available_memory
from flowrl.pipeline.evaluate import Episodes, score_episodes
from flowrl.pipeline.events import (
    Listener,
    RunFinished,
    RunNote,
    RunStarted,
    StageStarted,
    TrainingProgress,
)
from flowrl.pipeline.flat_checkpoint import FlatFolder, Kept
from flowrl.pipeline.fresh_worlds import START_WORLDS, renewed_worlds
from flowrl.pipeline.game_reward import game_reward
from flowrl.pipeline.memory import require_memory
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
        What ``evaluate`` measures of a graph, with ``env_steps``, ``wall_s`` (both of training alone) and the
        sizes.

    Raises:
        UserError: ``out`` holds a policy that was trained with other settings or for longer, or memory is
            too small.
        GraphError: what it holds is damaged, or another process is at it.
    """
    use_compilation_cache()
    world = make_world(env_name)
    require_memory(world, RunConfig(env_name, ppo=ppo, start_states=START_WORLDS), 1, available_memory())
    ppo, shape = resolve_sizes(ppo, 1, START_WORLDS)
    settings = _settings(env_name, ppo, max_steps, seed)
    per_update = shape.batch * shape.num_steps
    budget = -(-ppo.total_timesteps // per_update) * per_update
    began = time.monotonic()

    def emit(event: Any) -> None:
        for listener in listeners:
            listener(event)

    with closing(FlatFolder(out)) as folder:
        kept = folder.go_on(settings, budget)
        bench = build_workbench(world, ppo, shape, seed)
        bench.compile_ahead()
        emit(RunStarted(env_name, str(out), NAME, 1, ()))
        if kept is not None:
            emit(RunNote(f"goes on from {kept.env_steps:,} env steps"))
        emit(StageStarted("train", NAME, f"{ppo.total_timesteps:,} env steps"))
        task = game_task(world, max_steps)
        trained = _train(bench, task, ppo, kept, lambda now: folder.keep(now, settings), emit)
        emit(StageStarted("evaluate", NAME, f"{episodes} episodes in unseen worlds"))
        result = {
            **_score(bench, task, trained.params, episodes),
            "env_steps": trained.env_steps,
            "wall_s": trained.wall_s,
            "max_steps": max_steps,
            "seed": seed,
            "ppo": asdict(ppo),
        }
        write_bytes(out / "result.json", json.dumps(result, indent=2).encode())
    emit(RunFinished(0, bench.programs.env_steps, time.monotonic() - began))
    return result


def _score(bench: Workbench, task: Task, params: Any, episodes: int) -> dict[str, Any]:
    """Whole episodes in worlds never trained on."""
    key = jax.random.fold_in(jax.random.key(bench.seed), 1)
    outcomes = bench.episodes.run(task, params, bench.held_out_worlds(0, episodes), key)
    ended = Episodes(
        np.asarray(outcomes.start),
        np.asarray(outcomes.before),
        np.asarray(outcomes.end),
        np.asarray(outcomes.length),
        np.asarray(outcomes.died),
    )
    return score_episodes(ended, bench.world)


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

    Adam's moments and the envs' states are not kept: episodes under way begin anew, and random choices with
    the seed.
    """
    per_update = bench.shape.batch * bench.shape.num_steps
    updates = -(-ppo.total_timesteps // per_update)
    params = None if kept is None else bench.fitting_params(kept.params)
    if kept is not None and params is None:
        raise GraphError("what --out holds was trained with another version's network. Give another --out.")
    bench.trainer.assign(0, task, bench.training_worlds(0, bench.shape.bank_size), params)
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
