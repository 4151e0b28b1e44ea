"""A model's reply as data. Nothing here was executed."""

from __future__ import annotations

from dataclasses import dataclass

from flowrl.skills.operator import Operator


@dataclass(frozen=True)
class SkillProposal:
    """One proposed skill, parsed and not yet checked.

    Attributes:
        name: ``snake_case`` identifier, unique in a graph.
        description: what the skill does, for people and later prompts.
        operator: the symbolic claim.
        source: Python text that defines ``is_done`` and ``reward``; never executed in this process.
        max_steps: env steps that one episode may take at n = 1, or None for the run's default.
        reply: the whole reply, as the model wrote it.
    """

    name: str
    description: str
    operator: Operator
    source: str
    max_steps: int | None
    reply: str
