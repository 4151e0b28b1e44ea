"""The state of a run as its events tell it: what the live view draws and the plain lines are made from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flowrl.pipeline.events import (
    PRACTICE,
    Event,
    OperatorRefined,
    Practised,
    RunFinished,
    RunStarted,
    SkillAccepted,
    SkillRefused,
    StageStarted,
    TrainingProgress,
)

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class NodeLine:
    """One accepted node. Numbers are None where this process did not learn them (a resumed node)."""

    index: int
    name: str
    success: float | None = None
    success_low: float | None = None
    env_steps: int | None = None
    wall_s: float | None = None


@dataclass
class Underway:
    """One skill between its proposal and its verdict. ``curve`` is the success after each report."""

    skill: str
    stage: str
    detail: str = ""
    latest: TrainingProgress | None = None
    curve: list[float] = field(default_factory=list)


@dataclass
class RunState:
    """Everything that a view shows, brought up to date by :meth:`take`."""

    started: RunStarted | None = None
    nodes: list[NodeLine] = field(default_factory=list)
    underway: dict[str, Underway] = field(default_factory=dict)
    corrected: list[OperatorRefined] = field(default_factory=list)
    refused: list[SkillRefused] = field(default_factory=list)
    finished: RunFinished | None = None

    def take(self, event: Event) -> None:
        """Updates the state with one event."""
        match event:
            case RunStarted():
                self.started = event
                self.nodes = [NodeLine(index, name) for index, name in enumerate(event.accepted)]
            case StageStarted():
                self._enter(event)
            case TrainingProgress():
                skill = self.underway.setdefault(event.skill, Underway(event.skill, "train"))
                skill.stage, skill.latest = "train", event  # also when it trains on after a validation
                if event.success is not None:
                    skill.curve.append(event.success)
            case OperatorRefined() if event.changes:
                self.corrected.append(event)
            case Practised():
                self.underway.pop(PRACTICE, None)
            case SkillAccepted():
                self.underway.pop(event.skill, None)
                self.nodes.append(_node_line(event))
            case SkillRefused():
                self.underway.pop(event.skill, None)
                self.underway.pop("", None)
                self.refused.append(event)
            case RunFinished():
                self.underway.clear()
                self.finished = event
            case _:
                pass

    def _enter(self, event: StageStarted) -> None:
        if event.skill:
            self.underway.pop("", None)  # what was being asked for has a name now
        skill = self.underway.setdefault(event.skill, Underway(event.skill, event.stage))
        skill.stage, skill.detail = event.stage, event.detail


def _node_line(event: SkillAccepted) -> NodeLine:
    summary = event.summary
    return NodeLine(
        index=event.index,
        name=event.skill,
        success=summary.get("success"),
        success_low=summary.get("success_low"),
        env_steps=summary.get("env_steps"),
        wall_s=summary.get("wall_s"),
    )


def corrections(event: OperatorRefined) -> str:
    """What was corrected of an operator, on one line: ``consumes inventory:wood 3 -> 1``."""
    return "; ".join(
        f"{change['part']} {change['fact']} {_entry(change['before'])} -> {_entry(change['after'])}"
        for change in event.changes
    )


def _entry(count: Any) -> str:
    return "none" if count is None else str(count)


def time_left_s(progress: TrainingProgress) -> float | None:
    """Seconds until the budget is spent at the present speed: an upper bound, success ends it earlier."""
    if progress.steps_per_s <= 0:
        return None
    return max(0, progress.budget - progress.env_steps) / progress.steps_per_s


def sparkline(values: Sequence[float], width: int) -> str:
    """Shares in 0..1 as a row of at most ``width`` bars; longer curves are averaged down.

    >>> sparkline([0.0, 0.5, 1.0], 10)
    '▁▅█'
    """
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)] if count else [0]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    return "".join(_BARS[min(len(_BARS) - 1, max(0, int(mean * len(_BARS))))] for mean in means)


def duration(seconds: float | None) -> str:
    """``8s``, ``3m20s``, ``2h05m``; a dash when unknown."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def share(success: float | None, low: float | None) -> str:
    """``93% (at least 89%)``: a success rate with its Wilson lower bound; a dash when unknown."""
    if success is None:
        return "-"
    return f"{success:.0%}" + ("" if low is None else f" (at least {low:.0%})")


def training_line(progress: TrainingProgress) -> str:
    """``120,000/2,000,000 env steps, success 42% (at least 31%), 3,021/s, max 10m22s left``."""
    achieved = progress.metrics.get("achieved")
    worth = (
        f"success {share(progress.success, progress.success_low)}"
        if achieved is None
        else f"{achieved:.0%} of all achievements in {progress.metrics['episode_length']:.0f} steps"
    )
    return (
        f"{progress.env_steps:,}/{progress.budget:,} env steps, {worth}, "
        f"{progress.steps_per_s:,.0f}/s, max {duration(time_left_s(progress))} left"
    )
