"""Benchmarks: what a skill costs to start, and how many env steps a second training makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

WARM_UPDATES, TIMED_UPDATES = 2, 5


def bench_startup(env_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds from a checked artifact to the first finished PPO update, each world in a process of its own.

    The processes start with an empty compilation cache. The second skill is another one, in the same process.
    """
    measured = {}
    for env_name in env_names:
        with tempfile.TemporaryDirectory(prefix="flowrl-bench-") as cache:
            child = subprocess.run(
                [sys.executable, "-m", "flowrl.report.bench", env_name],
                env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        measured[env_name] = json.loads(child.stdout.splitlines()[-1])
    return measured


def startup_of(env_name: str) -> dict[str, float]:
    """The measurement of one world, in this process: ``first_s``, ``second_s``, ``ratio``."""
    from flowrl.config import PPOConfig
    from flowrl.pipeline.sizes import resolve_sizes
    from flowrl.report.bench_skills import START_STATES, open_bench

    bench, tasks = open_bench(env_name, *resolve_sizes(PPOConfig(), 1, START_STATES), 2)
    seconds = []
    for stream, task in enumerate(tasks):
        began = time.perf_counter()
        bench.trainer.assign(0, task, bench.training_worlds(stream, START_STATES))
        bench.trainer.update()
        seconds.append(time.perf_counter() - began)
    return {"first_s": seconds[0], "second_s": seconds[1], "ratio": seconds[1] / seconds[0]}


def bench_throughput(env_name: str, num_envs: int, num_steps: int, layer_size: int) -> dict[str, Any]:
    """PPO training of one skill, blocking, compilation excluded.

    Returns:
        ``steps_per_s``, and ``share``: the part of the time of env, policy, judge and update, measured in
        further updates that wait for each program.
    """
    import jax

    from flowrl.config import PPOConfig
    from flowrl.pipeline.sizes import ppo_settings, resolve_sizes
    from flowrl.report.bench_skills import START_STATES, open_bench
    from flowrl.rl.trainer import SlotTrainer

    ppo, shape = resolve_sizes(
        PPOConfig(num_envs=num_envs, num_steps=num_steps, layer_size=layer_size), 1, START_STATES
    )
    bench, [task] = open_bench(env_name, ppo, shape, 1)
    starts = bench.training_worlds(0, START_STATES)
    trainer = bench.trainer
    trainer.assign(0, task, starts)
    for _ in range(WARM_UPDATES):
        trainer.update()
    began = time.perf_counter()
    for _ in range(TIMED_UPDATES):
        trainer.update()
    rate = TIMED_UPDATES * num_envs * num_steps / (time.perf_counter() - began)

    spent: dict[str, float] = {"env": 0.0, "policy": 0.0, "judge": 0.0, "update": 0.0}
    last = [time.perf_counter()]

    def wait(stage: str, outputs: Any) -> None:
        jax.block_until_ready(outputs)
        now = time.perf_counter()
        spent[stage] += now - last[0]
        last[0] = now

    waiting = SlotTrainer(bench.programs, shape, ppo_settings(ppo), observe=wait)
    waiting.assign(0, task, starts)
    for _ in range(WARM_UPDATES):
        waiting.update()
    spent.update(dict.fromkeys(spent, 0.0))
    last[0] = time.perf_counter()
    for _ in range(TIMED_UPDATES):
        waiting.update()
    total = sum(spent.values())
    return {
        "env_name": env_name,
        "num_envs": num_envs,
        "num_steps": num_steps,
        "layer_size": layer_size,
        "steps_per_s": rate,
        "share": {stage: seconds / total for stage, seconds in spent.items()},
    }


if __name__ == "__main__":
    print(json.dumps(startup_of(sys.argv[1])))
