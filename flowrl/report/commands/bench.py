"""``bench startup`` and ``bench throughput``: what this machine does in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from flowrl.config import BOUNDS, ENV_NAMES, validate_bounds, validate_env_name
from flowrl.report.commands.flags import parse_flags


@dataclass(frozen=True)
class StartupFlags:
    """Seconds from a checked skill to its first finished PPO update, for the first and the second skill of a
    process, with an empty compilation cache."""

    env_name: tuple[str, ...] = ENV_NAMES
    """Worlds to measure."""

    json: bool = False
    """Print JSON, for scripts."""


@dataclass(frozen=True)
class ThroughputFlags:
    """Env steps per second of PPO training, compilation excluded, and where the time goes."""

    env_name: str = "Craftax-Symbolic-v1"
    """World to train in."""

    num_envs: int = 128
    """Envs that step side by side."""

    num_steps: int = 64
    """Env steps of each env between two updates."""

    layer_size: int = 128
    """Units in each hidden layer."""

    json: bool = False
    """Print JSON, for scripts."""


def startup(args: Sequence[str], prog: str) -> int:
    """``flowrl bench startup``."""
    flags = parse_flags(StartupFlags, args, prog)
    for env_name in flags.env_name:
        validate_env_name(env_name)
    from flowrl.report.bench import bench_startup

    measured = bench_startup(flags.env_name)
    if flags.json:
        print(json.dumps(measured, indent=2))
        return 0
    for env_name, seconds in measured.items():
        first, second, ratio = seconds["first_s"], seconds["second_s"], seconds["ratio"]
        print(f"{env_name}: first skill {first:.2f} s, second skill {second:.2f} s, ratio {ratio:.3f}")
    return 0


def throughput(args: Sequence[str], prog: str) -> int:
    """``flowrl bench throughput``."""
    flags = parse_flags(ThroughputFlags, args, prog)
    validate_env_name(flags.env_name)
    validate_bounds(flags, BOUNDS)
    from flowrl.report.bench import bench_throughput

    measured = bench_throughput(flags.env_name, flags.num_envs, flags.num_steps, flags.layer_size)
    if flags.json:
        print(json.dumps(measured, indent=2))
        return 0
    shape = f"{flags.num_envs} envs x {flags.num_steps} steps, layers of {flags.layer_size}"
    print(f"{flags.env_name}, {shape}: {measured['steps_per_s']:,.0f} env steps/s")
    for part, fraction in measured["share"].items():
        print(f"  {part:<8} {fraction:6.1%}")
    return 0
