"""The real pipeline on the toy world: one function that runs it, and what it leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from replies import ScriptedSource, ThinkingSource
from toy_world import TOY, ToyWorld

from flowrl.codegen.tracer import Tracer
from flowrl.config import PPOConfig, RunConfig, ValidationConfig
from flowrl.llm.config import LlmConfig
from flowrl.pipeline import run as run_module
from flowrl.pipeline.events import Event
from flowrl.pipeline.parallel_config import ParallelConfig
from flowrl.pipeline.sizes import ppo_settings
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.trainer import SlotTrainer, TrainerShape
from flowrl.skills.graph import SkillGraph
from flowrl.store.journal import read_journal
from flowrl.store.manifest import read_graph

TOY_CONFIG = RunConfig(
    env_name=TOY,
    max_nodes=3,
    max_consecutive_failures=3,
    max_repeat=2,
    start_states=64,
    ppo=PPOConfig(
        total_timesteps=40_000, num_envs=32, num_steps=16, layer_size=32, num_minibatches=4, lr=3e-3
    ),
    validation=ValidationConfig(success_state_rate=0.7, validation_episodes=64, refine=False),
)


@dataclass
class ToyRun:
    """What a run left behind.

    Attributes:
        path: ``--graph-path``.
        source: who was asked.
        events: in order.
        raised: what it ended with, or None.
    """

    path: Path
    source: ScriptedSource | ThinkingSource
    events: list[Event] = field(default_factory=list)
    raised: BaseException | None = None

    @property
    def graph(self) -> SkillGraph:
        """As it is on disk."""
        return read_graph(self.path, TOY)

    @property
    def journal(self) -> list[dict[str, Any]]:
        """As it is on disk."""
        return read_journal(self.path / "journal.jsonl")

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


RunToy = Callable[..., ToyRun]


_compiled: dict[Any, Workbench] = {}


def workbench_like_new(world: ToyWorld, ppo: PPOConfig, shape: TrainerShape, seed: int) -> Workbench:
    """A fresh workbench with the programs that an earlier test of the same sizes has compiled."""
    sizes = (world.name, ppo_settings(ppo), shape)
    if sizes not in _compiled:
        _compiled[sizes] = build_workbench(world, ppo, shape, seed)
    known = _compiled[sizes]
    known.programs.env_steps = 0
    known.episodes.maintenance = known.executor.maintenance = None
    trainer = SlotTrainer(known.programs, shape, ppo_settings(ppo), seed)
    for program in ("_init", "_act", "_update"):
        setattr(trainer, program, getattr(known.trainer, program))
    return replace(known, trainer=trainer, seed=seed)


def toy_runner(folder: Path, tracer: Tracer, toy_world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> RunToy:
    """``run(script, slots=1, max_repairs=2, on=None, **config)``; ``on`` is told of every event.

    ``parallel`` chooses another executor than ``slots`` of this process.
    """
    monkeypatch.setattr(run_module, "make_world", lambda _name: toy_world)
    monkeypatch.setattr(run_module, "build_workbench", workbench_like_new)
    monkeypatch.setattr(run_module, "Tracer", lambda: contextlib.nullcontext(tracer))

    def run(
        script: Any,
        slots: int = 1,
        max_repairs: int = 2,
        llm_name: str = "script",
        on: Callable[[Event], None] | None = None,
        ppo: dict[str, Any] | None = None,
        path: Path | None = None,
        parallel: ParallelConfig | None = None,
        **config: Any,
    ) -> ToyRun:
        source = script if isinstance(script, ScriptedSource | ThinkingSource) else ScriptedSource(script)
        done = ToyRun(path or folder / "graph", source)
        monkeypatch.setattr(run_module, "open_proposer", lambda *_: source)

        def listen(event: Event) -> None:
            done.events.append(event)
            if on is not None:
                on(event)

        flags = replace(
            TOY_CONFIG, graph_path=done.path, ppo=replace(TOY_CONFIG.ppo, **(ppo or {})), **config
        )
        llm = LlmConfig(llm_name=llm_name, max_repairs=max_repairs)
        try:
            assert run_module.run_bottomup(flags, llm, [listen], parallel or ParallelConfig(slots)) == 0
        except BaseException as error:
            done.raised = error
        return done

    return run
