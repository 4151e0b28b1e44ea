"""``bench llm``: asks models for proposals from a fixed set of frontier states, and counts what holds up.

Nothing is trained. A state is a graph of the first so many skills of the world's playbook, as if they had
been learned; a model sees the prompts that it would see in a run. First replies count, repairs are not asked
for: how well a model heeds a refusal is another question than what it knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowrl.codegen.check import STAGES, check_proposal
from flowrl.codegen.parse import parse_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import ExhaustedProviderError, FlowrlError, ProposalRefused
from flowrl.llm.config import LlmConfig
from flowrl.llm.ledger import Total
from flowrl.llm.proposer import ProposalUnusable, ProposedReply, SyncProposer, open_proposer
from flowrl.llm.providers.playbook import load_playbook
from flowrl.llm.reply_text import whole_reply
from flowrl.pipeline.novelty import check_new
from flowrl.pipeline.prepare import plan_for
from flowrl.pipeline.proposal_context import context_of
from flowrl.skills.graph import EnvSteps, Evidence, SkillGraph, SkillNode
from flowrl.skills.proposal import SkillProposal
from flowrl.worlds.base import World

PREFIXES = (0, 3, 6, 10, 14)
"""How many skills of the playbook each state has."""

CHECKS = (*STAGES, "feasible", "new")
"""What is asked of a reply. The first four build on one another; the last two are asked of every reply that
parses."""

_NOMINAL = Evidence(episodes=256, successes=243, gains={}, deaths=0.0, mean_length=50.0)
"""What the skills of a state are said to have shown: 95% success."""

_ERRORS_IN_A_ROW = 2
"""After so many a model is not asked any more."""


@dataclass(frozen=True)
class Verdict:
    """One reply, judged.

    Attributes:
        learned: how many skills the state had.
        name: of the proposed skill; empty when the reply does not parse.
        passed: those of :data:`CHECKS` that it passed.
        refusals: check -> reason, for those that it was asked and failed.
        latency_s: seconds that the model took, all parts together.
    """

    learned: int
    name: str
    passed: tuple[str, ...]
    refusals: Mapping[str, str]
    latency_s: float

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "learned": self.learned,
            "name": self.name,
            "passed": list(self.passed),
            "refusals": dict(self.refusals),
            "latency_s": round(self.latency_s, 3),
        }


@dataclass
class Score:
    """What came of one model.

    Attributes:
        llm_name: as the user typed it.
        asked: proposals that were asked for.
        verdicts: one a reply.
        errors: what kept it from answering.
        total: tokens, dollars, requests.
    """

    llm_name: str
    asked: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    total: Total = field(default_factory=Total)

    def count(self, check: str) -> int:
        """Replies that passed that check."""
        return sum(check in verdict.passed for verdict in self.verdicts)

    @property
    def usable(self) -> int:
        """Replies that passed all checks: a run would train them without a repair."""
        return sum(len(verdict.passed) == len(CHECKS) for verdict in self.verdicts)

    @property
    def latency_s(self) -> float | None:
        """Mean seconds a reply; None without any."""
        if not self.verdicts:
            return None
        return sum(verdict.latency_s for verdict in self.verdicts) / len(self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        latency = self.latency_s
        return {
            "llm_name": self.llm_name,
            "asked": self.asked,
            "replies": len(self.verdicts),
            **{check: self.count(check) for check in CHECKS},
            "usable": self.usable,
            "latency_s": None if latency is None else round(latency, 3),
            "total": self.total.to_json(),
            "errors": list(self.errors),
            "proposals": [verdict.to_json() for verdict in self.verdicts],
        }


def frontier_states(world: World, prefixes: Sequence[int] = PREFIXES) -> list[SkillGraph]:
    """One graph for each prefix of the world's playbook; prefixes that are longer than it are left out."""
    nodes = []
    for index, shipped in enumerate(load_playbook(world.name)):
        proposal = parse_reply(whole_reply(shipped.operator, shipped.source), world.vocabulary)
        nodes.append(_as_learned(index, proposal))
    return [SkillGraph(world.name, tuple(nodes[:count])) for count in prefixes if count <= len(nodes)]


