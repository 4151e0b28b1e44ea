"""``bench startup``, ``throughput``, ``parallel``: what a machine can do; ``llm``: what a model knows."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowrl.config import BOUNDS, ENV_NAMES, Bounds, RunConfig, validate_bounds, validate_env_name
from flowrl.errors import UserError
from flowrl.llm.config import LLM_BOUNDS, LlmConfig
from flowrl.report.commands.flags import parse_flags

_NOT_ALL_ANSWERED = 1
_SLOTS = Bounds(1, 256)


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


@dataclass(frozen=True)
class ParallelFlags:
    """Learns the same skills in K slots of one process, in K processes started together, and one after
    another, for several K. Takes minutes; stop it with Ctrl-C.

    A skill is one of the playbook's that start in fresh worlds, trained for a fixed number of env steps and
    not validated. Seconds are those of whole processes: imports, checking the skills, compiling, training.
    """

    env_name: str = "Craftax-Classic-Symbolic-v1"
    """World to train in."""

    slots: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of slots to measure; 1 is measured in any case."""

    num_skills: int | None = None
    """Skills to learn in all, at least twice as many as slots, so that each is refilled. Left out: twice."""

    total_timesteps: int = 65_536
    """Env steps of each skill, rounded up to whole updates. A fast GPU needs more to be measured: 4e6."""

    num_envs: int | None = None
    """Envs a slot. Left out: chosen from the device, as a run does; on a CPU the slots share 128."""

    num_steps: int | None = None
    """Env steps of each env between two updates. Left out: chosen from the device."""

    layer_size: int | None = None
    """Units in each hidden layer. Left out: chosen from the device."""

    cold: bool = False
    """Begin every measurement with an empty compilation cache. Left out: with one that an unmeasured run has
    filled."""

    json: bool = False
    """Print JSON, for scripts."""


@dataclass(frozen=True)
class LlmFlags:
    """Asks models for proposals from fixed frontier states (the playbook's first 0, 3, 6, 10 and 14 skills)
    and counts how many replies hold up. Only first replies count. Nothing is trained; CPU only.

    Exit code 0: every model answered everything; 1: some did not, and why.
    """

    llm_name: tuple[str, ...] = (LlmConfig.llm_name,)
    """Models to compare (repeatable), as --llm_name of bottomup takes them; playbook is the baseline."""

    env_name: str = RunConfig.env_name
    """World to propose skills for."""

    samples: int = 1
    """Proposals asked for from each frontier state."""

    record: Path | None = None
    """Folder to keep every request and reply in, one folder a model. Left out: they are not kept."""

    models_file: str | None = None
    """YAML file with your own model entries; FLOWRL_MODELS serves too."""

    max_llm_usd: float | None = None
    """Stop asking a model once its calls have cost this many US dollars."""

    max_llm_calls: int | None = None
    """Stop asking a model after this many requests, failed ones included."""

    max_requests_per_minute: int | None = None
    """At most this many requests to one model in any 60 seconds; default: the model's registry entry."""

    timeout: float | None = None
    """Seconds that one request may take; default: the model's registry entry, or 300."""

    temperature: float | None = None
    """Sampling temperature; default: the registry entry's or the provider's. Reasoning models take none."""

    max_new_tokens: int | None = None
    """The longest answer in tokens; default: the model's registry entry, or 4096."""

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


def parallel(args: Sequence[str], prog: str) -> int:
    """``flowrl bench parallel``."""
    flags = parse_flags(ParallelFlags, args, prog)
    validate_env_name(flags.env_name)
    validate_bounds(flags, BOUNDS)
    for slots in flags.slots:
        complaint = _SLOTS.complaint("slots", slots, default=4)
        if complaint:
            raise UserError(complaint)
    enough = 2 * max(flags.slots)
    num_skills = enough if flags.num_skills is None else flags.num_skills
    complaint = Bounds(enough, 10_000).complaint("num_skills", num_skills, default=None)
    if complaint:
        raise UserError(complaint)
    from flowrl.report.bench_parallel import SlotsRequest, bench_parallel, render_parallel

    everything = SlotsRequest(
        flags.env_name,
        1,
        tuple(range(num_skills)),
        flags.total_timesteps,
        flags.num_envs,
        flags.num_steps,
        flags.layer_size,
    )
    result = bench_parallel(everything, flags.slots, flags.cold, _say)
    if flags.json:
        print(json.dumps(result, indent=2))
    else:
        render_parallel(result)
    return 0


def llm(args: Sequence[str], prog: str) -> int:
    """``flowrl bench llm``."""
    flags = parse_flags(LlmFlags, args, prog)
    validate_env_name(flags.env_name)
    validate_bounds(flags, {**LLM_BOUNDS, "samples": Bounds(1, 1000)})
    from flowrl.llm.environment import load_environment
    from flowrl.llm.registry import load_registry

    load_environment()
    load_registry(flags.models_file)  # what is wrong with it is wrong for every model
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX reads it when it is first imported, which is here
    from flowrl.pipeline.bench_llm import bench_llm
    from flowrl.pipeline.probing import random_play
    from flowrl.report.bench_llm import render_scores, scores_json
    from flowrl.worlds.registry import make_world

    settings = {field.name for field in dataclasses.fields(LlmConfig)} & {
        field.name for field in dataclasses.fields(flags)
    }
    config = LlmConfig(**{name: getattr(flags, name) for name in settings - {"llm_name"}})
    world = make_world(flags.env_name)
    scores = bench_llm(flags.llm_name, config, world, random_play(world), flags.samples, flags.record, _say)
    if flags.json:
        print(json.dumps(scores_json(flags.env_name, scores), indent=2))
    else:
        render_scores(flags.env_name, scores)
    for score in scores:
        for error in score.errors:
            _say(f"error: {score.llm_name}: {error}")
    return _NOT_ALL_ANSWERED if any(score.errors for score in scores) else 0


def _say(line: str) -> None:
    """One line beside the result: progress, or what went wrong."""
    print(" ".join(line.split()), file=sys.stderr, flush=True)
