"""One proposal, from the question to checked code with a proved plan; refusals go back to the model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flowrl.codegen.check import CheckedSkill, check_proposal
from flowrl.codegen.parse import MAX_NAME_CHARS, parse_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import ProposalRefused
from flowrl.llm.ledger import summarize
from flowrl.llm.proposer import AcceptedSkill, Failure, ProposalContext, ProposalUnusable, ProposedReply
from flowrl.llm.reply_text import find_json
from flowrl.pipeline.events import Listener, SkillRefused, StageStarted
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.prepare import plan_for
from flowrl.pipeline.workbench import Workbench
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import Plan
from flowrl.worlds.base import World

UNNAMED = "unnamed"
"""Stands for a skill whose reply could not even be read; no later proposal is kept from that name."""


class ProposalSource(Protocol):
    """Who is asked: :class:`flowrl.llm.proposer.SyncProposer`, or a test's double."""

    def propose(self, context: ProposalContext) -> ProposedReply:
        """A first reply."""

    def repair(
        self, context: ProposalContext, reply_text: str, refusal: ProposalRefused, attempt: int
    ) -> ProposedReply:
        """Another reply, after ``refusal`` of the last."""


@dataclass(frozen=True)
class FeasibleSkill:
    """Checked code and a proved plan to where it can start.

    Attributes:
        skill: checked.
        plan: proved.
        reply: the model's whole reply.
        llm: role -> model.
        asked_at: ``time.monotonic()`` when it was asked for.
    """

    skill: CheckedSkill
    plan: Plan
    reply: str
    llm: Mapping[str, Any]
    asked_at: float


@dataclass(frozen=True)
class GivenUp:
    """A proposal that no repair saved.

    Attributes:
        name: of the skill, or ``unnamed`` when no reply could be read.
        refusal: the last.
        reply: the last.
        llm: who wrote it and what it cost, as in the graph.
        operator: its claim, when it could be read.
        wall_s: seconds since it was asked for.
    """

    name: str
    refusal: ProposalRefused
    reply: str
    llm: Mapping[str, Any]
    operator: Operator | None
    wall_s: float


class Proposals:
    """Asks for proposals and takes each through every check, with at most ``max_repairs`` repairs."""

    def __init__(
        self,
        source: ProposalSource,
        tracer: Tracer,
        bench: Workbench,
        library: SkillLibrary,
        emit: Listener,
        max_repairs: int,
    ) -> None:
        self._source = source
        self._tracer = tracer
        self._bench = bench
        self._library = library
        self._emit = emit
        self._max_repairs = max_repairs

    def next(
        self, graph: SkillGraph, in_training: Mapping[str, Operator], bank: ProbeBank
    ) -> FeasibleSkill | GivenUp:
        """The next proposal, checked and planned for, or what became of it."""
        asked_at = time.monotonic()
        context = context_of(graph, tuple(in_training), self._bench.world, self._bench.seed)
        self._emit(StageStarted("propose", "", f"node {context.index}"))
        name, text = UNNAMED, ""
        operator: Operator | None = None
        answers: list[ProposedReply] = []

        def give_up(refusal: ProposalRefused) -> GivenUp:
            return GivenUp(name, refusal, text, _llm(answers), operator, time.monotonic() - asked_at)

        try:
            answers.append(self._source.propose(context))
            for attempt in range(1, self._max_repairs + 2):
                text = answers[-1].text
                name, operator = _name_in(text) or name, None
                try:
                    proposal = parse_reply(text, self._bench.world.vocabulary)
                    name, operator = proposal.name, proposal.operator
                    self._emit(StageStarted("check", name))
                    skill = check_proposal(proposal, self._bench.world, self._tracer, bank)
                    self._emit(StageStarted("plan", name))
                    check_new(name, operator, graph, in_training, self._bench.world)
                    plan = plan_for(name, operator, self._library.operators, self._bench.world)
                    return FeasibleSkill(skill, plan, text, _llm(answers), asked_at)
                except ProposalRefused as refusal:
                    self._emit(SkillRefused(name, refusal.stage, refusal.reason))
                    if attempt > self._max_repairs:
                        return give_up(refusal)
                    answers.append(self._source.repair(context, text, refusal, attempt))
        except ProposalUnusable as unusable:
            answers.append(unusable.reply)
            name, text = unusable.skill or name, text or unusable.reply.text
            self._emit(SkillRefused(name, unusable.stage, unusable.reason))
            return give_up(unusable)
        raise AssertionError("unreachable: the last attempt returns")


