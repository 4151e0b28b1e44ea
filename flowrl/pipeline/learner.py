"""One skill from prepared start states to evidence: train, watch its success, validate on unseen worlds."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.codegen.check import CheckedSkill
from flowrl.config import RunConfig
from flowrl.errors import ProposalRefused
from flowrl.pipeline.events import Listener, StageStarted, TrainingProgress
from flowrl.pipeline.prepare import StartStateSource
from flowrl.pipeline.workbench import Workbench
from flowrl.rl.environment import Placed
from flowrl.rl.episodes import Outcomes
from flowrl.rl.task import Task
from flowrl.rl.trainer import SlotReport
from flowrl.skills.graph import EnvSteps, Evidence, wilson_interval

WINDOW_EPISODES = 256
"""Episodes that the running estimate of success looks back on."""

WINDOW_UPDATES = 4
"""It spans at least so many updates: short successes finish first and would flatter a single batch."""

RATE_UPDATES = 8
"""Updates that the speed shown is averaged over."""

REFRESH_SHARE = 0.1
"""Env steps spent on new start states during training, at most, as a share of those trained."""


class SuccessWindow:
    """A running estimate of success over the last episodes."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int]] = deque()

    def add(self, episodes: int, successes: int) -> None:
        """Takes in one update's finished episodes and forgets what is no longer needed."""
        self._batches.append((episodes, successes))
        while len(self._batches) > WINDOW_UPDATES and self.episodes - self._batches[0][0] >= WINDOW_EPISODES:
            self._batches.popleft()

    @property
    def episodes(self) -> int:
        """Episodes in the window."""
        return sum(episodes for episodes, _ in self._batches)

    @property
    def success(self) -> float | None:
        """Share of them that succeeded, None before the first."""
        return sum(s for _, s in self._batches) / self.episodes if self.episodes else None

    @property
    def success_low(self) -> float | None:
        """Wilson lower bound of it."""
        if not self.episodes:
            return None
        return wilson_interval(sum(s for _, s in self._batches), self.episodes)[0]

    @property
    def full(self) -> bool:
        """Whether it holds enough to decide on."""
        return len(self._batches) >= WINDOW_UPDATES and self.episodes >= WINDOW_EPISODES


