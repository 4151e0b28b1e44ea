"""``bottomup`` and ``bottomup-parallel``: flags to a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flowrl.config import RunConfig, flags_of, validate, validate_bounds
from flowrl.llm.config import LLM_BOUNDS, LlmConfig
from flowrl.pipeline.events import Listener
from flowrl.pipeline.parallel_config import ONE_AT_A_TIME, ParallelConfig, validate_parallel
from flowrl.report.commands.flags import format_count, parse_flags
from flowrl.report.live import terminal_view
from flowrl.report.running import RunningFile
from flowrl.report.tracking import WandbTracker


@dataclass(frozen=True)
class BottomUpFlags:
    """Learns a skill graph: a language model proposes a skill, PPO learns it, held-out worlds prove it.

    The graph is on disk after every skill. The same command goes on where it stopped.
    """

    run: RunConfig = field(default_factory=RunConfig)

    llm: LlmConfig = field(default_factory=LlmConfig)


@dataclass(frozen=True)
class BottomUpParallelFlags:
    """Like bottomup, with several skills in training at a time: in one process on one device, or in workers
    on the GPUs of many machines. docs/cluster.md says what suits what you have.
    """

    parallel: ParallelConfig = field(default_factory=ParallelConfig)

    run: RunConfig = field(default_factory=RunConfig)

    llm: LlmConfig = field(default_factory=LlmConfig)


def bottomup(args: Sequence[str], prog: str) -> int:
    """``flowrl bottomup``."""
    flags = parse_flags(BottomUpFlags, args, prog)
    return _learn(flags.run, flags.llm, ONE_AT_A_TIME)


def bottomup_parallel(args: Sequence[str], prog: str) -> int:
    """``flowrl bottomup-parallel``."""
    flags = parse_flags(BottomUpParallelFlags, args, prog)
    return _learn(flags.run, flags.llm, flags.parallel)


def _learn(run: RunConfig, llm: LlmConfig, parallel: ParallelConfig) -> int:
    validate(run)
    validate_bounds(llm, LLM_BOUNDS)
    validate_parallel(parallel)
    if run.dry_run:
        for flag, value in [*flags_of(run), *flags_of(llm), *flags_of(parallel)]:
            print(f"{flag:<26} {_shown(value)}")
        return 0
    from flowrl.llm.environment import load_environment
    from flowrl.pipeline.run import run_bottomup

    load_environment()
    with _listeners(run, llm) as listeners:
        return run_bottomup(run, llm, listeners, parallel)


@contextlib.contextmanager
def _listeners(run: RunConfig, llm: LlmConfig) -> Iterator[list[Listener]]:
    """Who watches the run: this terminal, ``status`` in others and, if asked for, wandb."""
    with terminal_view() as view, contextlib.closing(RunningFile(run.graph_path)) as running:
        if not run.use_wandb:
            yield [view, running]
            return
        # Names and limits only: keys are read from the environment, and no flag holds one.
        described = {**dict(flags_of(run)), **dict(flags_of(llm))}
        tracker = WandbTracker(group=str(run.graph_path), config=described, folder=run.graph_path)
        try:
            yield [view, running, tracker]
        finally:
            tracker.close()


def _shown(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, int) and not isinstance(value, bool):
        return format_count(value)
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)