def _as_learned(index: int, proposal: SkillProposal) -> SkillNode:
    return SkillNode(
        index=index,
        name=proposal.name,
        description=proposal.description,
        operator=proposal.operator,
        max_steps=proposal.max_steps or 300,
        max_repeat=1,
        plan=(),
        evidence=_NOMINAL,
        env_steps=EnvSteps(),
        wall_s=0.0,
    )


def bench_llm(
    llm_names: Sequence[str],
    config: LlmConfig,
    world: World,
    bank: ProbeBank,
    samples: int = 1,
    record: Path | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> list[Score]:
    """Asks every model for ``samples`` proposals from each frontier state.

    Args:
        llm_names: the models, as ``--llm_name`` takes them.
        config: limits and budget of each model; its names and roles are not used.
        world: where.
        bank: what proposals are probed with.
        samples: proposals from each state.
        record: folder for every request and reply, one folder a model in it; not recorded when not given.
        announce: gets one line a reply.

    Returns:
        One score a model, in order. What keeps one model from answering is in its score.
    """
    states = frontier_states(world)
    questions = [graph for graph in states for _ in range(samples)]
    scores = []
    with Tracer() as tracer:
        for name in dict.fromkeys(llm_names):
            score = Score(name)
            folder = record / _folder_name(name) if record is not None else None
            one = replace(config, llm_name=name, llm_role=(), llm_fallback=())
            try:
                with open_proposer(one, world.name, folder, announce) as proposer:
                    _ask(score, proposer, questions, world, tracer, bank, announce)
            except FlowrlError as error:
                score.errors.append(str(error))
            scores.append(score)
    return scores


def _ask(
    score: Score,
    proposer: SyncProposer,
    questions: Sequence[SkillGraph],
    world: World,
    tracer: Tracer,
    bank: ProbeBank,
    announce: Callable[[str], None],
) -> None:
    """Fills in a score; ends early where the model does not answer any more."""
    in_a_row = 0
    try:
        for graph in questions:
            score.asked += 1
            where = f"{score.llm_name} after {len(graph.nodes)} skills"
            try:
                reply = proposer.propose(context_of(graph, [], world, score.asked))
            except ProposalUnusable as unusable:
                refusals = {"parse": unusable.reason}
                verdict = Verdict(len(graph.nodes), "", (), refusals, _latency(unusable.reply))
            except FlowrlError as error:
                score.errors.append(f"after {len(graph.nodes)} skills: {error}")
                announce(f"{where}: {error}")
                in_a_row += 1
                if in_a_row >= _ERRORS_IN_A_ROW or isinstance(error, ExhaustedProviderError):
                    return
                continue
            else:
                verdict = judge(reply, graph, world, tracer, bank)
            in_a_row = 0
            score.verdicts.append(verdict)
            failed = ", ".join(verdict.refusals)
            announce(f"{where}: {verdict.name or 'no skill'} {f'fails {failed}' if failed else 'is usable'}")
    finally:
        score.total = proposer.ledger.total()


def judge(reply: ProposedReply, graph: SkillGraph, world: World, tracer: Tracer, bank: ProbeBank) -> Verdict:
    """One reply against every check that a run makes before it trains anything."""
    passed: list[str] = []
    refusals: dict[str, str] = {}
    name = ""

    def attempt(check: str, action: Callable[[], object]) -> None:
        try:
            action()
            passed.append(check)
        except ProposalRefused as refusal:
            refusals[check] = refusal.reason

    try:
        proposal = parse_reply(reply.text, world.vocabulary)
        name = proposal.name
        passed.append("parse")
        code_stages = STAGES[1:]
        try:
            check_proposal(proposal, world, tracer, bank)
            passed.extend(code_stages)
        except ProposalRefused as refusal:
            passed.extend(code_stages[: code_stages.index(refusal.stage)])
            refusals[refusal.stage] = refusal.reason
        operator = proposal.operator
        attempt("feasible", lambda: plan_for(name, operator, graph.operators, world))
        attempt("new", lambda: check_new(name, operator, graph, {}, world))
    except ProposalRefused as refusal:
        refusals["parse"] = refusal.reason
    return Verdict(len(graph.nodes), name, tuple(passed), refusals, _latency(reply))


def _latency(reply: ProposedReply) -> float:
    return sum(call.latency_s for call in reply.calls)


def _folder_name(llm_name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", llm_name).strip("._") or "model"
