"""A run as plain lines: for logs, pipes and dumb terminals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flowrl.pipeline.events import (
    Event,
    OperatorRefined,
    Practised,
    RunFinished,
    RunNote,
    RunStarted,
    SkillAccepted,
    SkillRefused,
    SkillValidated,
    StageStarted,
    TrainingProgress,
)
from flowrl.report.progress import corrections, duration, share, training_line

_SECONDS_BETWEEN_LINES = 10.0


class PlainLines:
    """Writes one line a stage and, while a skill trains, one every few seconds.

    Args:
        write: prints one line.
        clock: seconds, monotonic.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._began = clock()
        self._last_line: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Takes one event; see :data:`flowrl.pipeline.events.Listener`."""
        with self._lock:
            line = self._line(event)
            if line is not None:
                self._write(f"[{duration(self._clock() - self._began):>6}] {line}")

    def _line(self, event: Event) -> str | None:
        match event:
            case RunStarted():
                there = f"{len(event.accepted)} there" if event.accepted else "new"
                return (
                    f"{event.env_name}, {event.llm_name}: graph {event.graph_path} ({there}), "
                    f"up to {event.max_nodes} skills"
                )
            case RunNote():
                return f"note: {event.text}"
            case StageStarted():
                return " ".join(part for part in (event.stage, event.skill, event.detail) if part)
            case TrainingProgress():
                return self._training(event)
            case OperatorRefined() if event.changes:
                return f"corrected {event.skill}: {corrections(event)}"
            case Practised():
                worth = "" if event.achieved is None else f": {event.achieved:.0%} of all achievements"
                return f"practised {len(event.skills)} skills{worth}, {event.env_steps:,} env steps"
            case SkillValidated():
                success = share(event.success, event.success_low)
                return f"validated {event.skill}: success {success}, wanted {event.wanted:.0%}"
            case SkillAccepted():
                summary = event.summary
                steps = summary.get("env_steps")
                took = f", {steps:,} env steps" if isinstance(steps, int) else ""
                success = share(summary.get("success"), summary.get("success_low"))
                return f"accepted {event.index} {event.skill}: success {success}{took}"
            case SkillRefused():
                return f"refused {event.skill or 'a reply'} [{event.stage}] {event.reason}"
            case RunFinished():
                outcome = f"stopped: {event.reason}" if event.reason else "done"
                spent = f"{event.env_steps:,} env steps, {duration(event.wall_s)}"
                return f"{outcome}; {event.accepted} skills, {spent}"
            case _:
                return None

    def _training(self, event: TrainingProgress) -> str | None:
        now = self._clock()
        if now - self._last_line.get(event.skill, float("-inf")) < _SECONDS_BETWEEN_LINES:
            return None
        self._last_line[event.skill] = now
        return f"train {event.skill}: {training_line(event)}"
