"""The accepted skills: ready to run in this process, and packed as plain data for another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.codegen.artifact import load
from flowrl.errors import GraphError, ProposalRefused
from flowrl.pipeline.tasks import make_task
from flowrl.rl.task import Task
from flowrl.skills.operator import Operator
from flowrl.skills.plan import PlanStep
from flowrl.store.arrays import Tree
from flowrl.worlds.base import World

PATIENCE = 4.0
"""Times its mean length that a skill may take inside a plan. A world that takes longer rarely leads anywhere,
and the last few of a batch keep all the others stepping."""

MIN_TIME = 20
"""Env steps that any skill may take beside."""


@dataclass(frozen=True)
class LearnedSkill:
    """One accepted skill in memory.

    Attributes:
        name: of the node.
        operator: its symbolic claim.
        task: how it is judged and how many repeats its policy knows.
        params: the policy's parameters.
        artifact: its checked code, as exported.
        mean_length: env steps of its held-out episodes, on average.
    """

    name: str
    operator: Operator
    task: Task
    params: Any
    artifact: bytes
    mean_length: float

    def time_for(self, n: int) -> int:
        """Env steps after which ``n`` repeats of it inside a plan are not worth waiting for."""
        return n * min(self.task.max_steps, round(PATIENCE * self.mean_length) + MIN_TIME)


@dataclass(frozen=True)
class PackedSkill:
    """One accepted skill as data that can be pickled: text, numbers, bytes and numpy arrays, no programs.

    Attributes:
        name: of the node.
        operator: its symbolic claim.
        artifact: its checked code, as exported; read and checked again by whoever unpacks it.
        params: the policy: nested dicts of numpy arrays.
        max_steps: env steps that one episode may take at n = 1.
        max_repeat: the largest ``n`` it was trained for.
        mean_length: env steps of its held-out episodes, on average.
    """

    name: str
    operator: Operator
    artifact: bytes
    params: Tree
    max_steps: int
    max_repeat: int
    mean_length: float


def pack(skill: LearnedSkill) -> PackedSkill:
    """The skill as data."""
    params = jax.tree.map(np.asarray, skill.params)
    return PackedSkill(
        skill.name,
        skill.operator,
        skill.artifact,
        params,
        skill.task.max_steps,
        skill.task.max_repeat,
        skill.mean_length,
    )


def unpack(packed: PackedSkill, world: World) -> LearnedSkill:
    """The inverse of :func:`pack`; the artifact passes every check that it passed at first.

    Raises:
        GraphError: the artifact is damaged, forged or made for another world.
    """
    try:
        program = load(packed.artifact, len(world.snapshot_spec))
    except ProposalRefused as refusal:
        raise GraphError(
            f"the code of {packed.name!r}, as it was handed over: {refusal.reason} Use the same version of "
            "flowrl everywhere."
        ) from None
    task = make_task(packed.name, packed.operator, program, world, packed.max_steps, packed.max_repeat)
    params = jax.tree.map(jnp.asarray, packed.params)
    return LearnedSkill(packed.name, packed.operator, task, params, packed.artifact, packed.mean_length)


class SkillLibrary:
    """Accepted skills by name, in the order in which they were learned."""

    def __init__(self) -> None:
        self._skills: dict[str, LearnedSkill] = {}

    def add(self, skill: LearnedSkill) -> None:
        """Adds an accepted skill."""
        self._skills[skill.name] = skill

    def __getitem__(self, name: str) -> LearnedSkill:
        return self._skills[name]

    def __contains__(self, name: str) -> bool:
        return name in self._skills

    def __len__(self) -> int:
        return len(self._skills)

    def env_steps(self, step: PlanStep) -> float:
        """What a step of a plan is expected to take."""
        return self[step.skill].mean_length * step.n

    @property
    def operators(self) -> Mapping[str, Operator]:
        """What plans are made of."""
        return {name: skill.operator for name, skill in self._skills.items()}
