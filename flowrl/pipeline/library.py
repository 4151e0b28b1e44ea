"""The accepted skills, ready to run: what the graph says and the policies that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowrl.rl.task import Task
from flowrl.skills.operator import Operator


@dataclass(frozen=True)
class LearnedSkill:
    """One accepted skill in memory.

    Attributes:
        name: of the node.
        operator: its symbolic claim.
        task: how it is judged and how many repeats its policy knows.
        params: the policy's parameters.
    """

    name: str
    operator: Operator
    task: Task
    params: Any


class SkillLibrary:
    """Accepted skills by name, in the order in which they were learned."""

    def __init__(self) -> None:
        self._skills: dict[str, LearnedSkill] = {}

    def add(self, skill: LearnedSkill) -> None:
        """Adds an accepted skill."""
        self._skills[skill.name] = skill

    def __getitem__(self, name: str) -> LearnedSkill:
        return self._skills[name]

    def __len__(self) -> int:
        return len(self._skills)

    @property
    def operators(self) -> Mapping[str, Operator]:
        """What plans are made of."""
        return {name: skill.operator for name, skill in self._skills.items()}
