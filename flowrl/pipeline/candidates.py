"""Refused skills that deserve another try: their code passed every check, but alone they were not learned, or
no skill led to them.

A skill that starts at the end of a long plan sees few start states when it is trained by itself. In practice
it is one of many, and what it needs is brought about by policies that are trained along with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.codegen.check import CheckedSkill, check_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.config import RunConfig
from flowrl.errors import ProposalRefused
from flowrl.pipeline.events import Listener, RunNote, SkillValidated
from flowrl.pipeline.jobs import STORED_STARTS
from flowrl.pipeline.learner import evidence_of, not_good_enough
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.novelty import check_new
from flowrl.pipeline.prepare import StartStateSource, plan_for
from flowrl.pipeline.records import PRACTISED, now
from flowrl.pipeline.streams import stream_number
from flowrl.pipeline.tasks import make_task
from flowrl.pipeline.workbench import Workbench, states_to_tree
from flowrl.skills.evidence import EnvSteps, Evidence
from flowrl.skills.graph import Failure, SkillNode
from flowrl.skills.operator import Operator
from flowrl.store.graph_store import GraphStore
from flowrl.store.reader import GraphReader
from flowrl.worlds.base import World

LEARNABLE = ("plan", "prepare", "train", "validate")
"""Stages at which nothing was wrong with the proposal but that it was not learned, or that no skill led to it
then: another may by now, or may be practised beside it."""

UNPROVED = Evidence(episodes=0, successes=0, gains={}, deaths=0.0, mean_length=0.0)


@dataclass(frozen=True)
class Candidate:
    """A refused skill, checked again.

    Attributes:
        checked: its code and operator.
        reply: as the model wrote it.
        failure: the record of its last refusal.
        node: what it would be in the graph, without evidence.
    """

    checked: CheckedSkill
    reply: str
    failure: Failure
    node: SkillNode

    def skill(self, world: World) -> LearnedSkill:
        """To be trained: without parameters. How long it takes is not known; all its time is allowed for."""
        node = self.node
        task = make_task(
            node.name, node.operator, self.checked.program, world, node.max_steps, node.max_repeat
        )
        return LearnedSkill(
            node.name, node.operator, task, None, self.checked.artifact, float(node.max_steps)
        )


def find_candidates(
    store: GraphStore | GraphReader, world: World, tracer: Tracer, bank: ProbeBank, emit: Listener
) -> list[Candidate]:
    """The refused skills of a graph that can be practised, in an order in which plans lead to each.

    Args:
        tracer: where their code is traced again.
        bank: what it is probed with.
        emit: is told what is left out, and why.
    """
    graph = store.graph
    refused = {
        failure.name: failure
        for failure in graph.failures
        if failure.stage in LEARNABLE and failure.name not in graph.names
    }
    left: list[Candidate] = []
    for failure in refused.values():
        reply = store.load_refused_reply(failure)
        if reply is None:
            continue
        try:
            # Checks may have become stricter, and what it gains may have been learned under another name.
            checked = check_reply(reply, world, tracer, bank)
            node = _node(checked, failure)
            check_new(
                node.name, node.operator, graph, {one.node.name: one.node.operator for one in left}, world
            )
        except ProposalRefused as refusal:
            emit(RunNote(f"{failure.name} is not practised: {refusal.reason}"))
        else:
            left.append(Candidate(checked, reply, failure, node))
    found: list[Candidate] = []
    while True:
        learned = {**graph.operators, **{one.node.name: one.node.operator for one in found}}
        ready = [one for one in left if one not in found and _is_reached(one.node, learned, world)]
        if not ready:
            break
        found.extend(ready)
    for one in left:
        if one not in found:
            emit(RunNote(f"{one.node.name} is not practised: no plan leads to it"))
    return found


def _node(checked: CheckedSkill, failure: Failure) -> SkillNode:
    proposal = checked.proposal
    # What trajectories corrected counts, not what the reply says.
    operator = failure.operator or proposal.operator
    return SkillNode(
        index=0,
        name=proposal.name,
        description=proposal.description,
        operator=operator,
        max_steps=proposal.max_steps or RunConfig.max_skill_steps,
        # What is practised is one repeat: the plan of its own target asks for no more.
        max_repeat=1,
        plan=(),
        evidence=UNPROVED,
        env_steps=EnvSteps(),
        wall_s=0.0,
        llm=failure.llm,
    )


def _is_reached(node: SkillNode, learned: Mapping[str, Operator], world: World) -> bool:
    try:
        plan_for(node.name, node.operator, learned, world)
    except ProposalRefused:
        return False
    return True


def prove_candidate(
    candidate: Candidate,
    store: GraphStore,
    library: SkillLibrary,
    bench: Workbench,
    episodes: int,
    wanted: float,
    number: int,
    emit: Listener,
) -> SkillNode:
    """Validates a practised candidate as any trained skill is, and makes it a node.

    Its start states are those at the end of its plan, in worlds that training never saw; its declared gains
    are measured there.

    Args:
        library: holds all practised policies, the candidate's too.
        episodes: to validate on.
        wanted: what the lower end of the success rate's interval must reach.
        number: of the practice that it was trained in.
        emit: is told what validation measured.

    Returns:
        The node as stored.

    Raises:
        ProposalRefused: it is not good enough, or its plan does not lead to its start; nothing is stored.
    """
    node, world = candidate.node, bench.world
    plan = plan_for(node.name, node.operator, store.graph.operators, world)
    stream = f"{node.name}/practice/{number}"
    source = StartStateSource(node.name, node.operator, plan, library, bench, stream)
    before = bench.programs.env_steps
    starts = source.held_out(episodes, 0)
    prepared = bench.programs.env_steps
    skill = library[node.name]
    key = jax.random.fold_in(jax.random.key(bench.seed), stream_number(stream, "validate"))
    outcomes = bench.episodes.run(skill.task, skill.params, starts, key)
    evidence = evidence_of(outcomes, skill.task, node.operator)
    emit(SkillValidated(node.name, evidence.episodes, evidence.success, evidence.success_low, wanted))
    if evidence.success_low < wanted:
        raise not_good_enough(node.name, evidence, wanted)
    return store.commit_node(
        replace(
            node,
            index=len(store.graph.nodes),
            plan=tuple((step.skill, step.n) for step in plan.steps),
            evidence=evidence,
            env_steps=EnvSteps(prepare=prepared - before, validate=bench.programs.env_steps - prepared),
            provenance={
                "created": now(),
                "seed": bench.seed,
                "executor": PRACTISED,
                "practice": number,
                "layer_size": bench.shape.layer_size,
            },
        ),
        candidate.reply,
        candidate.checked.artifact,
        jax.tree.map(np.asarray, skill.params),
        states_to_tree(jax.tree.map(lambda leaf: jnp.array(leaf[:STORED_STARTS]), starts)),
        (),
    )
