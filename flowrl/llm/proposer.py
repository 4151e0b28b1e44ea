"""Asks for one skill: choose it, write its operator, write its functions; mend what was refused.

``open_proposer`` is what a run uses: it resolves every model at once, so that a missing key is known before
anything else happens, and gives a synchronous :class:`SyncProposer`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowrl.errors import ProposalRefused
from flowrl.llm.client import RetryPolicy
from flowrl.llm.config import LlmConfig
from flowrl.llm.context import AcceptedSkill, Failure, ProposalContext, shorten, system_prompt, variables_for
from flowrl.llm.event_loop import EventLoopThread
from flowrl.llm.interface import Message
from flowrl.llm.ledger import Call, Ledger
from flowrl.llm.reply_text import find_json, whole_reply
from flowrl.llm.resolve import announce_on_stderr
from flowrl.llm.session import Answer, ModelSession

if TYPE_CHECKING:
    from flowrl.llm.prompt_graph import PromptGraph, PromptNode

__all__ = [
    "AcceptedSkill",
    "Analysis",
    "Chosen",
    "Failure",
    "ProposalContext",
    "ProposalUnusable",
    "ProposedReply",
    "Proposer",
    "SyncProposer",
    "open_proposer",
]


Chosen = Callable[[str], None]
"""Takes the name of the skill that a model has chosen to propose."""


@dataclass(frozen=True)
class ProposedReply:
    """A reply in the format that the prompts ask for, not yet parsed or checked.

    Attributes:
        text: the reply.
        calls: what it took, in order.
        roles: role -> name of the model that answered for it.
    """

    text: str
    calls: tuple[Call, ...]
    roles: Mapping[str, str]


@dataclass(frozen=True)
class Analysis:
    """What an analyst read in trajectories: its words, the operator as it should be, and what it took."""

    text: str
    operator: Mapping[str, Any]
    calls: tuple[Call, ...]
    roles: Mapping[str, str]


class ProposalUnusable(ProposalRefused):
    """A model's answers stayed without the asked form. ``skill`` may be empty; ``reply`` is what there is."""

    def __init__(self, stage: str, reason: str, fix: str, skill: str, reply: ProposedReply) -> None:
        super().__init__(stage, reason, fix)
        self.skill = skill
        self.reply = reply


class Proposer:
    """Runs the prompt graph. Safe for several proposals at once.

    Args:
        session: the models.
    """

    def __init__(self, session: ModelSession) -> None:
        self._session = session

    async def propose(self, context: ProposalContext, chosen: Chosen = lambda _: None) -> ProposedReply:
        """A new skill.

        Args:
            context: what the model is told.
            chosen: is told the skill's name as soon as the model has chosen one, long before the reply is
                complete. Called in the event loop's thread.

        Raises:
            ProposalUnusable: the model's answers stayed without the asked form.
            ProviderError: no answer could be had.
        """
        from flowrl.llm.after_queries import Functions, OperatorSections, SkillChoice

        run = _GraphRun(self._session, context, {}, chosen=chosen)
        skill, operator, functions = SkillChoice(context.taken), OperatorSections(), Functions()
        run.add("skill", "proposer", skill)
        run.add("operator", "proposer", operator, after=("skill",))
        run.add("code", "coder", functions, after=("skill", "operator"))
        await run.evaluate(lambda: skill.value.get("name", ""))
        return run.reply(whole_reply({**skill.value, **operator.value}, functions.value))

    async def repair(
        self, context: ProposalContext, reply_text: str, refusal: ProposalRefused, attempt: int
    ) -> ProposedReply:
        """The refused reply, mended. ``attempt`` counts from 1.

        Raises:
            ProposalUnusable: the model's answers stayed without the asked form, or changed nothing.
            ProviderError: no answer could be had.
        """
        from flowrl.llm.after_queries import MendedReply

        own = {
            "reply": reply_text.strip(),
            "stage": refusal.stage,
            "reason": refusal.reason,
            "fix": refusal.fix,
            "attempt": str(attempt),
        }
        run = _GraphRun(self._session, context, {"repair": own}, attempt)
        run.add("repair", "repairer", MendedReply(reply_text))
        name = _name_in(reply_text)
        try:
            await run.evaluate(lambda: name)
        except ProposalUnusable as error:
            reason = f"{refusal.reason} Repair {attempt} failed: {error.reason}"
            raise ProposalUnusable(refusal.stage, reason, refusal.fix, name, error.reply) from None
        return run.reply(run.graph.nodes["repair"].result)

    async def analyse(
        self, context: ProposalContext, skill: str, operator: str, trajectories: str
    ) -> Analysis:
        """The operator that fits what trajectories show. All texts are shown to the analyst as they are.

        Raises:
            ProposalUnusable: the model's answers stayed without the asked form.
            ProviderError: no answer could be had.
        """
        from flowrl.llm.after_queries import OperatorSections

        own = {"skill": skill, "operator": operator, "trajectories": trajectories}
        run = _GraphRun(self._session, context, {"trajectory": own})
        sections = OperatorSections()
        run.add("trajectory", "analyst", sections)
        await run.evaluate(lambda: skill)
        reply = run.reply(run.graph.nodes["trajectory"].result)
        return Analysis(reply.text, sections.value, reply.calls, reply.roles)


