"""The default executor: K skills in this process, on one device, in one compiled program."""

from __future__ import annotations

import platform
import time
from collections import deque
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from flowrl.config import RunConfig
from flowrl.errors import ProposalRefused
from flowrl.pipeline.events import Listener
from flowrl.pipeline.jobs import STORED_STARTS, JobFailed, Outcome, TrainedSkill, TrainingJob
from flowrl.pipeline.learner import SkillInTraining
from flowrl.pipeline.library import SkillLibrary, unpack
from flowrl.pipeline.maintenance import ServedRule, maintenance_of
from flowrl.pipeline.workbench import Workbench, states_to_tree


class SlotExecutor:
    """Trains jobs in the slots of one trainer. The next job of a slot compiles its own small judge only.

    Args:
        bench: world, programs, trainer; the trainer is this executor's alone.
        config: PPO's and validation's settings, and the seed.
        emit: is told of stages and progress.
    """

    def __init__(self, bench: Workbench, config: RunConfig, emit: Listener) -> None:
        self._bench = bench
        self._config = config
        self._emit = emit
        self._library = SkillLibrary()
        self._rules: tuple[ServedRule, ...] = ()
        self._maintain()
        self._submitted: deque[TrainingJob] = deque()
        self._training: dict[int, SkillInTraining] = {}
        self._freed_at: dict[int, float] = {}
        self._refill_s: dict[int, float] = {}

    def start(self) -> None:
        """Nothing to wait for."""

    @property
    def env_steps_elsewhere(self) -> int:
        """None: the programs are those of the workbench."""
        return 0

    @property
    def free(self) -> int:
        """Slots without a job."""
        return self._bench.shape.num_slots - len(self._training) - len(self._submitted)

    def submit(self, job: TrainingJob) -> None:
        """Takes a job; the next :meth:`poll` prepares it.

        Raises:
            RuntimeError: no slot is free.
        """
        if self.free < 1:
            raise RuntimeError(f"{job.name!r} was submitted while all {len(self._training)} slots are taken")
        self._submitted.append(job)

    def poll(self) -> list[Outcome]:
        """Prepares what was submitted, then makes one update of all slots and validates what is due.

        When something cannot be prepared, it returns before the update: its slot can be refilled at once.
        """
        refused = self._start_submitted()
        if refused or not self._training:
            return refused
        self._update()
        return self._settle()

    def close(self) -> None:
        """Drops what is in training."""
        self._submitted.clear()
        for slot in list(self._training):
            self._free_slot(slot)

    def _start_submitted(self) -> list[Outcome]:
        refused: list[Outcome] = []
        while self._submitted:
            job = self._submitted.popleft()
            for packed in job.skills:
                # An accepted skill never changes, so its name is enough to know it by.
                if packed.name not in self._library:
                    self._library.add(unpack(packed, self._bench.world))
            if job.maintenance != self._rules:
                self._rules = job.maintenance
                self._maintain()
            slot = min(set(range(self._bench.shape.num_slots)) - self._training.keys())
            skill = SkillInTraining(job, slot, self._library, self._bench, self._config, self._emit)
            try:
                skill.prepare()
            except ProposalRefused as refusal:
                refused.append(self._failed(skill, refusal))
            else:
                self._training[slot] = skill
        return refused

    def _maintain(self) -> None:
        """Puts the rules of the last job in force for all slots: what was learned since serves them all."""
        bench = self._bench
        maintenance = maintenance_of(self._rules, self._library, bench.trainer, bench.world)
        bench.trainer.maintenance = maintenance
        bench.episodes.maintenance = maintenance
        bench.executor.maintenance = maintenance

    def _update(self) -> None:
        scales = [
            self._training[slot].lr_scale if slot in self._training else 1.0
            for slot in range(self._bench.shape.num_slots)
        ]
        reports = self._bench.trainer.update(scales)
        for slot, skill in self._training.items():
            if slot in self._freed_at:
                self._refill_s[slot] = time.monotonic() - self._freed_at.pop(slot)
            report = reports[slot]
            if report is not None:
                skill.note(report)

    def _settle(self) -> list[Outcome]:
        """Validates what is due; it succeeds, fails or trains on."""
        outcomes: list[Outcome] = []
        for slot, skill in list(self._training.items()):
            if not skill.due:
                continue
            try:
                if skill.validate():
                    outcomes.append(self._trained(skill))
                    self._free_slot(slot)
            except ProposalRefused as refusal:
                outcomes.append(self._failed(skill, refusal))
                self._free_slot(slot)
        return outcomes

    def _free_slot(self, slot: int) -> None:
        del self._training[slot]
        self._bench.trainer.release(slot)
        self._refill_s.pop(slot, None)
        self._freed_at[slot] = time.monotonic()

    def _trained(self, skill: SkillInTraining) -> TrainedSkill:
        assert skill.evidence is not None
        assert skill.starts is not None
        starts = jax.tree.map(lambda leaf: leaf[:STORED_STARTS], skill.starts)
        return TrainedSkill(
            skill.job.id,
            self._params(skill),
            states_to_tree(starts),
            skill.evidence,
            skill.refined,
            skill.env_steps,
            skill.curves,
            self._where(skill.slot),
        )

    def _failed(self, skill: SkillInTraining, refusal: ProposalRefused) -> JobFailed:
        return JobFailed(
            skill.job.id,
            refusal.stage,
            refusal.reason,
            refusal.fix,
            skill.env_steps,
            skill.curves,
            skill.refined,
            self._params(skill) if skill.refined is not None else None,
        )

    def _params(self, skill: SkillInTraining) -> Any:
        return jax.tree.map(np.asarray, self._bench.trainer.params(skill.slot))

    def _where(self, slot: int) -> dict[str, Any]:
        """With what a skill was trained.

        ``refill_s``: seconds from its slot's becoming free to the end of its first update; None for the first
        skill of a slot.
        """
        shape = self._bench.shape
        return {
            "executor": "slots",
            "host": platform.node(),
            "device": jax.devices()[0].device_kind,
            "slot": slot,
            "num_slots": shape.num_slots,
            "num_envs": shape.num_envs,
            "num_steps": shape.num_steps,
            "layer_size": shape.layer_size,
            "refill_s": self._refill_s.get(slot),
            "versions": {name: version(name) for name in ("flowrl", "jax", "craftax")},
        }
