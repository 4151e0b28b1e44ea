"""What passes between the driver and whoever trains: jobs there, outcomes back. Plain data, to be pickled.

A job names everything that its result depends on, beside the run's own configuration: the same job gives the
same skill, whenever, wherever and beside whatever else it is trained, as far as one batch of PPO allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowrl.pipeline.library import PackedSkill
from flowrl.pipeline.maintenance import ServedRule
from flowrl.pipeline.refine import Refined
from flowrl.skills.evidence import EnvSteps, Evidence
from flowrl.skills.plan import Plan
from flowrl.skills.proposal import SkillProposal
from flowrl.store.arrays import Tree

STORED_STARTS = 32
"""Start states that come back with a skill and are kept with its node: enough to show what it begins from
and to probe with."""


@dataclass(frozen=True)
class TrainingJob:
    """One checked, feasible skill to be trained and validated.

    PPO's and validation's settings are not part of it: whoever trains has compiled for those of the run.

    Attributes:
        id: which job of the run this is; outcomes name it.
        proposal: the skill as data, with the operator to train for.
        artifact: its checked code, as exported; read and checked again by whoever trains it.
        plan: proved, from a fresh world to where the skill can start.
        skills: the accepted skills that the plan and the rules run.
        max_steps: env steps that an episode may take for each repeat.
        max_repeat: the largest ``n`` to train for.
        maintenance: what goes before the policy while it trains and while it is judged; the skills that
            serve it are among ``skills``.
        params: a policy to go on from, as nested dicts of numpy arrays; None begins with a fresh one.
        env_steps: already spent on this skill; training counts on from them, up to the budget.
        round: how often it was submitted before. Each round draws other worlds, so that what was learned
            from one round's validation is not proved on the same episodes again.
        refine: whether its operator is held against trajectories. Not again when it was and only turned out
            to gain more: from the same starts, to at least the same end, nothing else would show.
    """

    id: int
    proposal: SkillProposal
    artifact: bytes
    plan: Plan
    skills: tuple[PackedSkill, ...]
    max_steps: int
    max_repeat: int
    maintenance: tuple[ServedRule, ...] = ()
    params: Tree | None = None
    env_steps: EnvSteps = field(default_factory=EnvSteps)
    round: int = 0
    refine: bool = True

    @property
    def name(self) -> str:
        """Of the skill."""
        return self.proposal.name

    @property
    def stream(self) -> str:
        """Names the random numbers of this job; depends on neither its id nor the order of training."""
        return f"{self.name}/{self.round}"


@dataclass(frozen=True)
class TrainedSkill:
    """A job's success.

    Attributes:
        id: of the job.
        params: the policy: nested dicts of numpy arrays.
        starts: at most :data:`STORED_STARTS` start states, in the form of
            :func:`~flowrl.pipeline.workbench.states_to_tree`.
        evidence: its validation.
        refined: its operator held against what it does; None with ``--no-refine``.
        env_steps: what it cost in all.
        curves: one record an update.
        where: with what it was trained: executor, host, device, slot, sizes, versions. JSON values.
    """

    id: int
    params: Tree
    starts: Mapping[str, Any]
    evidence: Evidence
    refined: Refined | None
    env_steps: EnvSteps
    curves: Sequence[Mapping[str, float]]
    where: Mapping[str, Any]


@dataclass(frozen=True)
class JobFailed:
    """A job whose skill cannot be prepared, learned or proved.

    Attributes:
        id: of the job.
        stage: ``prepare``, ``train``, ``validate`` or ``refine``.
        reason: as in ``ProposalRefused``.
        fix: as in ``ProposalRefused``.
        env_steps: what it cost.
        curves: one record an update.
        refined: its operator held against what its policy does; None where it was not played.
        params: the policy, where ``refined`` is given: it may be what the corrected operator says.
    """

    id: int
    stage: str
    reason: str
    fix: str
    env_steps: EnvSteps
    curves: Sequence[Mapping[str, float]]
    refined: Refined | None = None
    params: Tree | None = None


Outcome = TrainedSkill | JobFailed
