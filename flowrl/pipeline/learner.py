"""One skill from a job to an outcome: prepare start states, train, watch its success, validate it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.codegen.check import restore
from flowrl.config import RunConfig
from flowrl.errors import ProposalRefused
from flowrl.pipeline.events import Listener, SkillValidated, StageStarted, TrainingProgress
from flowrl.pipeline.fresh_worlds import part_to_renew
from flowrl.pipeline.jobs import TrainingJob
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.maintenance import lowest_vitals
from flowrl.pipeline.prepare import StartStateSource
from flowrl.pipeline.refine import Refined, refine_skill
from flowrl.pipeline.running_estimates import WINDOW_UPDATES, SuccessWindow, UpdateClock
from flowrl.pipeline.streams import stream_number
from flowrl.pipeline.tasks import barred_actions, make_task
from flowrl.pipeline.workbench import Workbench
from flowrl.rl.environment import Placed
from flowrl.rl.episodes import Outcomes
from flowrl.rl.network import without_actions
from flowrl.rl.task import Task
from flowrl.rl.trainer import SlotReport
from flowrl.skills.evidence import Evidence
from flowrl.skills.operator import Operator

DOUBT_AFTER = 0.25
"""Share of the budget without any success after which the operator itself is looked at."""

REFRESH_SHARE = 0.2
"""Env steps spent on new start states during training, at most, as a share of those trained."""


class SkillInTraining:
    """A job that has a slot.

    Args:
        job: what to train.
        slot: its place in the trainer.
        library: holds the skills that the job's plan runs.
        bench: world, programs, trainer.
        config: when a skill is good enough, and what it may cost.
        emit: is told of stages and progress.

    Attributes:
        env_steps: what it has cost so far.
        curves: one record an update.
        starts: the start states that it was given at first; None until it is prepared.
        evidence: of the last validation, or None.
        refined: its operator held against what its policy does, or None.

    Raises:
        GraphError: the job's code is damaged.
    """

    def __init__(
        self,
        job: TrainingJob,
        slot: int,
        library: SkillLibrary,
        bench: Workbench,
        config: RunConfig,
        emit: Listener,
    ) -> None:
        self.job = job
        self.slot = slot
        self.env_steps = job.env_steps
        self.curves: list[dict[str, float]] = []
        self.starts: Placed | None = None
        self.evidence: Evidence | None = None
        self.refined: Refined | None = None
        self._bench = bench
        self._config = config
        self._emit = emit
        checked = restore(job.proposal, job.artifact, bench.world.snapshot_spec, f"the code of {job.name!r}")
        operator = job.proposal.operator
        self._task = make_task(
            job.name, operator, checked.program, bench.world, job.max_steps, job.max_repeat
        )
        self._source = StartStateSource(job.name, operator, job.plan, library, bench, job.stream)
        self._window = SuccessWindow()
        self._clock = UpdateClock()
        self._validations = 0
        self._next_validation = 0
        self._doubted = False
        self._refreshes = 0
        self._refreshed = 0
        self._refresh_cost = 0

    @property
    def train_steps(self) -> int:
        """Env steps trained so far."""
        return self.env_steps.train

    def _spend(self, stage: Literal["train", "prepare", "validate", "refine"], count: int) -> None:
        self.env_steps = dataclasses.replace(
            self.env_steps, **{stage: getattr(self.env_steps, stage) + count}
        )

    @contextlib.contextmanager
    def _counting(self, stage: Literal["prepare", "validate", "refine"]) -> Iterator[None]:
        """The env steps made inside count for ``stage``, also when it ends in a refusal."""
        before = self._bench.programs.env_steps
        try:
            yield
        finally:
            self._spend(stage, self._bench.programs.env_steps - before)

    def prepare(self) -> None:
        """Banks start states and takes the slot.

        Raises:
            ProposalRefused: stage ``prepare``.
        """
        self._emit(StageStarted("prepare", self.job.name, str(self._source.steps)))
        before = self.env_steps.prepare
        with self._counting("prepare"):
            self.starts = self._source.training(self._bench.shape.bank_size)
        share = self._refresh_part / self._bench.shape.bank_size
        self._refresh_cost = int(share * (self.env_steps.prepare - before))
        bank = self._varied(self.starts)
        self._bench.trainer.assign(self.slot, self._task, bank, self._first_params())
        self._emit(StageStarted("train", self.job.name, f"up to {self.budget:,} env steps"))

    def _first_params(self) -> Any:
        if self.job.params is not None:
            return jax.tree.map(jnp.asarray, self.job.params)
        params = self._bench.trainer.initial_params(self._key("params"))
        barred = barred_actions(self.job.proposal.operator, self._bench.world)
        return without_actions(params, barred) if barred else params

    def _varied(self, starts: Placed) -> Placed:
        lowest = lowest_vitals(self.job.proposal.operator, self._bench.world)
        return self._bench.varied(starts, lowest, self._key("varied", self._refreshes)) if lowest else starts

    def _key(self, *purpose: str | int) -> jax.Array:
        """A random key that depends on the run's seed, the job and the purpose alone."""
        return jax.random.fold_in(jax.random.key(self._config.seed), stream_number(self.job.stream, *purpose))

    @property
    def budget(self) -> int:
        """Env steps that training may take."""
        return self._config.ppo.total_timesteps

    @property
    def lr_scale(self) -> float:
        """What the learning rate is multiplied by now: falls to 0 over the budget with ``--anneal_lr``."""
        return max(1.0 - self.train_steps / self.budget, 0.0) if self._config.ppo.anneal_lr else 1.0

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.train_steps >= self.budget

    def note(self, report: SlotReport) -> None:
        """Takes in one update: curves, the success window, and new start states when they are due."""
        shape = self._bench.shape
        self._spend("train", shape.num_envs * shape.num_steps)
        self._window.add(report.episodes, report.successes)
        rate = self._clock.lap() * shape.num_envs * shape.num_steps
        metrics = {"episode_length": report.mean_length, **report.metrics}
        success = self._window.success
        self.curves.append(
            {"env_steps": self.train_steps, "success": -1.0 if success is None else success, **metrics}
        )
        self._emit(
            TrainingProgress(
                self.job.name, self.train_steps, self.budget, rate, success, self._window.success_low, metrics
            )
        )
        self._refresh_starts()

    @property
    def _refresh_part(self) -> int:
        """New start states at a time: a plan is carried out in all envs at once, so fewer cost as much."""
        shape = self._bench.shape
        return min(max(shape.num_envs, shape.bank_size // 4), shape.bank_size)

    def _refresh_starts(self) -> None:
        """Replaces a part of the bank when that is cheap against what was trained since."""
        if self._refreshed + self._refresh_cost > REFRESH_SHARE * self.train_steps:
            return
        part, size = self._refresh_part, self._bench.shape.bank_size
        before, fresh = self.env_steps.prepare, None
        # When the plan does not work often enough this time, the bank stays as it is.
        with self._counting("prepare"), contextlib.suppress(ProposalRefused):
            fresh = self._source.training(part)
        # Worlds themselves cost about 20 env steps each to generate.
        self._refresh_cost = self.env_steps.prepare - before + 20 * part
        self._refreshed += self._refresh_cost
        if fresh is not None and fresh.rows == part:
            at = part_to_renew(self._refreshes, part, size)
            self._bench.trainer.refresh(self.slot, self._varied(fresh), at)
            self._refreshes += 1

    @property
    def due(self) -> bool:
        """Whether it is time to judge: success looks high enough, or impossible, or the budget is spent."""
        if self.spent or self._doubtful:
            return True
        low = self._window.success_low
        return (
            self._window.full
            and low is not None
            and low >= self._good_enough
            and self.train_steps >= self._next_validation
        )

    @property
    def _refines(self) -> bool:
        return self._config.validation.refine and self.job.refine

    @property
    def _doubtful(self) -> bool:
        """Whether there was no success for so long that its operator may be what is wrong; said once."""
        return (
            self._refines
            and not self._doubted
            and self._window.full
            and not self._window.success
            and self.train_steps >= DOUBT_AFTER * self.budget
        )

    @property
    def _good_enough(self) -> float:
        """The success rate that ends training now: ``--train_until`` while there is budget left."""
        validation = self._config.validation
        if self.spent or validation.train_until is None:
            return validation.success_state_rate
        return validation.train_until

    def validate(self) -> bool:
        """Episodes on worlds that training never saw; True when the skill is good enough.

        Where judging ends, with success or without, the operator is held against what the policy does.

        Raises:
            ProposalRefused: stage ``train`` or ``validate``, when it is not and the budget is spent; stage
                ``prepare``, when the plan to its start states fails in these worlds; stage ``refine``, when
                it does something, but never what it declares.
        """
        if self._doubtful and not self.spent:
            self._doubt()
            return False
        try:
            good = self._judge()
        except ProposalRefused as refusal:
            if refusal.stage != "prepare":
                with contextlib.suppress(ProposalRefused):
                    self._refine()
            raise
        if good:
            self._refine()
        return good

    def _doubt(self) -> None:
        """Looks whether the skill does something else than it declares, long before its budget is spent."""
        self._doubted = True
        self._refine()
        if self.refined is not None and self.refined.corrected:
            raise ProposalRefused(
                "refine",
                f"{self.job.name!r} ended as its own code says, but never with what it declares to gain: "
                + "; ".join(map(str, self.refined.refinement.changes)),
                "Declare what it changes.",
            )

    def _refine(self) -> None:
        if not self._refines:
            return
        assert self.starts is not None
        operator = self.job.proposal.operator
        params = self._bench.trainer.params(self.slot)
        length = self.evidence.mean_length if self.evidence is not None else self._task.max_steps
        learned = LearnedSkill(self.job.name, operator, self._task, params, self.job.artifact, length)
        self._emit(StageStarted("refine", self.job.name, "operator against trajectories"))
        with self._counting("refine"):
            self.refined = refine_skill(learned, self.starts, self._source, self.train_steps)
        self._clock = UpdateClock()

    def _judge(self) -> bool:
        wanted = self._config.validation.success_state_rate
        success = self._window.success or 0.0
        # A policy that goes on with its budget spent has no record yet, and is worth the episodes.
        known = self._window.full or self.job.params is None
        if self.spent and known and success < wanted - 0.15:
            raise ProposalRefused(
                "train",
                f"{self.job.name!r} succeeded in {success:.0%} of its last episodes after "
                f"{self.train_steps:,} env steps; {wanted:.0%} are needed.",
                "Shape the reward towards the goal (distance to what is needed), or split the skill in two.",
            )
        episodes = self._config.validation.validation_episodes
        self._emit(StageStarted("validate", self.job.name, f"{episodes} episodes on unseen worlds"))
        with self._counting("validate"):
            starts = self._source.held_out(episodes, self._validations)
            outcomes = self._bench.episodes.run(
                self._task,
                self._bench.trainer.params(self.slot),
                starts,
                self._key("validate", self._validations),
            )
        self._validations += 1
        self.evidence = evidence = evidence_of(outcomes, self._task, self.job.proposal.operator)
        self._emit(
            SkillValidated(
                self.job.name, evidence.episodes, evidence.success, evidence.success_low, self._good_enough
            )
        )
        self._clock = UpdateClock()
        if self.evidence.success_low >= self._good_enough:
            return True
        if self.spent:
            raise not_good_enough(self.job.name, evidence, wanted)
        self._next_validation = self.train_steps + max(
            self.train_steps // 4, WINDOW_UPDATES * self._bench.shape.num_envs * self._bench.shape.num_steps
        )
        return False


def evidence_of(outcomes: Outcomes, task: Task, operator: Operator) -> Evidence:
    """What held-out episodes measured."""
    episodes = len(outcomes.success)
    successes = int(np.sum(outcomes.success))
    start, end, repeats = (jnp.asarray(rows) for rows in (outcomes.start, outcomes.end, outcomes.n))
    measured = {
        fact: float(np.mean(gain.met(start, end, repeats)))
        for fact, gain in zip(operator.gains, task.gains, strict=True)
    }
    return Evidence(
        episodes=episodes,
        successes=successes,
        gains=measured,
        deaths=float(np.mean(outcomes.died)),
        mean_length=float(np.mean(outcomes.length)),
    )


def not_good_enough(name: str, evidence: Evidence, wanted: float) -> ProposalRefused:
    """The refusal of a skill that ``evidence`` does not prove, for whoever proposed it."""
    return ProposalRefused(
        "validate",
        f"{name!r} succeeded in {evidence.success:.0%} of {evidence.episodes} episodes "
        f"on unseen worlds (at least {evidence.success_low:.0%} with 95% confidence; {wanted:.0%} "
        "are needed). "
        f"Measured gains: {_shares(evidence)}; deaths: {evidence.deaths:.0%}.",
        "If a gain was rarely measured, declare what really changes; if episodes ended by death, "
        "reward staying alive.",
    )


def _shares(evidence: Evidence) -> str:
    return ", ".join(f"{fact} {share:.0%}" for fact, share in evidence.gains.items())
