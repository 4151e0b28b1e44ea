"""What the graph keeps of a skill: a node of what was learned, a failure of what was not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flowrl.errors import ProposalRefused
from flowrl.pipeline.jobs import TrainedSkill, TrainingJob
from flowrl.skills.evidence import EnvSteps
from flowrl.skills.graph import Failure, SkillNode
from flowrl.skills.operator import Operator

PRACTISED = "practice"
"""The ``executor`` in the provenance of a node that was learned in practice."""


def node_of(
    index: int, job: TrainingJob, trained: TrainedSkill, llm: Mapping[str, Any], wall_s: float, seed: int
) -> SkillNode:
    """The node of a trained skill. Its provenance says when, where and with what it was trained."""
    return SkillNode(
        index=index,
        name=job.name,
        description=job.proposal.description,
        operator=job.proposal.operator,
        max_steps=job.max_steps,
        max_repeat=job.max_repeat,
        plan=tuple((step.skill, step.n) for step in job.plan.steps),
        evidence=trained.evidence,
        env_steps=trained.env_steps,
        wall_s=wall_s,
        llm=llm,
        provenance={"created": now(), "seed": seed, "job": job.id, **trained.where},
    )


def failure_of(
    name: str,
    refusal: ProposalRefused,
    operator: Operator | None,
    llm: Mapping[str, Any],
    wall_s: float,
    env_steps: EnvSteps,
) -> Failure:
    """The record of a proposal, or of a trained skill, that was refused."""
    return Failure(
        name=name,
        stage=refusal.stage,
        reason=refusal.reason,
        fix=refusal.fix,
        operator=operator,
        env_steps=env_steps,
        wall_s=wall_s,
        llm=llm,
        time=now(),
    )


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
