"""What happens in a run, as values. The loop emits them; the journal, the live view and wandb listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PRACTICE = "practice"
"""Stands for a skill's name while all skills are practised."""


@dataclass(frozen=True)
class Event:
    """Base of everything that a run reports."""


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins or resumes. ``accepted`` are the names of the nodes that are already there."""

    env_name: str
    graph_path: str
    llm_name: str
    max_nodes: int
    accepted: tuple[str, ...]


@dataclass(frozen=True)
class RunNote(Event):
    """One sentence that the person at the terminal should read, such as what opening the graph repaired."""

    text: str


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage begins for one skill: ``propose``, ``check``, ``plan``, ``prepare``, ``train``, ``validate``,
    ``refine``.

    ``skill`` is empty while a proposal is being asked for. ``detail`` is one short line for people.
    """

    stage: str
    skill: str
    detail: str = ""


@dataclass(frozen=True)
class TrainingProgress(Event):
    """One PPO update (or a few) later.

    Attributes:
        skill: name of the skill in training.
        env_steps: trained so far for this skill.
        budget: ``--total_timesteps``.
        steps_per_s: env steps per second, averaged over the last updates; 0 until it can be told.
        success: share of the last finished episodes that succeeded, in 0..1; None before the first.
        success_low: Wilson lower bound of it; None before the first.
        metrics: losses, entropy, mean reward, mean episode length, by name.
    """

    skill: str
    env_steps: int
    budget: int
    steps_per_s: float
    success: float | None
    success_low: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Practised(Event):
    """All skills were trained together.

    Attributes:
        skills: their names.
        env_steps: of training.
        achieved: mean share of all achievements in the last episodes from fresh worlds; None without any.
    """

    skills: tuple[str, ...]
    env_steps: int
    achieved: float | None


@dataclass(frozen=True)
class SkillValidated(Event):
    """Held-out episodes were played.

    Attributes:
        success: share of ``episodes`` that succeeded.
        success_low: Wilson lower bound of it.
        wanted: what that had to reach now; where it did not, training goes on while there is budget.
    """

    skill: str
    episodes: int
    success: float
    success_low: float
    wanted: float


@dataclass(frozen=True)
class SkillAccepted(Event):
    """A skill joined the graph as node ``index``. ``summary`` is the node as ``status --json`` shows it."""

    index: int
    skill: str
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class SkillRefused(Event):
    """A proposal or a trained skill was refused. ``stage`` and ``reason`` as in ``ProposalRefused``.

    ``llm`` says who wrote what was trained and what that cost, as in ``SkillNode.llm``; empty before.
    """

    skill: str
    stage: str
    reason: str
    llm: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OperatorRefined(Event):
    """A trained skill's operator was held against what its policy really does.

    Attributes:
        before, after: the operator's three sections as a model writes them; equal where nothing changed.
        changes: what was corrected: ``part``, ``fact``, ``before``, ``after``, ``evidence`` (counts of
            episodes by what they count) and ``reason``.
        not_taken: what was considered or proposed by the analyst and not done, in the same form.
        successes, failures: episodes played for it.
        env_steps: spent on it.
        note: what could not be had or was not believed, in sentences; empty when nothing.
    """

    skill: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    changes: tuple[Mapping[str, Any], ...]
    not_taken: tuple[Mapping[str, Any], ...]
    successes: int
    failures: int
    env_steps: int
    note: str = ""


@dataclass(frozen=True)
class RunFinished(Event):
    """The run ends. ``reason`` is empty when all nodes are there, else why it stopped early."""

    accepted: int
    env_steps: int
    wall_s: float
    reason: str = ""


Listener = Callable[[Event], None]
