"""Practice: all skills of a graph trained together, in the whole episodes that its agent plays."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.codegen.tracer import Tracer
from flowrl.config import PPOConfig, RunConfig
from flowrl.errors import GraphError, ProposalRefused, UserError
from flowrl.pipeline.agent import AgentPlan, plan_agent
from flowrl.pipeline.available_memory import available_memory
from flowrl.pipeline.candidates import Candidate, find_candidates, prove_candidate
from flowrl.pipeline.events import (
    PRACTICE,
    Event,
    Listener,
    Practised,
    RunFinished,
    RunNote,
    RunStarted,
    SkillAccepted,
    SkillRefused,
    StageStarted,
    TrainingProgress,
)
from flowrl.pipeline.fresh_worlds import START_WORLDS, renewed_worlds
from flowrl.pipeline.game_reward import game_reward
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.maintenance import maintenance_of, maintenance_rules
from flowrl.pipeline.memory import require_memory
from flowrl.pipeline.practice_curves import CurveWindow
from flowrl.pipeline.practice_left import ALL_OF_IT, PracticeLeft
from flowrl.pipeline.probing import ProbeBankBuilder
from flowrl.pipeline.records import failure_of, now
from flowrl.pipeline.run import load_library, practised_policies, use_compilation_cache, why_ended
from flowrl.pipeline.running_estimates import UpdateClock
from flowrl.pipeline.sizes import layer_size_of, ppo_settings, resolve_sizes
from flowrl.pipeline.streams import stream_number
from flowrl.pipeline.tasks import barred_actions
from flowrl.pipeline.what_helps import fight_watch, helping, more_is_known, tools_of, what_is_spared
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.practice import ROLLOUTS, PracticeTrainer
from flowrl.rl.shared_network import policy_of, shared_params, with_more_policies, without_actions_of
from flowrl.skills.evidence import EnvSteps
from flowrl.skills.graph import Practice, SkillGraph
from flowrl.skills.practice import Spared
from flowrl.store.graph_store import GraphStore
from flowrl.store.manifest import read_graph
from flowrl.worlds.registry import make_world

REPORT_EVERY = 8
"""Updates that one point of the curves stands for."""

KEEP_EVERY = 1_000_000
"""Env steps after which the policies are kept: what is lost at most when practice is interrupted."""

GUIDED_STEPS = 1_000_000
"""Env steps over which the policies of a first practice are drawn, less and less, towards the nodes' own."""

CPU_ENVS, NUM_STEPS = 256, 64
"""Sizes where none are given, four times the batch of a skill's update: whole episodes are long and their
returns noisy (measured: decision 10). Elsewhere than on a CPU, envs are as many as ever."""

HEALTH_VALUE = 0.8
"""What a point of health pays, or costs, in practice; in the game 0.1. A blow brings a death nearer that lies
beyond the horizon of the discount; healing pays the blow back, so nobody is paid for being hit or healed."""

LEAST_LR = 0.1
"""With ``--anneal_lr``, the share of the learning rate that is left at the end of the budget."""


@dataclass(frozen=True)
class PracticeResult:
    """What a practice did.

    Attributes:
        graph: as it is on disk now.
        accepted: refused skills that were learned.
        refused: those that were not.
    """

    graph: SkillGraph
    accepted: tuple[str, ...]
    refused: tuple[str, ...]


