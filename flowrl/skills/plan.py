"""Plans, what they are for, and the two ways in which planning ends without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowrl.errors import FlowrlError


@dataclass(frozen=True)
class PlanStep:
    """Run ``skill`` with repeat count ``n`` (at least 1; 1 unless a gain of the skill grows with n)."""

    skill: str
    n: int = 1


@dataclass(frozen=True)
class SkillGoal:
    """Make it possible to run a skill: all it requires and consumes is there.

    Attributes:
        skill: its name among the operators.
        n: the repeat count that it is to be run with.
        include: whether the plan ends with running it; else it stops just before.
    """

    skill: str
    n: int = 1
    include: bool = False


@dataclass(frozen=True)
class FactGoal:
    """Make facts hold, all at the same time, at the end of the plan.

    Attributes:
        facts: per fact the least amount or level (1 for FLAG and REACH), or, for a PLACE fact, the value
            or the tuple of allowed values.
    """

    facts: Mapping[str, int | tuple[int, ...]]


Goal = SkillGoal | FactGoal


@dataclass(frozen=True)
class Plan:
    """Steps that reach ``target`` from the facts that it was planned from.

    Nothing here says that they do: :func:`flowrl.skills.simulator.prove` does.
    """

    steps: tuple[PlanStep, ...]
    target: Goal

    def to_json(self) -> list[list[str | int]]:
        """``[["collect_wood", 3], ...]``, the form that ``flowrl plan --json`` prints."""
        return [[step.skill, step.n] for step in self.steps]

    def __str__(self) -> str:
        if not self.steps:
            return "nothing to do"
        return " -> ".join(step.skill if step.n == 1 else f"{step.skill} x{step.n}" for step in self.steps)


class Impossible(FlowrlError):
    """No plan exists. This is a proof over the operators, not a search that ran out.

    The message is the whole reason and who gains what is missing.

    Args:
        missing: the fact at the root of it: what has no provider, what runs out, what cannot be kept.
        providers: every skill that gains the missing fact, though none of them helps here.
        sentence: the whole reason in words, from the goal down to the missing fact.
        cycle: the skills that wait for one another, in order, when that is the reason; else empty.
    """

    exit_code = 1

    def __init__(
        self, missing: str, providers: tuple[str, ...], sentence: str, cycle: tuple[str, ...] = ()
    ) -> None:
        self.missing = missing
        self.providers = providers
        self.sentence = sentence
        self.cycle = cycle
        gained_by = f" {missing!r} is gained by {', '.join(providers)}." if providers else ""
        super().__init__(sentence + gained_by)

    def to_json(self) -> dict[str, Any]:
        """The value of ``"impossible"`` in what ``flowrl plan --json`` prints."""
        return {
            "missing": self.missing,
            "providers": list(self.providers),
            "cycle": list(self.cycle),
            "reason": self.sentence,
        }


class PlanningGaveUp(FlowrlError):
    """A bound was reached: neither a plan nor a proof that there is none. The message says which bound."""

    exit_code = 1

    def to_json(self) -> dict[str, Any]:
        """The value of ``"gave_up"`` in what ``flowrl plan --json`` prints."""
        return {"reason": str(self)}
