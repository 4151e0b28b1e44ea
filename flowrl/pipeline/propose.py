"""One proposal, from the question to checked code with a proved plan; refusals go back to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flowrl.codegen.check import CheckedSkill, check_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import ProposalRefused
from flowrl.llm.ledger import summarize
from flowrl.llm.proposer import AcceptedSkill, Failure, ProposalContext, ProposalUnusable, ProposedReply
from flowrl.pipeline.events import Listener, SkillRefused, StageStarted
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.prepare import plan_for
from flowrl.pipeline.workbench import Workbench
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Linear, Operator
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
    """

    skill: CheckedSkill
    plan: Plan
    reply: str
    llm: Mapping[str, Any]


@dataclass(frozen=True)
class GivenUp:
    """A proposal that no repair saved.

    Attributes:
        name: of the skill, or ``unnamed`` when no reply could be read.
        refusal: the last.
        reply: the last.
        llm: role -> model.
        operator: its claim, when it could be read.
    """

    name: str
    refusal: ProposalRefused
    reply: str
    llm: Mapping[str, Any]
    operator: Operator | None


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

    def next(self, graph: SkillGraph, in_training: Sequence[str], bank: ProbeBank) -> FeasibleSkill | GivenUp:
        """The next proposal, checked and planned for, or what became of it."""
        context = context_of(graph, in_training, self._bench.world, self._bench.seed)
        self._emit(StageStarted("propose", "", f"node {context.index}"))
        name, operator = UNNAMED, None
        try:
            answer = self._source.propose(context)
        except ProposalUnusable as unusable:
            self._emit(SkillRefused(unusable.skill or UNNAMED, unusable.stage, str(unusable)))
            return GivenUp(
                unusable.skill or UNNAMED, unusable, unusable.reply.text, _llm([unusable.reply]), None
            )
        answers = [answer]
        for attempt in range(1, self._max_repairs + 2):
            try:
                skill = check_reply(answer.text, self._bench.world, self._tracer, bank)
                name, operator = skill.proposal.name, skill.proposal.operator
                self._emit(StageStarted("plan", name))
                check_new(name, operator, graph, in_training, self._bench.world)
                plan = plan_for(name, operator, self._library, self._bench)
                return FeasibleSkill(skill, plan, answer.text, _llm(answers))
            except ProposalRefused as refusal:
                self._emit(SkillRefused(name, refusal.stage, str(refusal)))
                if attempt > self._max_repairs:
                    return GivenUp(name, refusal, answer.text, _llm(answers), operator)
                try:
                    answer = self._source.repair(context, answer.text, refusal, attempt)
                except ProposalUnusable as unusable:
                    self._emit(SkillRefused(name, unusable.stage, str(unusable)))
                    return GivenUp(name, unusable, answer.text, _llm([*answers, unusable.reply]), operator)
                answers.append(answer)
        raise AssertionError("unreachable: the last attempt returns")


def _llm(replies: Sequence[ProposedReply]) -> dict[str, Any]:
    """Who wrote it and what it cost: role -> model, and the calls' total."""
    roles = {role: model for reply in replies for role, model in reply.roles.items()}
    calls = [call for reply in replies for call in reply.calls]
    totals = [total.to_json() for total in summarize(calls).values()]
    return {**roles, "total": totals[0]} if totals else roles


def check_new(
    name: str, operator: Operator, graph: SkillGraph, in_training: Sequence[str], world: World
) -> None:
    """Refuses what the graph already has.

    Raises:
        ProposalRefused: stage ``plan``.
    """
    if name in graph.names or name in in_training:
        raise ProposalRefused(
            "plan", f"there already is a skill named {name!r}.", "Propose another skill, or another name."
        )
    reached = best_gains(graph)
    for fact, gain in operator.gains.items():
        amount = gain.at(1) if isinstance(gain, Linear) else gain[0]
        kind = world.vocabulary[fact].kind
        if fact not in reached or (kind is FactKind.TIER and amount > reached[fact]):
            return
        if kind is FactKind.PLACE and not any(node.operator.gains.get(fact) == gain for node in graph.nodes):
            return
    known = ", ".join(sorted(operator.gains))
    raise ProposalRefused(
        "plan",
        f"{name!r} gains only what accepted skills already gain ({known}).",
        "Propose a skill that gains a fact that none of them gains yet.",
    )


def best_gains(graph: SkillGraph) -> dict[str, int]:
    """Fact -> the most that one run (n = 1) of an accepted skill gains of it."""
    best: dict[str, int] = {}
    for node in graph.nodes:
        for fact, gain in node.operator.gains.items():
            amount = gain.at(1) if isinstance(gain, Linear) else gain[0]
            best[fact] = max(best.get(fact, 0), amount)
    return best


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
    for fact, amount in best_gains(graph).items():
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
