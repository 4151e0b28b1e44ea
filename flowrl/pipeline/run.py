"""One run from configuration to exit code: opens everything, restores what was learned, runs the loop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import platformdirs

from flowrl.codegen.check import restore
from flowrl.codegen.parse import parse_reply
from flowrl.codegen.tracer import Tracer
from flowrl.config import RunConfig
from flowrl.errors import FlowrlError, GraphError, ProposalRefused
from flowrl.llm.config import LlmConfig
from flowrl.llm.proposer import open_proposer
from flowrl.pipeline.events import Event, Listener, RunFinished, RunNote, RunStarted, TrainingProgress
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.loop import BottomUp
from flowrl.pipeline.probing import ProbeBankBuilder
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.tasks import make_task
from flowrl.pipeline.workbench import Workbench, build_workbench, tree_to_states
from flowrl.rl.environment import Placed
from flowrl.store.graph_store import GraphStore
from flowrl.worlds.registry import make_world


def run_bottomup(
    config: RunConfig, llm: LlmConfig, listeners: Sequence[Listener], max_parallel_skills: int = 1
) -> int:
    """Learns skills until the graph has ``config.max_nodes`` nodes.

    Args:
        config: resolved and validated flags.
        llm: which models propose.
        listeners: who is told what happens.
        max_parallel_skills: K, skills in training at a time.

    Returns:
        The exit code 0; everything else is an exception that carries its own.

    Raises:
        UserError: bad input, before anything is changed.
        FlowrlError: the run ended early; the graph can be resumed.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        source = stack.enter_context(open_proposer(llm, config.env_name, config.graph_path))
        use_compilation_cache()
        world = make_world(config.env_name)
        ppo, shape = resolve_sizes(config.ppo, max_parallel_skills, config.start_states)
        config = dataclasses.replace(config, ppo=ppo)
        store = stack.enter_context(
            GraphStore.open(config.graph_path, config.env_name, current_i=config.current_i)
        )

        def emit(event: Event) -> None:
            if not isinstance(event, TrainingProgress):
                store.journal.append(type(event).__name__, dataclasses.asdict(event))
            for listener in listeners:
                listener(event)

        emit(
            RunStarted(
                config.env_name, str(config.graph_path), llm.llm_name, config.max_nodes, store.graph.names
            )
        )
        bench = build_workbench(world, ppo, shape, config.seed)
        for note in store.notes:
            emit(RunNote(note))
        reason = "interrupted"
        try:
            if len(store.graph.nodes) < config.max_nodes:
                probing = ProbeBankBuilder(bench)
                probing.add_random_play()
                library = load_library(store, bench, probing)
                tracer = stack.enter_context(Tracer())
                BottomUp(
                    config, bench, store, library, probing, source, tracer, emit, llm.max_repairs
                ).run()  # fmt: skip
            reason = ""
        except FlowrlError as error:
            reason = str(error)
            raise
        finally:
            wall_s = time.monotonic() - started
            emit(RunFinished(len(store.graph.nodes), bench.programs.env_steps, wall_s, reason))
    return 0


def load_library(store: GraphStore, bench: Workbench, probing: ProbeBankBuilder | None) -> SkillLibrary:
    """The accepted skills of a graph, ready to run.

    Args:
        probing: is shown each skill's play, when given.

    Raises:
        GraphError: a file is damaged or was made for another network; names it.
    """
    library = SkillLibrary()
    world = bench.world
    like = bench.probing_worlds(1) if probing is not None else None
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
        learned = LearnedSkill(
            node.name, node.operator, task, bench.restored_params(_mapping(loaded.params), node.name)
        )
        library.add(learned)
        starts = store.load_start_states(node.index)
        if probing is not None and like is not None and starts is not None:
            placed: Placed = tree_to_states(_mapping(starts), like)
            probing.add_skill_play(learned, placed)
    return library


def use_compilation_cache() -> None:
    """Compiled programs are kept in the user's cache folder, unless JAX is told of another place."""
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        folder = Path(platformdirs.user_cache_dir("flowrl")) / "jax"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _mapping(tree: Any) -> dict[str, Any]:
    return dict(tree)