def _name_in(text: str) -> str:
    """The skill's name in a reply that may be wrong in every other way; empty when there is none."""
    try:
        name = find_json(text).get("name")
    except ValueError:
        return ""
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= MAX_NAME_CHARS else ""


def _llm(replies: Sequence[ProposedReply]) -> dict[str, Any]:
    """Who wrote it and what it cost: role -> model, part -> model under ``wrote``, and the calls' total."""
    roles = {role: model for reply in replies for role, model in reply.roles.items()}
    calls = [call for reply in replies for call in reply.calls]
    totals = [total.to_json() for total in summarize(calls).values()]
    wrote = {call.node: call.model for call in calls}
    return {**roles, "wrote": wrote, "total": totals[0]} if totals else roles


def check_new(
    name: str, operator: Operator, graph: SkillGraph, in_training: Mapping[str, Operator], world: World
) -> None:
    """Refuses what the graph already has, or is about to have.

    Raises:
        ProposalRefused: stage ``plan``.
    """
    if name in graph.names or name in in_training:
        raise ProposalRefused(
            "plan", f"there already is a skill named {name!r}.", "Propose another skill, or another name."
        )
    known = [*graph.operators.values(), *in_training.values()]
    reached = best_gains(known)
    for fact, gain in operator.gains.items():
        kind = world.vocabulary[fact].kind
        if fact not in reached or (kind is FactKind.TIER and _amount(gain) > reached[fact]):
            return
        if kind is FactKind.PLACE and not any(other.gains.get(fact) == gain for other in known):
            return
    others = "accepted skills or those in training" if in_training else "accepted skills"
    raise ProposalRefused(
        "plan",
        f"{name!r} gains only what {others} already gain ({', '.join(sorted(operator.gains))}).",
        "Propose a skill that gains a fact that none of them gains yet.",
    )


def best_gains(operators: Iterable[Operator]) -> dict[str, int]:
    """Fact -> the most that one run (n = 1) of one of the skills gains of it."""
    best: dict[str, int] = {}
    for operator in operators:
        for fact, gain in operator.gains.items():
            best[fact] = max(best.get(fact, 0), _amount(gain))
    return best


def _amount(gain: Count) -> int:
    """What one run (n = 1) gains; of a place, its number."""
    return gain.at(1) if isinstance(gain, Linear) else gain[0]


def context_of(graph: SkillGraph, in_training: Sequence[str], world: World, seed: int) -> ProposalContext:
    """What a model is told before it proposes."""
    return ProposalContext(
        env_name=world.name,
        world=world.description,
        field_table=world.snapshot_spec.table(),
        fact_table=fact_table(world),
        enum_table=enum_table(world),
        accepted=tuple(
            AcceptedSkill(
                node.name,
                node.description,
                node.operator.to_json(),
                node.evidence.success,
                node.evidence.success_low,
            )
            for node in graph.nodes
        ),
        frontier=frontier(graph, world),
        failures=tuple(
            Failure(failure.name, failure.stage, failure.reason)
            for failure in graph.failures
            if failure.name != UNNAMED
        ),
        in_training=tuple(in_training),
        index=len(graph.nodes) + len(in_training),
        seed=seed,
    )


def frontier(graph: SkillGraph, world: World) -> dict[str, int | float | str]:
    """Fact -> how far it is reachable: what holds at the start, and what the accepted skills gain."""
    reachable: dict[str, int | float | str] = {
        fact.name: 0 for fact in world.vocabulary.of_kind(FactKind.PLACE)
    }
    reachable |= dict(world.initial_facts)
    for fact, amount in best_gains(graph.operators.values()).items():
        kind = world.vocabulary[fact].kind
        reachable[fact] = f"+{amount} each time" if kind is FactKind.COUNT else amount
    return reachable


def enum_table(world: World) -> str:
    """The enums in scope for skill code, one line each."""
    return "\n".join(
        f"- `{name}`: " + ", ".join(f"{member}={value}" for member, value in members.items())
        for name, members in world.enums.items()
    )


def fact_table(world: World) -> str:
    """The facts that operators may use, as a Markdown table."""
    rows = [
        f"| `{fact.name}` | {fact.kind} | {fact.capacity or ''} | {fact.meaning} |"
        for fact in world.vocabulary.values()
    ]
    return "\n".join(["| fact | kind | at most | meaning |", "|---|---|---|---|", *rows])
