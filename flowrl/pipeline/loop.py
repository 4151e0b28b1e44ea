"""The bottom-up loop, its driver: proposals become jobs, jobs become nodes, until the graph is full.

The driver alone writes the graph. What trains is behind :class:`~flowrl.pipeline.executor.TrainingExecutor`,
who proposes behind :class:`~flowrl.pipeline.propose.ProposalDesk`; it waits for neither while the other has
something to do. There are no rounds: a place that becomes free is filled at once.

Nodes are numbered in the order in which skills end; of those that end together, the one that was proposed
first comes first. With several skills in training the numbers may thus differ from those of a sequential run;
names, operators and plans do not, because nothing that they depend on knows the number, the slot or the time.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowrl.config import RunConfig
from flowrl.errors import FlowrlError, ProposalRefused, ProviderError, RunStopped
from flowrl.llm.errors import NothingToPropose
from flowrl.pipeline.conversation import FeasibleSkill, GivenUp
from flowrl.pipeline.events import Listener, SkillAccepted, SkillRefused
from flowrl.pipeline.executor import TrainingExecutor
from flowrl.pipeline.jobs import Outcome, TrainedSkill, TrainingJob
from flowrl.pipeline.library import PackedSkill, SkillLibrary, pack, unpack
from flowrl.pipeline.maintenance import maintenance_rules
from flowrl.pipeline.probing import ProbeBankBuilder
from flowrl.pipeline.propose import Analysed, ProposalDesk, Proposed
from flowrl.pipeline.records import failure_of, node_of
from flowrl.pipeline.refine import Refined
from flowrl.pipeline.tasks import repeats_to_train
from flowrl.skills.evidence import EnvSteps
from flowrl.skills.graph import Failure
from flowrl.skills.plan import Plan
from flowrl.skills.proposal import SkillProposal
from flowrl.store.graph_store import GraphStore
from flowrl.worlds.base import World


@dataclass(frozen=True)
class _Underway:
    """A job that was submitted, and the proposal that it came from."""

    job: TrainingJob
    proposed: FeasibleSkill


CORRECTIONS = 2
"""How often a skill is trained on under a corrected operator. What its last validation was for joins the
graph: an operator that is corrected once more is not proved."""


class BottomUp:
    """One run over one graph.

    Args:
        config: what to learn and how.
        world: the world.
        store: the graph on disk, open.
        library: the accepted skills, loaded.
        probing: real play, with what the accepted skills showed.
        desk: asks for proposals.
        executor: trains.
        emit: takes every event.
    """

    def __init__(
        self,
        config: RunConfig,
        world: World,
        store: GraphStore,
        library: SkillLibrary,
        probing: ProbeBankBuilder,
        desk: ProposalDesk,
        executor: TrainingExecutor,
        emit: Listener,
    ) -> None:
        self._config = config
        self._world = world
        self._store = store
        self._library = library
        self._probing = probing
        self._desk = desk
        self._executor = executor
        self._emit = emit
        self._ready: deque[FeasibleSkill] = deque()
        self._corrected: deque[_Underway] = deque()
        self._training: dict[int, _Underway] = {}
        self._analysed: dict[int, tuple[_Underway, Outcome]] = {}
        self._failures_in_a_row = 0
        self._asked_in_vain = False
        self._ending: FlowrlError | None = None

    def run(self) -> None:
        """Learns until the graph has ``max_nodes`` nodes.

        Raises:
            RunStopped: after too many failures in a row; the graph can be resumed.
            ProviderError: no more proposals.

        In both cases what was asked for before was finished first, and kept where it succeeded.
        """
        while len(self._store.graph.nodes) < self._config.max_nodes:
            self._propose()
            if self._training:
                for outcome in sorted(self._executor.poll(), key=lambda outcome: outcome.id):
                    self._receive(outcome)
            elif self._desk.asked or self._desk.analysing:
                self._take(self._desk.take(wait=True))
            elif self._desk.waiting:
                if not self._desk.resume():
                    self._take([self._desk.give_up_waiting()])
            elif self._ending is not None:
                raise self._ending

    # --- propose, check, plan ------------------------------------------------------------------

    def _propose(self) -> None:
        """Asks for as many proposals as there are places to fill, and fills what can be filled."""
        self._desk.resume()
        self._take(self._desk.take())
        while self._may_ask():
            self._desk.ask(self._probing.bank())
            self._take(self._desk.take())

    def _may_ask(self) -> bool:
        if self._ending is not None or self._asked_in_vain or not self._desk.may_ask:
            return False
        places = self._executor.free - len(self._corrected) - len(self._ready) - self._desk.asked
        trained = len(self._training) + len(self._corrected) + len(self._analysed)
        underway = trained + len(self._ready) + self._desk.asked + self._desk.waiting
        wanted = self._config.max_nodes - len(self._store.graph.nodes) - underway
        # As many may wait as can be trained: more would only be guesses at what will be learned.
        room = self._executor.free + len(self._training) - self._desk.waiting
        return min(places, wanted, room) > 0

    def _take(self, results: Sequence[Proposed | Analysed]) -> None:
        for result in results:
            match result:
                case Analysed():
                    underway, outcome = self._analysed.pop(result.id)
                    self._conclude(underway, outcome, result.refined)
                case FeasibleSkill():
                    self._ready.append(result)
                case GivenUp():
                    self._note_failure(
                        failure_of(
                            result.name, result.refusal, result.operator, result.llm,
                            time.monotonic() - result.asked_at, EnvSteps(),
                        ),
                        result.reply,
                    )  # fmt: skip
                case NothingToPropose(waiting=True) if self._unsettled:
                    self._asked_in_vain = True
                case ProviderError():
                    self._ending = self._ending or result
        self._fill()

    def _fill(self) -> None:
        while self._executor.free and (self._corrected or self._ready):
            self._submit(
                self._corrected.popleft() if self._corrected else self._first_job(self._ready.popleft())
            )

    @property
    def _unsettled(self) -> bool:
        """Whether there are skills that may yet join the graph."""
        return bool(self._training or self._corrected or self._analysed or self._desk.waiting)

    # --- prepare, train, validate: the executor's ----------------------------------------------

    def _first_job(self, proposed: FeasibleSkill) -> _Underway:
        proposal = proposed.skill.proposal
        return _Underway(self._job(proposed, proposal, proposed.plan), proposed)

    def _job(self, proposed: FeasibleSkill, proposal: SkillProposal, plan: Plan) -> TrainingJob:
        rules = tuple(maintenance_rules(self._store.graph, self._world))
        runs = [step.skill for step in plan.steps] + [served.skill for served in rules]
        return TrainingJob(
            id=proposed.id,
            proposal=proposal,
            artifact=proposed.skill.artifact,
            plan=plan,
            skills=tuple(pack(self._library[name]) for name in dict.fromkeys(runs)),
            max_steps=proposal.max_steps or self._config.max_skill_steps,
            max_repeat=repeats_to_train(proposal.operator, self._world.vocabulary, self._config.max_repeat),
            maintenance=rules,
        )

    def _submit(self, underway: _Underway) -> None:
        self._training[underway.job.id] = underway
        self._executor.submit(underway.job)

    def _receive(self, outcome: Outcome) -> None:
        underway = self._training.pop(outcome.id)
        if outcome.refined is None or not self._desk.has_analyst:
            self._conclude(underway, outcome, outcome.refined)
        else:
            self._analysed[outcome.id] = (underway, outcome)
            self._desk.analyse(outcome.id, underway.job.name, outcome.refined)

    # --- correct -------------------------------------------------------------------------------

    def _conclude(self, underway: _Underway, outcome: Outcome, refined: Refined | None) -> None:
        """What becomes of a trained skill, now that all is known of it."""
        job = underway.job
        if refined is not None:
            self._emit(refined.event(job.name))
            if refined.corrected and job.round < CORRECTIONS:
                try:
                    self._corrected.append(self._correct(underway, outcome, refined))
                except ProposalRefused as refusal:
                    self._refuse(underway, outcome, refusal)
                    self._settle(job.id)
                return
        if isinstance(outcome, TrainedSkill):
            self._commit(underway, outcome)
        else:
            self._refuse(underway, outcome, ProposalRefused(outcome.stage, outcome.reason, outcome.fix))
        self._settle(job.id)

    def _correct(self, underway: _Underway, outcome: Outcome, refined: Refined) -> _Underway:
        """The job that trains on from where the policy is, under the corrected operator.

        Raises:
            ProposalRefused: corrected, the skill is nothing new, or out of reach.
        """
        job, proposed = underway.job, underway.proposed
        plan = self._desk.correct(job.id, job.name, refined.operator)
        proposal = dataclasses.replace(job.proposal, operator=refined.operator)
        following = dataclasses.replace(
            self._job(proposed, proposal, plan),
            params=outcome.params,
            env_steps=outcome.env_steps,
            round=job.round + 1,
            refine=not refined.gains_more,
        )
        return _Underway(following, proposed)

    # --- commit --------------------------------------------------------------------------------

    def _commit(self, underway: _Underway, trained: TrainedSkill) -> None:
        job, proposed = underway.job, underway.proposed
        wall_s = time.monotonic() - proposed.asked_at
        index = len(self._store.graph.nodes)
        node = self._store.commit_node(
            node_of(index, job, trained, proposed.llm, wall_s, self._config.seed),
            proposed.reply,
            job.artifact,
            trained.params,
            trained.starts,
            trained.curves,
        )
        learned = unpack(
            PackedSkill(
                node.name,
                node.operator,
                job.artifact,
                trained.params,
                node.max_steps,
                node.max_repeat,
                node.evidence.mean_length,
            ),
            self._world,
        )
        self._library.add(learned)
        self._probing.add_skill_play(learned, trained.starts)
        self._failures_in_a_row = 0
        self._emit(SkillAccepted(node.index, node.name, node.summary()))

    def _refuse(self, underway: _Underway, outcome: Outcome, refusal: ProposalRefused) -> None:
        job, proposed = underway.job, underway.proposed
        self._emit(SkillRefused(job.name, refusal.stage, refusal.reason, proposed.llm))
        failure = failure_of(
            job.name,
            refusal,
            job.proposal.operator,
            proposed.llm,
            time.monotonic() - proposed.asked_at,
            outcome.env_steps,
        )
        self._note_failure(failure, proposed.reply, outcome.curves)

    def _settle(self, id: int) -> None:
        self._desk.settled(id)
        self._asked_in_vain = False

    def _note_failure(self, failure: Failure, reply: str, curves: Sequence[Mapping[str, float]] = ()) -> None:
        """Keeps what failed. Too much in a row ends the run, once what was asked for has ended."""
        self._store.record_failure(failure, reply, curves)
        self._asked_in_vain = False
        self._failures_in_a_row += 1
        if self._ending is None and self._failures_in_a_row >= self._config.max_consecutive_failures:
            self._ending = RunStopped(
                f"{self._failures_in_a_row} skills in a row were refused "
                f"(--max_consecutive_failures {self._config.max_consecutive_failures}); "
                f"the last, {failure.name!r}, at stage {failure.stage}: {failure.reason} "
                "The same command goes on from the last accepted skill."
            )