class UpdateClock:
    """How many updates a second, over the last few. The first is not timed: it may compile."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=RATE_UPDATES + 1)

    def lap(self) -> float:
        """Notes the end of an update; updates a second, 0.0 while there is nothing to compare with."""
        self._ends.append(time.monotonic())
        elapsed = self._ends[-1] - self._ends[0]
        return (len(self._ends) - 1) / elapsed if elapsed else 0.0


@dataclass
class SkillInTraining:
    """A skill that has a slot.

    Attributes:
        skill: checked code and operator.
        task: what the slot trains.
        source: of start states.
        slot: its place in the trainer.
        llm: role -> model that wrote it.
        reply: the model's whole reply.
        asked_at: ``time.monotonic()`` when its proposal was asked for.
        env_steps: what it has cost so far.
        evidence: of the last validation.
    """

    skill: CheckedSkill
    task: Task
    source: StartStateSource
    slot: int
    llm: dict[str, Any]
    reply: str
    bench: Workbench
    config: RunConfig
    emit: Listener
    asked_at: float
    env_steps: EnvSteps = field(default_factory=EnvSteps)
    curves: list[dict[str, float]] = field(default_factory=list)
    window: SuccessWindow = field(default_factory=SuccessWindow)
    starts: Placed | None = None
    evidence: Evidence | None = None
    _validations: int = 0
    _next_validation: int = 0
    _refreshes: int = 0
    _refreshed: int = 0
    _refresh_cost: int = 0
    _clock: UpdateClock = field(default_factory=UpdateClock)

    @property
    def name(self) -> str:
        """Of the skill."""
        return self.skill.proposal.name

    @property
    def train_steps(self) -> int:
        """Env steps trained so far."""
        return self.env_steps.train

    @property
    def wall_s(self) -> float:
        """Seconds since its proposal was asked for."""
        return time.monotonic() - self.asked_at

    def _spend(self, stage: Literal["train", "prepare", "validate"], count: int) -> None:
        self.env_steps = dataclasses.replace(
            self.env_steps, **{stage: getattr(self.env_steps, stage) + count}
        )

    @contextlib.contextmanager
    def _counting(self, stage: Literal["prepare", "validate"]) -> Iterator[None]:
        """The env steps made inside count for ``stage``, also when it ends in a refusal."""
        before = self.bench.programs.env_steps
        try:
            yield
        finally:
            self._spend(stage, self.bench.programs.env_steps - before)

    def prepare(self) -> None:
        """Banks start states and takes the slot.

        Raises:
            ProposalRefused: stage ``prepare``.
        """
        self.emit(StageStarted("prepare", self.name, str(self.source.steps)))
        with self._counting("prepare"):
            self.starts = self.source.training(self.bench.shape.bank_size)
        self._refresh_cost = self.env_steps.prepare // 4
        self.bench.trainer.assign(self.slot, self.task, self.starts)
        self.emit(StageStarted("train", self.name, f"up to {self.budget:,} env steps"))

    @property
    def budget(self) -> int:
        """Env steps that training may take."""
        return self.config.ppo.total_timesteps

    @property
    def lr_scale(self) -> float:
        """What the learning rate is multiplied by now: falls to 0 over the budget with ``--anneal_lr``."""
        return max(1.0 - self.train_steps / self.budget, 0.0) if self.config.ppo.anneal_lr else 1.0

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.train_steps >= self.budget

    def note(self, report: SlotReport) -> None:
        """Takes in one update: curves, the success window, and new start states when they are due."""
        shape = self.bench.shape
        self._spend("train", shape.num_envs * shape.num_steps)
        self.window.add(report.episodes, report.successes)
        rate = self._clock.lap() * shape.batch * shape.num_steps
        metrics = {"episode_length": report.mean_length, **report.metrics}
        success = self.window.success
        self.curves.append(
            {"env_steps": self.train_steps, "success": -1.0 if success is None else success, **metrics}
        )
        self.emit(
            TrainingProgress(
                self.name, self.train_steps, self.budget, rate, success, self.window.success_low, metrics
            )
        )
        self._refresh_starts()

    def _refresh_starts(self) -> None:
        """Replaces a quarter of the bank when that is cheap against what was trained since."""
        if self._refreshed + self._refresh_cost > REFRESH_SHARE * self.train_steps:
            return
        quarter = max(self.bench.shape.bank_size // 4, 1)
        before, fresh = self.env_steps.prepare, None
        # When the plan does not work often enough this time, the bank stays as it is.
        with self._counting("prepare"), contextlib.suppress(ProposalRefused):
            fresh = self.source.training(quarter)
        # Worlds themselves cost about 20 env steps each to generate.
        self._refresh_cost = self.env_steps.prepare - before + 20 * quarter
        self._refreshed += self._refresh_cost
        if fresh is not None and fresh.rows == quarter:
            at = self._refreshes * quarter % self.bench.shape.bank_size
            self.bench.trainer.refresh(self.slot, fresh, min(at, self.bench.shape.bank_size - quarter))
            self._refreshes += 1

    @property
    def due(self) -> bool:
        """Whether it is time to validate: success looks high enough, or the budget is spent."""
        if self.spent:
            return True
        low = self.window.success_low
        wanted = self.config.validation.success_state_rate
        return (
            self.window.full
            and low is not None
            and low >= wanted
            and self.train_steps >= self._next_validation
        )

    def validate(self) -> bool:
        """Episodes on worlds that training never saw; True when the skill is good enough.

        Raises:
            ProposalRefused: stage ``train`` or ``validate``, when it is not and the budget is spent; stage
                ``prepare``, when the plan to its start states fails in these worlds.
        """
        wanted = self.config.validation.success_state_rate
        success = self.window.success or 0.0
        if self.spent and success < wanted - 0.15:
            raise ProposalRefused(
                "train",
                f"{self.name!r} succeeded in {success:.0%} of its last episodes after {self.train_steps:,} "
                f"env steps; {wanted:.0%} are needed.",
                "Shape the reward towards the goal (distance to what is needed), or split the skill in two.",
            )
        episodes = self.config.validation.validation_episodes
        self.emit(StageStarted("validate", self.name, f"{episodes} episodes on unseen worlds"))
        with self._counting("validate"):
            starts = self.source.held_out(episodes, self._validations)
            outcomes = self.bench.episodes.run(
                self.task,
                self.bench.trainer.params(self.slot),
                starts,
                jax.random.fold_in(jax.random.key(self.bench.seed + 1), self._validations),
            )
        self._validations += 1
        self.evidence = evidence_of(outcomes, self.task, self.skill)
        self._clock = UpdateClock()
        if self.evidence.success_low >= wanted:
            return True
        if self.spent:
            raise ProposalRefused(
                "validate",
                f"{self.name!r} succeeded in {self.evidence.success:.0%} of {episodes} episodes on unseen "
                f"worlds (at least {self.evidence.success_low:.0%} with 95% confidence; {wanted:.0%} are "
                "needed). "
                f"Measured gains: {_shares(self.evidence)}; deaths: {self.evidence.deaths:.0%}.",
                "If a gain was rarely measured, declare what really changes; if episodes ended by death, "
                "reward staying alive.",
            )
        self._next_validation = self.train_steps + max(
            self.train_steps // 10, WINDOW_UPDATES * self.bench.shape.num_envs * self.bench.shape.num_steps
        )
        return False


def evidence_of(outcomes: Outcomes, task: Task, skill: CheckedSkill) -> Evidence:
    """What held-out episodes measured."""
    episodes = len(outcomes.success)
    successes = int(np.sum(outcomes.success))
    start, end, repeats = (jnp.asarray(rows) for rows in (outcomes.start, outcomes.end, outcomes.n))
    measured = {
        fact: float(np.mean(gain.met(start, end, repeats)))
        for fact, gain in zip(skill.proposal.operator.gains, task.gains, strict=True)
    }
    return Evidence(
        episodes=episodes,
        successes=successes,
        gains=measured,
        deaths=float(np.mean(outcomes.died)),
        mean_length=float(np.mean(outcomes.length)),
    )


def _shares(evidence: Evidence) -> str:
    return ", ".join(f"{fact} {share:.0%}" for fact, share in evidence.gains.items())
