"""One run from configuration to exit code: opens everything, restores what was learned, runs the loop."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import jax

from flowrl.codegen.check import restore
from flowrl.codegen.parse import parse_reply
from flowrl.codegen.tracer import Tracer
from flowrl.config import PPOConfig, RunConfig
from flowrl.errors import FlowrlError, GraphError, ProposalRefused
from flowrl.llm.config import LlmConfig
from flowrl.llm.proposer import open_proposer
from flowrl.pipeline.available_memory import available_memory
from flowrl.pipeline.compilation_cache import use_compilation_cache
from flowrl.pipeline.conversation import Surroundings
from flowrl.pipeline.events import Event, Listener, RunFinished, RunNote, RunStarted, TrainingProgress
from flowrl.pipeline.executor import TrainingExecutor
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.loop import BottomUp
from flowrl.pipeline.memory import require_memory
from flowrl.pipeline.parallel_config import ONE_AT_A_TIME, ParallelConfig
from flowrl.pipeline.probing import RANDOM_ENVS, ProbeBankBuilder
from flowrl.pipeline.propose import ProposalDesk
from flowrl.pipeline.ray_cluster import RayCluster, connected
from flowrl.pipeline.records import PRACTISED
from flowrl.pipeline.sizes import as_the_graph_has, resolve_sizes
from flowrl.pipeline.slot_executor import SlotExecutor
from flowrl.pipeline.tasks import make_task
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.shared_network import policy_of
from flowrl.rl.trainer import TrainerShape
from flowrl.store.graph_store import GraphStore
from flowrl.store.reader import GraphReader
from flowrl.worlds.registry import make_world


def run_bottomup(
    config: RunConfig,
    llm: LlmConfig,
    listeners: Sequence[Listener],
    parallel: ParallelConfig = ONE_AT_A_TIME,
) -> int:
    """Learns skills until the graph has ``config.max_nodes`` nodes.

    Args:
        config: resolved and validated flags.
        llm: which models propose.
        listeners: who is told what happens.
        parallel: how many skills train at a time, and who trains them.

    Returns:
        The exit code 0; everything else is an exception that carries its own.

    Raises:
        UserError: bad input, before anything is changed.
        FlowrlError: the run ended early; the graph can be resumed.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        source = stack.enter_context(open_proposer(llm, config.env_name, config.graph_path))
        cluster = stack.enter_context(connected(parallel)) if parallel.executor == "ray" else None
        if cluster is not None:
            # This machine's GPUs are the workers'. What the driver plays to probe with, a CPU can play.
            jax.config.update("jax_platforms", "cpu")
        use_compilation_cache()
        world = make_world(config.env_name)
        config = dataclasses.replace(config, ppo=as_the_graph_has(config.ppo, config.graph_path))
        if cluster is None:
            require_memory(world, config, parallel.slots, available_memory())
        ppo, shape = _sizes(config, parallel, cluster)
        config = dataclasses.replace(config, ppo=ppo)
        store = stack.enter_context(
            GraphStore.open(config.graph_path, config.env_name, current_i=config.current_i)
        )

        one_at_a_time = threading.RLock()

        def emit(event: Event) -> None:
            # Conversations with models report from threads of their own; no listener has to know.
            with one_at_a_time:
                try:
                    if not isinstance(event, TrainingProgress):
                        store.journal.append(type(event).__name__, dataclasses.asdict(event))
                finally:
                    for listener in listeners:
                        listener(event)

        emit(
            RunStarted(
                config.env_name, str(config.graph_path), llm.llm_name, config.max_nodes, store.graph.names
            )
        )
        bench = build_workbench(world, ppo, shape, config.seed)
        bench.compile_ahead()
        for note in store.notes:
            emit(RunNote(note))

        executor = _executor(cluster, bench, parallel, config, emit)
        stack.callback(executor.close)

        def finish(reason: str = "") -> None:
            wall_s = time.monotonic() - started
            env_steps = bench.programs.env_steps + executor.env_steps_elsewhere
            emit(RunFinished(len(store.graph.nodes), env_steps, wall_s, reason))

        try:
            if len(store.graph.nodes) < config.max_nodes:
                probing = ProbeBankBuilder(bench)
                probing.add_random_play()
                library = load_library(store, bench, probing)
                around = Surroundings(
                    source, stack.enter_context(Tracer()), world, lambda: store.graph, emit, llm.max_repairs
                )
                desk = ProposalDesk(around, config.seed)
                stack.callback(desk.close)
                executor.start()
                BottomUp(config, world, store, library, probing, desk, executor, emit).run()
        except BaseException as error:
            # Where the disk is full, the journal fails too: the first error is the one to be seen.
            with suppress(GraphError):
                finish(why_ended(error))
            raise
        finish()
    return 0


