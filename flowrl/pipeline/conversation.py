"""One proposal, from the question to checked code with a proved plan; refusals go back to the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowrl.codegen.check import CheckedSkill, check_proposal
from flowrl.codegen.parse import MAX_NAME_CHARS, parse_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import ProposalRefused
from flowrl.llm.ledger import summarize
from flowrl.llm.proposer import Analysis, Chosen, ProposalContext, ProposalUnusable, ProposedReply
from flowrl.llm.reply_text import find_json
from flowrl.pipeline.claims import Claims, Others
from flowrl.pipeline.events import Event, Listener, SkillRefused, StageStarted
from flowrl.pipeline.novelty import check_new
from flowrl.pipeline.prepare import plan_for
from flowrl.pipeline.proposal_context import UNNAMED
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Operator
from flowrl.skills.plan import Plan
from flowrl.worlds.base import World


class ProposalSource(Protocol):
    """Who is asked: :class:`flowrl.llm.proposer.SyncProposer`, or a test's double."""

    @property
    def answers_at_once(self) -> bool:
        """Whether answers come out of files; else they are waited for in other threads."""

    def propose(self, context: ProposalContext, chosen: Chosen) -> ProposedReply:
        """A first reply. ``chosen`` is told the skill's name as soon as it is known."""

    def repair(
        self, context: ProposalContext, reply_text: str, refusal: ProposalRefused, attempt: int
    ) -> ProposedReply:
        """Another reply, after ``refusal`` of the last."""

    @property
    def reads_trajectories(self) -> bool:
        """Whether there is a model that can be asked to :meth:`analyse`."""

    def analyse(self, context: ProposalContext, skill: str, operator: str, trajectories: str) -> Analysis:
        """The operator that fits a table of what trajectories showed."""


class Abandoned(Exception):
    """Ends a conversation whose run has ended."""


@dataclass(frozen=True)
class Surroundings:
    """What the conversations of a run share.

    Attributes:
        source: who is asked.
        tracer: where model-written code is traced.
        world: whose skills these are.
        graph: gives the graph as it is now.
        listener: takes every event; safe to call from several threads.
        max_repairs: of one proposal.
        claims: who is at which skill.
        closed: set when the run ends; every conversation then ends at its next step.
    """

    source: ProposalSource
    tracer: Tracer
    world: World
    graph: Callable[[], SkillGraph]
    listener: Listener
    max_repairs: int
    claims: Claims = field(default_factory=Claims)
    closed: threading.Event = field(default_factory=threading.Event)

    def emit(self, event: Event) -> None:
        """Tells the listener.

        Raises:
            Abandoned: nobody listens any more.
        """
        if self.closed.is_set():
            raise Abandoned
        self.listener(event)


