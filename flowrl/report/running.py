"""What a run is at right now, in a file: ``status`` shows it in another terminal, or on another machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from flowrl.errors import GraphError
from flowrl.pipeline.events import Event, RunFinished, TrainingProgress
from flowrl.report.progress import RunState, Underway
from flowrl.store import atomic
from flowrl.store.layout import GraphLayout

EVERY_S = 2.0
"""Seconds between two writes while skills train; a new stage is written at once."""

SILENT_AFTER_S = 120.0
"""Without news for so long, a run has probably ended without a word. Compiling alone takes up to a minute."""


@dataclass(frozen=True)
class RunningSkill:
    """One skill between its proposal and its verdict; numbers are None before it trains.

    Attributes:
        skill: name; empty while a proposal is being asked for.
        stage: as in :class:`~flowrl.pipeline.events.StageStarted`.
        detail: one line.
        env_steps: trained so far.
        budget: ``--total_timesteps``.
        steps_per_s: env steps a second.
        success: share of its last episodes.
        success_low: Wilson lower bound of it.
    """

    skill: str
    stage: str
    detail: str
    env_steps: int | None = None
    budget: int | None = None
    steps_per_s: float | None = None
    success: float | None = None
    success_low: float | None = None


@dataclass(frozen=True)
class Running:
    """A run as it last said.

    Attributes:
        updated: when, in seconds since the epoch.
        host, pid: where it runs.
        env_name: the world.
        llm_name: who proposes.
        max_nodes: how many skills it goes for.
        skills: all that it is at.
    """

    updated: float
    host: str
    pid: int
    env_name: str
    llm_name: str
    max_nodes: int
    skills: tuple[RunningSkill, ...]


class RunningFile:
    """A listener that keeps ``running.json`` up to date, and removes it when the run ends.

    A file that cannot be written stops nothing: what must be on disk says so itself.
    """

    def __init__(self, graph_path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = GraphLayout(graph_path).running
        self._clock = clock
        self._written = float("-inf")
        self._state = RunState()

    def __call__(self, event: Event) -> None:
        """Takes one event; see :data:`flowrl.pipeline.events.Listener`."""
        self._state.take(event)
        if isinstance(event, RunFinished):
            self.close()
            return
        now = self._clock()
        if self._state.started is None or (
            isinstance(event, TrainingProgress) and now - self._written < EVERY_S
        ):
            return
        self._written = now
        with contextlib.suppress(GraphError):
            atomic.write_bytes(self._path, json.dumps(asdict(self._running(now))).encode())

    def close(self) -> None:
        """Removes the file that this listener wrote; harmless when called twice."""
        if self._written == float("-inf"):
            return  # It never began, for example because another run is at work there: that one's stays.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _running(self, now: float) -> Running:
        started = self._state.started
        assert started is not None
        skills = tuple(_running_skill(skill) for skill in self._state.underway.values())
        return Running(
            now, platform.node(), os.getpid(), started.env_name, started.llm_name, started.max_nodes, skills
        )


def _running_skill(underway: Underway) -> RunningSkill:
    latest = underway.latest
    if latest is None:
        return RunningSkill(underway.skill, underway.stage, underway.detail)
    return RunningSkill(
        underway.skill,
        underway.stage,
        underway.detail,
        latest.env_steps,
        latest.budget,
        latest.steps_per_s,
        latest.success,
        latest.success_low,
    )


def read_running(graph_path: Path) -> Running | None:
    """What the run at ``graph_path`` last said; None when none is at work there."""
    try:
        data = GraphLayout(graph_path).running.read_bytes()
    except OSError:
        return None
    import pydantic  # only where a run is at work: `status` starts fast

    try:
        return pydantic.TypeAdapter(Running).validate_json(data)
    except pydantic.ValidationError:
        return None  # another version's; nothing depends on it