def _sizes(
    config: RunConfig, parallel: ParallelConfig, cluster: RayCluster | None
) -> tuple[PPOConfig, TrainerShape]:
    """PPO's settings with every size filled in, and the shape of what this process computes with."""
    if cluster is None:
        return resolve_sizes(config.ppo, parallel.slots, config.start_states)
    on_cpu = cluster.worker_gpus == 0
    ppo, shape = resolve_sizes(config.ppo, parallel.slots, config.start_states, on_cpu)
    return ppo, dataclasses.replace(shape, num_slots=1, num_envs=min(shape.num_envs, RANDOM_ENVS))


def _executor(
    cluster: RayCluster | None, bench: Workbench, parallel: ParallelConfig, config: RunConfig, emit: Listener
) -> TrainingExecutor:
    if cluster is None:
        return SlotExecutor(bench, config, emit)
    from flowrl.pipeline.ray_executor import RayExecutor  # Ray is an extra

    return RayExecutor(cluster, parallel, config, emit)


def load_library(
    store: GraphStore | GraphReader,
    bench: Workbench,
    probing: ProbeBankBuilder | None,
    practised: bool = True,
) -> SkillLibrary:
    """The accepted skills of a graph, ready to run.

    Args:
        probing: is shown each skill's play, when given.
        practised: whether the policies of the last practice take the place of the nodes' own.

    Raises:
        GraphError: a file is damaged or was made for another network; names it.
    """
    library = SkillLibrary()
    world = bench.world
    shared = practised_policies(store) if practised else {}
    for node in store.graph.nodes:
        loaded = store.load_node(node.index)
        folder = store.layout.node(node.index, node.name)
        try:
            proposal = parse_reply(loaded.proposal, world.vocabulary)
        except ProposalRefused as refusal:
            raise GraphError(f"{folder.proposal}: {refusal.reason} Restore the file.") from None
        proposal = dataclasses.replace(proposal, operator=node.operator)
        checked = restore(proposal, loaded.artifact, world.snapshot_spec, str(folder.artifact))
        task = make_task(node.name, node.operator, checked.program, world, node.max_steps, node.max_repeat)
        params = bench.restored_params(shared.get(node.name) or _mapping(loaded.params), node)
        learned = LearnedSkill(
            node.name, node.operator, task, params, loaded.artifact, node.evidence.mean_length
        )
        library.add(learned)
        starts = store.load_start_states(node.index)
        if probing is not None and starts is not None:
            try:
                probing.add_skill_play(learned, starts)
            except ValueError as error:
                raise GraphError(
                    f"{folder.start_states}: {error}. Another version of flowrl or craftax made them: use "
                    f"that version, or give --current_i {node.index} to go on from before this skill."
                ) from None
    return library


def practised_policies(store: GraphStore | GraphReader) -> dict[str, dict[str, Any]]:
    """The policies of the last practice, by the name of the node whose own they replace.

    A node that was learned by itself after the practice keeps its own.
    """
    if not store.graph.practices:
        return {}
    practice = store.graph.practices[-1]
    shared = store.load_practice()
    return {
        node.name: policy_of(shared, practice.skills.index(node.name))
        for node in store.graph.nodes
        if node.name in practice.skills
        and (node.index < practice.nodes or node.provenance.get("executor") == PRACTISED)
    }


def why_ended(error: BaseException) -> str:
    """Why a run ended early, for the people who watch it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, FlowrlError) else f"{type(error).__name__}: {error}"


def _mapping(tree: Any) -> dict[str, Any]:
    return dict(tree)
