"""``bottomup`` and ``bottomup-parallel``: flags to a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flowrl.config import Bounds, RunConfig, flags_of, validate, validate_bounds
from flowrl.errors import UserError
from flowrl.llm.config import LLM_BOUNDS, LlmConfig
from flowrl.pipeline.events import Listener
from flowrl.report.commands.flags import format_count, parse_flags
from flowrl.report.live import terminal_view
from flowrl.report.tracking import WandbTracker

_SLOTS = Bounds(1, 256)


@dataclass(frozen=True)
class BottomUpFlags:
    """Learns a skill graph: a language model proposes a skill, PPO learns it, held-out worlds prove it.

    The graph is on disk after every skill. The same command goes on where it stopped.
    """

    run: RunConfig = field(default_factory=RunConfig)

    llm: LlmConfig = field(default_factory=LlmConfig)


@dataclass(frozen=True)
class BottomUpParallelFlags:
    """Like bottomup, with several skills in training at a time, in one process and on one device."""

    max_parallel_skills: int = 4
    """Skills in training at a time."""

    run: RunConfig = field(default_factory=RunConfig)

    llm: LlmConfig = field(default_factory=LlmConfig)


def bottomup(args: Sequence[str], prog: str) -> int:
    """``flowrl bottomup``."""
    flags = parse_flags(BottomUpFlags, args, prog)
    return _learn(flags.run, flags.llm, max_parallel_skills=1)


def bottomup_parallel(args: Sequence[str], prog: str) -> int:
    """``flowrl bottomup-parallel``."""
    flags = parse_flags(BottomUpParallelFlags, args, prog)
    complaint = _SLOTS.complaint("max_parallel_skills", flags.max_parallel_skills, default=4)
    if complaint:
        raise UserError(complaint)
    return _learn(flags.run, flags.llm, flags.max_parallel_skills)


def _learn(run: RunConfig, llm: LlmConfig, max_parallel_skills: int) -> int:
    validate(run)
    validate_bounds(llm, LLM_BOUNDS)
    if run.dry_run:
        for flag, value in [*flags_of(run), *flags_of(llm), ("max_parallel_skills", max_parallel_skills)]:
            print(f"{flag:<26} {_shown(value)}")
        return 0
    from flowrl.llm.environment import load_environment
    from flowrl.pipeline.run import run_bottomup

    load_environment()
    with _listeners(run, llm) as listeners:
        return run_bottomup(run, llm, listeners, max_parallel_skills)


@contextlib.contextmanager
def _listeners(run: RunConfig, llm: LlmConfig) -> Iterator[list[Listener]]:
    """Who watches the run: this terminal and, if asked for, wandb."""
    with terminal_view() as view:
        if not run.use_wandb:
            yield [view]
            return
        # Names and limits only: keys are read from the environment, and no flag holds one.
        described = {**dict(flags_of(run)), **dict(flags_of(llm))}
        tracker = WandbTracker(group=str(run.graph_path), config=described, folder=run.graph_path)
        try:
            yield [view, tracker]
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