@dataclass(frozen=True)
class FeasibleSkill:
    """Checked code and a proved plan to where it can start.

    Attributes:
        id: of the conversation; its skill stays claimed under it.
        skill: checked.
        plan: proved.
        reply: the model's whole reply.
        llm: role -> model.
        asked_at: ``time.monotonic()`` when it was asked for.
    """

    id: int
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
        asked_at: ``time.monotonic()`` when it was asked for.
    """

    name: str
    refusal: ProposalRefused
    reply: str
    llm: Mapping[str, Any]
    operator: Operator | None
    asked_at: float


@dataclass(frozen=True)
class Waiting:
    """A checked skill whose plan needs skills that others are at.

    Attributes:
        refusal: what it gets without them.
        again: whether the same skill has waited before.
    """

    refusal: ProposalRefused
    again: bool


class Conversation:
    """Asks for one proposal and takes it through every check, with at most ``max_repairs`` repairs.

    Args:
        id: unique in the run.
        around: what it shares with others.
        context: what the model is told.
        bank: what the proposal is probed with.
        progressed: called when the model has chosen a skill; may come from another thread.
    """

    def __init__(
        self,
        id: int,
        around: Surroundings,
        context: ProposalContext,
        bank: ProbeBank,
        progressed: Callable[[], None],
    ) -> None:
        self.id = id
        self.chose = False
        """Whether it is known what is being proposed: only then can the next be told of it."""
        self.with_model = False
        """Whether the model is at it just now."""
        self._around = around
        self._context = context
        self._bank = bank
        self._progressed = progressed
        self._asked_at = time.monotonic()
        self._answers: list[ProposedReply] = []
        self._repairs = 0
        self._name = UNNAMED
        self._text = ""
        self._operator: Operator | None = None
        self._checked: CheckedSkill | None = None
        self._waited = False

    def run(self) -> FeasibleSkill | GivenUp | Waiting:
        """Goes on to the next result. After :class:`Waiting` it can be called again, and plans anew.

        Raises:
            ProviderError: no answer could be had.
            Abandoned: the run has ended.
        """
        try:
            if not self._answers:
                self._around.emit(StageStarted("propose", "", f"node {self._context.index}"))
                self._ask(lambda: self._around.source.propose(self._context, self._choose))
            while True:
                try:
                    return self._plan(self._checked or self._check())
                except ProposalRefused as refusal:
                    self._around.emit(SkillRefused(self._name, refusal.stage, refusal.reason))
                    if self._repairs == self._around.max_repairs:
                        return self._give_up(refusal)
                    self._mend(refusal)
        except ProposalUnusable as unusable:
            self._answers.append(unusable.reply)
            self._name = unusable.skill or self._name
            self._text = self._text or unusable.reply.text
            self._around.emit(SkillRefused(self._name, unusable.stage, unusable.reason))
            return self._give_up(unusable)

    def give_up(self, waiting: Waiting) -> GivenUp:
        """What becomes of it when what it waits for never comes."""
        self._around.emit(SkillRefused(self._name, waiting.refusal.stage, waiting.refusal.reason))
        return self._give_up(waiting.refusal)

    def _choose(self, name: str) -> None:
        self._around.claims.choose(self.id, name)
        if not self.chose:
            self.chose = True
            self._progressed()

    def _ask(self, question: Callable[[], ProposedReply]) -> None:
        self.with_model = True
        try:
            self._answers.append(question())
        finally:
            self.with_model = False
        self._text = self._answers[-1].text
        self._name, self._operator = _name_in(self._text) or self._name, None
        self._claim_name()

    def _claim_name(self) -> None:
        if self._name != UNNAMED:
            self._choose(self._name)

    def _mend(self, refusal: ProposalRefused) -> None:
        self._repairs += 1
        self._checked, self._waited = None, False
        self._claim_name()  # what was refused stands in nobody's way
        text = self._text
        self._ask(lambda: self._around.source.repair(self._context, text, refusal, self._repairs))

    def _check(self) -> CheckedSkill:
        around = self._around
        proposal = parse_reply(self._text, around.world.vocabulary)
        self._name, self._operator = proposal.name, proposal.operator
        around.emit(StageStarted("check", self._name))
        self._checked = check_proposal(proposal, around.world, around.tracer, self._bank)
        return self._checked

    def _plan(self, checked: CheckedSkill) -> FeasibleSkill | Waiting:
        around, name, operator = self._around, self._name, checked.proposal.operator
        around.emit(StageStarted("plan", name))
        others = around.claims.claim(
            self.id, name, operator,
            lambda others: check_new(name, operator, around.graph(), others, around.world),
        )  # fmt: skip
        learned = around.graph().operators
        try:
            plan = plan_for(name, operator, learned, around.world)
        except ProposalRefused as refusal:
            needed = self._wait_for(operator, learned, others)
            if not needed:
                raise
            around.emit(StageStarted("plan", name, f"waits for {', '.join(needed)}"))
            again, self._waited = self._waited, True
            return Waiting(refusal, again)
        return FeasibleSkill(self.id, checked, plan, self._text, _llm(self._answers), self._asked_at)

    def _wait_for(
        self, operator: Operator, learned: Mapping[str, Operator], others: Others
    ) -> tuple[str, ...]:
        """The skills of others that a plan would run if they were there; none when that does not help.

        As long as it is not known what some of them do, they may.
        """
        if others.operators:
            try:
                plan = plan_for(self._name, operator, {**others.operators, **learned}, self._around.world)
            except ProposalRefused:
                pass
            else:
                return tuple(dict.fromkeys(s.skill for s in plan.steps if s.skill not in learned))
        return others.undecided

    def _give_up(self, refusal: ProposalRefused) -> GivenUp:
        return GivenUp(self._name, refusal, self._text, _llm(self._answers), self._operator, self._asked_at)


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
