"""What a proposal is made from, and how it is worded and shortened for a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from flowrl.llm.interface import Task
from flowrl.llm.prompts import render


class AcceptedSkill(NamedTuple):
    """A skill in the graph. ``operator`` has the keys requires, consumes, gains; successes are in 0..1."""

    name: str
    description: str
    operator: Mapping[str, Any]
    success: float | None = None
    success_low: float | None = None


class Failure(NamedTuple):
    """A proposal that was given up: in which stage, and why."""

    name: str
    stage: str
    reason: str


@dataclass(frozen=True)
class ProposalContext:
    """Everything that a model may know when it proposes.

    Attributes:
        env_name: the world.
        world: the game's rules as prose.
        field_table: the snapshot's fields as a Markdown table.
        fact_table: the facts with their kinds and meanings as a Markdown table.
        enum_table: the enums that skill code may use, such as ``BlockType.TREE``.
        accepted: the skills in the graph, in their order.
        frontier: fact -> how far it is reachable (an amount, or words), including what holds at the start.
        failures: proposals that were given up, oldest first. Their names stay taken.
        in_training: names of skills in training now.
        index: index that the new node would have.
        seed: the run's seed.
    """

    env_name: str
    world: str
    field_table: str
    fact_table: str
    enum_table: str = "none"
    accepted: tuple[AcceptedSkill, ...] = ()
    frontier: Mapping[str, int | float | str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    in_training: tuple[str, ...] = ()
    index: int = 0
    seed: int = 0
    _all_taken: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def taken(self) -> tuple[str, ...]:
        """Names that may not be proposed again. Shortening a context keeps them all."""
        if self._all_taken is not None:
            return self._all_taken
        names = [*(s.name for s in self.accepted), *(f.name for f in self.failures), *self.in_training]
        return tuple(dict.fromkeys(name for name in names if name))

    def task(self, role: str, node: str, skill: str, attempt: int, proposal: str) -> Task:
        """The machine-readable side of a request made from this context."""
        return Task(
            role=role,
            node=node,
            env_name=self.env_name,
            skill=skill,
            taken=self.taken,
            in_training=tuple(self.in_training),
            reachable=frozenset(self.frontier),
            index=self.index,
            seed=self.seed,
            attempt=attempt,
            proposal=proposal,
        )


def system_prompt(context: ProposalContext) -> str:
    """What every node is told first."""
    return render(
        "system", {"env_name": context.env_name, "world": context.world, "fact_table": context.fact_table}
    )


def variables_for(node: str, context: ProposalContext) -> dict[str, str]:
    """The variables that the prompt of ``node`` takes from the context."""
    operator_rules = render("operator_rules", {})
    if node == "skill":
        return {
            "frontier": _frontier(context),
            "accepted": _accepted(context),
            "in_training": ", ".join(context.in_training) or "none",
            "failures": _failures(context),
            "taken": ", ".join(context.taken) or "none",
        }
    if node == "operator":
        return {"operator_rules": operator_rules}
    if node == "code":
        return {"code_rules": _code_rules(context)}
    if node == "repair":
        return {
            "frontier": _frontier(context),
            "accepted": _accepted(context),
            "operator_rules": operator_rules,
            "code_rules": _code_rules(context),
        }
    return {"operator_rules": operator_rules}


def _code_rules(context: ProposalContext) -> str:
    return render("code_rules", {"field_table": context.field_table, "enum_table": context.enum_table})


def _frontier(context: ProposalContext) -> str:
    return "\n".join(f"- `{fact}`: {value}" for fact, value in context.frontier.items()) or "Nothing yet."


def _accepted(context: ProposalContext) -> str:
    rows = []
    for skill in context.accepted:
        operator = json.dumps({k: v for k, v in skill.operator.items() if v}, ensure_ascii=False)
        description = f": {skill.description}" if skill.description else ""
        rows.append(f"- `{skill.name}`{description} {operator}{_success(skill)}")
    return "\n".join(rows) or "None yet."


def _success(skill: AcceptedSkill) -> str:
    if skill.success is None:
        return ""
    low = f", at least {skill.success_low:.0%}" if skill.success_low is not None else ""
    return f" succeeds {skill.success:.0%} of the time{low}"


def _failures(context: ProposalContext) -> str:
    return "\n".join(f"- `{f.name}`, stage {f.stage}: {f.reason}" for f in context.failures) or "None."


def _shorter_reasons(context: ProposalContext) -> ProposalContext:
    cut = tuple(
        f._replace(reason=f.reason if len(f.reason) <= 160 else f.reason[:160] + " ...")
        for f in context.failures
    )
    return replace(context, failures=cut)


def _fewer_failures(context: ProposalContext) -> ProposalContext:
    return replace(context, failures=context.failures[-5:])


def _no_descriptions(context: ProposalContext) -> ProposalContext:
    return replace(context, accepted=tuple(skill._replace(description="") for skill in context.accepted))


def _no_failures(context: ProposalContext) -> ProposalContext:
    return replace(context, failures=())


def _fewer_accepted(context: ProposalContext) -> ProposalContext:
    return replace(context, accepted=context.accepted[-12:])


def _shorter_world(context: ProposalContext) -> ProposalContext:
    return replace(
        context, world=context.world if len(context.world) <= 3000 else context.world[:3000] + " ..."
    )


CUTS: tuple[tuple[str, Callable[[ProposalContext], ProposalContext]], ...] = (
    ("reasons of failures shortened to 160 characters", _shorter_reasons),
    ("only the last 5 failures", _fewer_failures),
    ("no descriptions of learned skills", _no_descriptions),
    ("no failures", _no_failures),
    ("only the last 12 learned skills", _fewer_accepted),
    ("the game's description shortened to 3000 characters", _shorter_world),
)
"""What is left out first when a prompt does not fit. The frontier, the taken names, the facts and the fields
never are: without them a proposal cannot be right."""


def shorten(context: ProposalContext, level: int) -> tuple[ProposalContext, tuple[str, ...]]:
    """The context after the first ``level`` cuts, and what these were."""
    shorter = replace(context, _all_taken=context.taken)
    for _, cut in CUTS[:level]:
        shorter = cut(shorter)
    return shorter, tuple(label for label, _ in CUTS[:level])