class _GraphRun:
    """One evaluation of a prompt graph over one context."""

    def __init__(
        self,
        session: ModelSession,
        context: ProposalContext,
        own: Mapping[str, Mapping[str, str]],
        attempt: int = 0,
        chosen: Chosen = lambda _: None,
    ) -> None:
        from flowrl.llm.prompt_graph import PromptGraph

        self.graph: PromptGraph = PromptGraph()
        self._session = session
        self._context = context
        self._own = own
        self._attempt = attempt
        self._chosen = chosen
        self._proposal = uuid.uuid4().hex[:12]
        self._skill: Callable[[], str] = str
        self._calls: list[Call] = []

    def add(self, key: str, role: str, after_query: Any, after: Sequence[str] = ()) -> None:
        """Adds a node that is asked after, and told about, the nodes in ``after``."""
        from flowrl.llm.prompt_graph import PromptNode

        limit = self._session.context_tokens(role)
        self.graph.add_node(PromptNode(key, role, self.graph, self._ask, self._database, after_query, limit))
        for source in after:
            self.graph.add_edge(source, key)

    async def evaluate(self, skill: Callable[[], str]) -> None:
        """Asks every node. ``skill`` gives the name of the skill as soon as it is known."""
        from flowrl.llm.prompt_graph import NodeFailed

        self._skill = skill
        try:
            await self.graph.evaluate()
        except NodeFailed as error:
            raise ProposalUnusable(
                "parse",
                f"the {error.node} prompt got no usable answer: {error.error}",
                "",
                skill(),
                self.reply(str(self.graph.nodes[error.node].result)),
            ) from None

    def reply(self, text: str) -> ProposedReply:
        """``text`` with what it took so far."""
        roles = {call.role: call.model for call in self._calls}
        return ProposedReply(text, tuple(self._calls), roles)

    def _database(self, level: int) -> tuple[str, dict[str, dict[str, str]], tuple[str, ...]]:
        context, cuts = shorten(self._context, level)
        variables = {
            key: {**variables_for(key, context), **self._own.get(key, {})} for key in self.graph.nodes
        }
        return system_prompt(context), variables, cuts

    async def _ask(self, node: PromptNode, messages: Sequence[Message], cuts: Sequence[str]) -> Answer:
        skill = self._skill()
        if skill:
            self._chosen(skill)
        task = self._context.task(node.role, node.key, skill, self._attempt, self._proposal)
        answer = await self._session.complete(task, messages, cuts)
        self._calls.append(answer.call)
        return answer


class SyncProposer:
    """The proposer for code that is not asynchronous: one event loop in one thread, as long as it is open.

    Use it as a context manager, or call :meth:`close`. Safe to call from several threads.
    """

    def __init__(self, session: ModelSession) -> None:
        self._session = session
        self._proposer = Proposer(session)
        self._loop = EventLoopThread("flowrl-llm")

    @property
    def ledger(self) -> Ledger:
        """What this run's calls cost."""
        return self._session.ledger

    @property
    def roles(self) -> dict[str, str]:
        """Role -> name of the model that serves it first."""
        return self._session.roles

    @property
    def answers_at_once(self) -> bool:
        """See :attr:`ModelSession.answers_at_once`."""
        return self._session.answers_at_once

    @property
    def reads_trajectories(self) -> bool:
        """See :attr:`ModelSession.reads_trajectories`."""
        return self._session.reads_trajectories

    def propose(self, context: ProposalContext, chosen: Chosen = lambda _: None) -> ProposedReply:
        """See :meth:`Proposer.propose`."""
        return self._loop.run(self._proposer.propose(context, chosen))

    def repair(
        self, context: ProposalContext, reply_text: str, refusal: ProposalRefused, attempt: int
    ) -> ProposedReply:
        """See :meth:`Proposer.repair`."""
        return self._loop.run(self._proposer.repair(context, reply_text, refusal, attempt))

    def analyse(self, context: ProposalContext, skill: str, operator: str, trajectories: str) -> Analysis:
        """See :meth:`Proposer.analyse`."""
        return self._loop.run(self._proposer.analyse(context, skill, operator, trajectories))

    def close(self) -> None:
        """Ends connections, servers and the thread; harmless when called twice."""
        if not self._loop.closed:
            try:
                self._loop.run(self._session.close())
            finally:
                self._loop.close()

    def __enter__(self) -> SyncProposer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_proposer(
    config: LlmConfig,
    env_name: str,
    graph_path: Path | None = None,
    announce: Callable[[str], None] = announce_on_stderr,
    policy: RetryPolicy | None = None,
) -> SyncProposer:
    """Resolves every model that the flags name and opens the proposer. Touches no network.

    Args:
        config: the model flags.
        env_name: the world.
        graph_path: calls are recorded under its ``llm/``.
        announce: gets notices of one line (a fallback that serves, the user's own module).
        policy: of retries.

    Raises:
        FatalProviderError: a key, package or file is missing; one line with what to do.
        UserError: a flag or the models file is wrong.
    """
    return SyncProposer(ModelSession(config, env_name, graph_path, announce, policy))


def _name_in(reply_text: str) -> str:
    try:
        return str(find_json(reply_text).get("name", ""))
    except ValueError:
        return ""
