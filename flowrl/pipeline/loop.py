"""The bottom-up loop: propose, check, plan, prepare, train, validate, commit, until the graph is full.

One loop for one skill at a time and for several side by side: a slot that becomes free is filled at once.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from flowrl.codegen.tracer import Tracer
from flowrl.config import RunConfig
from flowrl.errors import ProposalRefused, ProviderError, RunStopped
from flowrl.llm.errors import NothingToPropose
from flowrl.pipeline.events import Listener, SkillAccepted, SkillRefused
from flowrl.pipeline.learner import SkillInTraining
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.prepare import StartStateSource
from flowrl.pipeline.probing import ProbeBankBuilder
from flowrl.pipeline.propose import FeasibleSkill, GivenUp, Proposals, ProposalSource
from flowrl.pipeline.tasks import make_task, repeats_to_train
from flowrl.pipeline.workbench import Workbench, states_to_tree
from flowrl.skills.graph import EnvSteps, Failure, SkillNode
from flowrl.store.graph_store import GraphStore

STORED_STARTS = 32
"""Start states kept with a node: enough to show what it begins from and to probe with after a restart."""


class BottomUp:
    """One run over one graph.

    Args:
        config: what to learn and how.
        bench: world, programs, trainer.
        store: the graph on disk, open.
        library: the accepted skills, loaded.
        probing: real play, with what the accepted skills showed.
        source: who proposes.
        tracer: where model-written code is traced.
        emit: takes every event.
        max_repairs: of one proposal.
    """

    def __init__(
        self,
        config: RunConfig,
        bench: Workbench,
        store: GraphStore,
        library: SkillLibrary,
        probing: ProbeBankBuilder,
        source: ProposalSource,
        tracer: Tracer,
        emit: Listener,
        max_repairs: int,
    ) -> None:
        self._config = config
        self._bench = bench
        self._store = store
        self._library = library
        self._probing = probing
        self._proposals = Proposals(source, tracer, bench, library, emit, max_repairs)
        self._emit = emit
        self._training: dict[int, SkillInTraining] = {}
        self._failures_in_a_row = 0
        self._stopped_by: ProviderError | None = None
        self._waiting = False

    def run(self) -> None:
        """Learns until the graph has ``max_nodes`` nodes.

        Raises:
            RunStopped: after too many failures in a row; the graph can be resumed.
            ProviderError: no more proposals; what was in training was finished first.
        """
        while len(self._store.graph.nodes) < self._config.max_nodes:
            self._fill_slots()
            if not self._training and self._stopped_by is not None:
                raise self._stopped_by
            self._train_once()
            self._settle()

    # --- propose, check, plan, prepare ---------------------------------------------------------

    def _fill_slots(self) -> None:
        for slot in range(self._bench.shape.num_slots):
            while slot not in self._training and self._may_propose():
                self._start_skill(slot)

    def _may_propose(self) -> bool:
        wanted = self._config.max_nodes - len(self._store.graph.nodes) - len(self._training)
        return wanted > 0 and self._stopped_by is None and not self._waiting

    def _start_skill(self, slot: int) -> None:
        in_training = {skill.name: skill.skill.proposal.operator for skill in self._training.values()}
        try:
            proposal = self._proposals.next(self._store.graph, in_training, self._probing.bank())
        except NothingToPropose as nothing:
            if nothing.waiting and self._training:
                self._waiting = True
            else:
                self._stopped_by = nothing
            return
        except ProviderError as error:
            self._stopped_by = error
            return
        if isinstance(proposal, GivenUp):
            self._give_up(
                proposal.name, proposal.refusal, proposal.reply, proposal.llm, proposal.operator,
                wall_s=proposal.wall_s,
            )  # fmt: skip
            return
        skill = self._in_slot(proposal, slot)
        try:
            skill.prepare()
        except ProposalRefused as refusal:
            self._give_up_skill(skill, refusal)
            return
        self._training[slot] = skill

    def _in_slot(self, proposal: FeasibleSkill, slot: int) -> SkillInTraining:
        checked = proposal.skill.proposal
        world = self._bench.world
        task = make_task(
            checked.name,
            checked.operator,
            proposal.skill.program,
            world,
            checked.max_steps or self._config.max_skill_steps,
            repeats_to_train(checked.operator, world.vocabulary, self._config.max_repeat),
        )
        graph = self._store.graph
        stream = len(graph.nodes) + len(graph.failures) + len(self._training)
        source = StartStateSource(
            checked.name, checked.operator, proposal.plan, self._library, self._bench, stream
        )
        return SkillInTraining(
            proposal.skill, task, source, slot, dict(proposal.llm), proposal.reply,
            self._bench, self._config, self._emit, proposal.asked_at,
        )  # fmt: skip

    # --- train, validate -----------------------------------------------------------------------

    def _train_once(self) -> None:
        scales = [
            self._training[slot].lr_scale if slot in self._training else 1.0
            for slot in range(self._bench.shape.num_slots)
        ]
        reports = self._bench.trainer.update(scales)
        for slot, skill in self._training.items():
            report = reports[slot]
            if report is not None:
                skill.note(report)

    def _settle(self) -> None:
        """Validates what is due; accepts, refuses or lets train on."""
        for slot, skill in list(self._training.items()):
            if not skill.due:
                continue
            try:
                accepted = skill.validate()
            except ProposalRefused as refusal:
                self._free(slot)
                self._give_up_skill(skill, refusal)
                continue
            if accepted:
                self._free(slot)
                self._commit(skill)

    def _free(self, slot: int) -> None:
        del self._training[slot]
        self._bench.trainer.release(slot)
        self._waiting = False

    # --- commit --------------------------------------------------------------------------------

    def _commit(self, skill: SkillInTraining) -> None:
        assert skill.evidence is not None
        assert skill.starts is not None
        checked = skill.skill.proposal
        params = self._bench.trainer.params(skill.slot)
        node = SkillNode(
            index=len(self._store.graph.nodes),
            name=checked.name,
            description=checked.description,
            operator=checked.operator,
            max_steps=skill.task.max_steps,
            max_repeat=skill.task.max_repeat,
            plan=tuple((step.skill, step.n) for step in skill.source.steps.steps),
            evidence=skill.evidence,
            env_steps=skill.env_steps,
            wall_s=skill.wall_s,
            llm=skill.llm,
            provenance=self._provenance(skill),
        )
        stored = jax.tree.map(lambda leaf: leaf[:STORED_STARTS], skill.starts)
        node = self._store.commit_node(
            node,
            skill.reply,
            skill.skill.artifact,
            jax.tree.map(np.asarray, params),
            states_to_tree(stored),
            skill.curves,
        )
        learned = LearnedSkill(node.name, node.operator, skill.task, params)
        self._library.add(learned)
        self._probing.add_skill_play(learned, skill.starts)
        self._failures_in_a_row = 0
        self._emit(SkillAccepted(node.index, node.name, node.summary()))

    def _provenance(self, skill: SkillInTraining) -> dict[str, Any]:
        shape = self._bench.shape
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "executor": "slots",
            "slot": skill.slot,
            "num_slots": shape.num_slots,
            "num_envs": shape.num_envs,
            "num_steps": shape.num_steps,
            "layer_size": shape.layer_size,
            "seed": self._config.seed,
            "device": jax.devices()[0].device_kind,
            "host": platform.node(),
            "versions": {name: version(name) for name in ("flowrl", "jax", "craftax")},
        }

    def _give_up_skill(self, skill: SkillInTraining, refusal: ProposalRefused) -> None:
        checked = skill.skill.proposal
        self._emit(SkillRefused(checked.name, refusal.stage, refusal.reason, skill.llm))
        self._give_up(
            checked.name, refusal, skill.reply, skill.llm, checked.operator,
            skill.env_steps, skill.wall_s, skill.curves,
        )  # fmt: skip

    def _give_up(
        self,
        name: str,
        refusal: ProposalRefused,
        reply: str,
        llm: Any,
        operator: Any,
        env_steps: EnvSteps | None = None,
        wall_s: float = 0.0,
        curves: Any = (),
    ) -> None:
        """Keeps what failed, and stops the run when too much fails in a row.

        Raises:
            RunStopped: after ``max_consecutive_failures``.
        """
        failure = Failure(
            name=name,
            stage=refusal.stage,
            reason=refusal.reason,
            fix=refusal.fix,
            operator=operator,
            env_steps=env_steps or EnvSteps(),
            wall_s=wall_s,
            llm=dict(llm),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._store.record_failure(failure, reply, curves)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._config.max_consecutive_failures:
            raise RunStopped(
                f"{self._failures_in_a_row} skills in a row were refused "
                f"(--max_consecutive_failures {self._config.max_consecutive_failures}); "
                f"the last, {name!r}, at stage {refusal.stage}: {refusal.reason} "
                "The same command goes on from the last accepted skill."
            )