def practise(
    graph_path: Path,
    ppo: PPOConfig,
    seed: int,
    wanted: float,
    episodes: int,
    listeners: Sequence[Listener],
    left: PracticeLeft = ALL_OF_IT,
) -> PracticeResult:
    """Trains all skills of a graph, and those that were refused for want of success, in whole episodes.

    A second practice goes on from the policies of the first. What was refused before and is good enough now
    is validated like any trained skill and joins the graph.

    Args:
        ppo: settings; ``total_timesteps`` is the budget of all skills together, ``layer_size`` the graph's.
        wanted: what the lower end of a refused skill's success rate must reach to be accepted.
        episodes: to validate it on.
        listeners: who is told what happens.
        left: what is still to be done, where a practice with these settings was cut off.

    Raises:
        UserError: the graph has no skill yet, or another ``layer_size``.
        GraphError: there is no graph, or it is damaged.
    """
    began = time.monotonic()
    use_compilation_cache()
    with ExitStack() as stack:
        env_name = read_graph(graph_path).env_name
        world = make_world(env_name)
        store = stack.enter_context(GraphStore.open(graph_path, env_name, create=False))
        if not store.graph.nodes:
            raise UserError(f"{graph_path} has no accepted skill yet: there is nothing to practise.")
        ppo = dataclasses.replace(with_sizes(ppo), layer_size=_layer_size(store.graph, ppo.layer_size))
        config = RunConfig(env_name, ppo=ppo, start_states=START_WORLDS)
        require_memory(world, config, 1, available_memory(), num_rollouts=ROLLOUTS)
        bench = build_workbench(world, *resolve_sizes(ppo, 1, START_WORLDS), seed)
        bench.compile_ahead()

        def emit(event: Event) -> None:
            if not isinstance(event, TrainingProgress):
                store.journal.append(type(event).__name__, dataclasses.asdict(event))
            for listener in listeners:
                listener(event)

        def finish(reason: str = "") -> None:
            wall_s = time.monotonic() - began
            emit(RunFinished(len(store.graph.nodes), bench.programs.env_steps, wall_s, reason))

        names = store.graph.names
        emit(RunStarted(env_name, str(graph_path), PRACTICE, len(names), names))
        for note in (*store.notes, *_how_it_goes_on(left, ppo.total_timesteps)):
            emit(RunNote(note))
        try:
            probing = ProbeBankBuilder(bench)
            probing.add_random_play()
            library = load_library(store, bench, probing)
            with Tracer() as tracer:
                candidates = find_candidates(store, world, tracer, probing.bank(), emit)
            for candidate in candidates:
                library.add(candidate.skill(world))
            session = _Session(store, library, bench, candidates, ppo, left.before, emit)
            if left.train:
                session.train()
            accepted, refused = session.prove(wanted, episodes)
        except BaseException as error:
            # Where the disk is full, the journal fails too: the first error is the one to be seen.
            with suppress(GraphError):
                finish(why_ended(error))
            raise
        finish()
        return PracticeResult(store.graph, accepted, refused)


def _how_it_goes_on(left: PracticeLeft, budget: int) -> Iterator[str]:
    if left.train and left.before:
        yield (
            f"goes on with the last practice, {left.before:,} of {budget:,} env steps are done; other "
            "settings or another --seed begin a new one"
        )
    elif not left.train:
        yield "that practice was trained to its end: what was refused before is validated"


def with_sizes(ppo: PPOConfig) -> PPOConfig:
    """Settings with the sizes of practice where none are given."""
    envs = CPU_ENVS if jax.default_backend() == "cpu" else None
    return dataclasses.replace(ppo, num_envs=ppo.num_envs or envs, num_steps=ppo.num_steps or NUM_STEPS)


def _layer_size(graph: SkillGraph, asked: int | None) -> int | None:
    """That of the graph's policies, None where no node says it; ``asked`` must be none other."""
    size = layer_size_of(graph)
    if asked not in (None, size):
        raise UserError(
            f"--layer_size {asked}: the policies of this graph have {size}, and those of practice "
            "take their place. Leave it out."
        )
    return size


class _Session:
    """One practice of one graph."""

    def __init__(
        self,
        store: GraphStore,
        library: SkillLibrary,
        bench: Workbench,
        candidates: list[Candidate],
        ppo: PPOConfig,
        before: int,
        emit: Listener,
    ) -> None:
        self._store = store
        self._library = library
        self._bench = bench
        self._candidates = candidates
        self._ppo = ppo
        self._before = before
        self._emit = emit
        self._number = len(store.graph.practices)
        self._nodes = len(store.graph.nodes)
        self._began = time.monotonic()
        self._env_steps = 0
        self._curves: list[dict[str, Any]] = []
        self._does = does = self._plan()
        self._names = does.policies
        facts = list(bench.world.achievement_values)
        spec, columns = bench.world.snapshot_spec, bench.world.snapshot_spec.columns
        practised = practised_policies(store)
        self._watched = [fact.partition(":")[2] for fact in facts]
        operators = (node.operator for node in (*store.graph.nodes, *(one.node for one in candidates)))
        tools = tools_of(operators, bench.world)
        self._tools = tuple(tools)
        fights = fight_watch(does.fights, tools, bench.world)
        self._looks = [np.zeros((fights.terms, fights.terms))]
        known = store.graph.practices[-1].spared if store.graph.practices else {}
        self._known = {tool: found for tool, found in known.items() if tool in tools}
        self._spared: Mapping[str, Spared] = self._known
        worlds = bench.training_worlds(self._stream, START_WORLDS)
        self._trainer = PracticeTrainer(
            bench.programs,
            bench.trainer.network,
            does.program,
            [library[name].task for name in self._names],
            game_reward(bench.world, HEALTH_VALUE),
            (columns["explored"], columns["floor"]) if {"explored", "floor"} <= columns.keys() else None,
            [spec.fact_columns[fact] for fact in facts],
            fights,
            bench.shape.num_steps,
            ppo_settings(ppo),
            self._first_params(),
            # Policies that an earlier practice has left behind guide nobody.
            [None if name in practised else library[name].params for name in self._names],
            worlds,
            stream_number(bench.seed, PRACTICE, self._number),
        )

    @property
    def _stream(self) -> int:
        """Of its training worlds, clear of those of other practices."""
        return stream_number(PRACTICE, self._number)

    def _first_params(self) -> Any:
        """Those of the last practice, with new skills among them; all new where there is none."""
        store, bench, names = self._store, self._bench, self._names
        key = jax.random.fold_in(jax.random.key(bench.seed), stream_number(PRACTICE, self._number, "params"))
        one_key, spread_key = jax.random.split(key)
        if store.graph.practices:
            last = list(store.graph.practices[-1].skills)
            rows = [last.index(name) if name in last else None for name in names]
            params = with_more_policies(jax.tree.map(jnp.asarray, store.load_practice()), rows, spread_key)
        else:
            params = shared_params(bench.trainer.initial_params(one_key), len(names), spread_key)
        for row, name in enumerate(names):
            if barred := barred_actions(self._library[name].operator, bench.world):
                params = without_actions_of(params, row, barred)
        return params

    def train(self) -> None:
        """Practises until the budget is spent; keeps the policies every :data:`KEEP_EVERY` env steps."""
        bench, before, budget = self._bench, self._before, self._ppo.total_timesteps
        per_update = bench.shape.batch * bench.shape.num_steps
        updates = -(-(budget - before) // per_update)
        refused = f", {len(self._candidates)} of them refused before" if self._candidates else ""
        self._emit(
            StageStarted("train", PRACTICE, f"{len(self._names)} skills{refused}, {budget:,} env steps")
        )
        clock, window, kept = UpdateClock(), CurveWindow(self._watched), 0
        for update in range(1, updates + 1):
            left = 1.0 - (before + self._env_steps) / budget
            report = self._trainer.update(
                max(left, LEAST_LR) if self._ppo.anneal_lr else 1.0,
                max(1.0 - self._env_steps / GUIDED_STEPS, 0.0),
                last=update == updates,
            )
            if (renewed := renewed_worlds(bench, update, START_WORLDS, self._stream)) is not None:
                self._trainer.renew(*renewed)
            window.add(report)
            self._looks[-1] += report.fights
            self._env_steps = update * per_update
            if update % REPORT_EVERY == 0 or update == updates:
                self._curves.append({"env_steps": self._env_steps, **window.point()})
                rate = clock.lap() * window.updates * per_update
                trained = before + self._env_steps
                self._emit(TrainingProgress(PRACTICE, trained, budget, rate, None, None, window.shown()))
                window.clear()
            if self._env_steps // KEEP_EVERY > kept or update == updates:
                kept = self._env_steps // KEEP_EVERY
                self._put_first_what_helps()
                self._keep()
        last = self._curves[-1]
        achieved = last["achieved"] if last["episodes"] else None
        self._emit(Practised(self._names, self._env_steps, achieved))

    def _plan(self, spared: Mapping[str, Spared] | None = None) -> AgentPlan:
        nodes = [candidate.node for candidate in self._candidates]
        return plan_agent(self._store.graph, self._library, self._bench.world, None, nodes, spared)

    def _put_first_what_helps(self) -> None:
        """Looks at what fights have shown so far, and goes on with the targets in the order of that."""
        spared = more_is_known(self._known, what_is_spared(self._looks, self._tools))
        self._looks.append(np.zeros_like(self._looks[-1]))
        before, now = helping(self._spared), helping(spared)
        self._spared = spared
        if before == now:
            return
        for tool in sorted(now - before):
            self._emit(RunNote(f"a fight costs {spared[tool].points:.1f} points of health less with {tool}"))
        for tool in sorted(before - now):
            self._emit(RunNote(f"it is not sure any more that fights cost less health with {tool}"))
        does = self._plan(spared)
        places = [self._does.targets.index(target) for target in does.targets]
        if does.targets != self._does.targets:
            self._emit(RunNote(f"targets come in this order now: {', '.join(does.targets)}"))
            self._trainer.pursue_in_order(does.program, places)
        self._does = does

    def _keep(self) -> None:
        """Puts the policies on disk as they are now, in place of what was kept of this practice before."""
        shape = self._bench.shape
        self._store.commit_practice(
            Practice(
                self._names,
                self._nodes,
                self._env_steps,
                time.monotonic() - self._began,
                {
                    "created": now(),
                    "seed": self._bench.seed,
                    "device": jax.devices()[0].device_kind,
                    "num_envs": shape.num_envs,
                    "num_steps": shape.num_steps,
                    "layer_size": shape.layer_size,
                    "ppo": dataclasses.asdict(self._ppo),
                    "before": self._before,
                    "versions": {name: version(name) for name in ("flowrl", "jax", "craftax")},
                },
                self._spared,
            ),
            jax.tree.map(np.asarray, self._trainer.averaged),
            self._curves,
            instead_of_last=len(self._store.graph.practices) > self._number,
        )

    def prove(self, wanted: float, episodes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Validates what was refused before; returns the names of what was accepted and of what was not."""
        params = self._trainer.averaged
        for row, name in enumerate(self._names):
            self._library.add(dataclasses.replace(self._library[name], params=policy_of(params, row)))
        accepted, refused = [], []
        for candidate in self._candidates:
            name = candidate.node.name
            self._maintain()
            self._emit(StageStarted("validate", name, f"{episodes} episodes on unseen worlds"))
            before, began = self._bench.programs.env_steps, time.monotonic()
            try:
                node = prove_candidate(
                    candidate, self._store, self._library, self._bench, episodes, wanted, self._number,
                    self._emit,
                )  # fmt: skip
            except ProposalRefused as refusal:
                # What preparing it took is in there too.
                spent = EnvSteps(validate=self._bench.programs.env_steps - before)
                self._emit(SkillRefused(name, refusal.stage, refusal.reason, candidate.failure.llm))
                failure = failure_of(
                    name, refusal, candidate.node.operator, candidate.failure.llm,
                    time.monotonic() - began, spent,
                )  # fmt: skip
                self._store.record_failure(failure, candidate.reply)
                refused.append(name)
            else:
                self._emit(SkillAccepted(node.index, name, node.summary()))
                accepted.append(name)
        return tuple(accepted), tuple(refused)

    def _maintain(self) -> None:
        """Puts the rules of the accepted skills in force, with the practised policies."""
        bench = self._bench
        rules = maintenance_rules(self._store.graph, bench.world)
        maintenance = maintenance_of(rules, self._library, bench.trainer, bench.world)
        bench.episodes.maintenance = bench.executor.maintenance = maintenance
