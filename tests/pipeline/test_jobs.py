"""What crosses to whoever trains is data: it can be pickled, names no code of a model, is checked again."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from replies import GOOD, WOOD
from toy_runs import TOY_CONFIG, RunToy, ToyRun, workbench_like_new
from toy_world import ToyWorld

from flowrl.errors import GraphError
from flowrl.pipeline.jobs import JobFailed, Outcome, TrainedSkill, TrainingJob
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.slot_executor import SlotExecutor
from flowrl.rl.trainer import SlotTrainer
from flowrl.skills.evidence import EnvSteps

DATA = ("flowrl.skills.", "flowrl.pipeline.jobs.", "flowrl.pipeline.library.PackedSkill", "numpy.")
"""Where everything that a pickled job or outcome refers to by name comes from."""


class Named(pickle.Unpickler):
    """Notes every class and function that a pickle names."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.names.add(f"{module}.{name}")
        return super().find_class(module, name)


@pytest.fixture
def crossing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that passes between driver and executor is pickled on its way, and kept here."""
    crossed: list[Any] = []

    def across(message: Any) -> Any:
        reader = Named(pickle.dumps(message))
        arrived = reader.load()
        foreign = {name for name in reader.names if not name.startswith(DATA)}
        assert not foreign, foreign
        crossed.append(arrived)
        return arrived

    submit: Callable[..., None] = SlotExecutor.submit
    poll: Callable[..., list[Outcome]] = SlotExecutor.poll
    monkeypatch.setattr(SlotExecutor, "submit", lambda self, job: submit(self, across(job)))
    monkeypatch.setattr(SlotExecutor, "poll", lambda self: [across(outcome) for outcome in poll(self)])
    return crossed


def test_a_run_whose_messages_are_pickled_learns_the_same_graph(
    run_toy: RunToy, crossing: list[Any], learned: ToyRun
) -> None:
    done = run_toy(GOOD)
    assert done.raised is None
    for there, here in zip(done.graph.nodes, learned.graph.nodes, strict=True):
        same = ("name", "operator", "plan", "evidence", "env_steps", "max_steps", "max_repeat")
        assert all(getattr(there, name) == getattr(here, name) for name in same)
    jobs = [message for message in crossing if isinstance(message, TrainingJob)]
    assert [job.id for job in jobs] == [0, 1, 2]
    assert [[skill.name for skill in job.skills] for job in jobs] == [
        [], ["collect_wood"], ["collect_wood", "place_table"],
    ]  # fmt: skip
    for message in crossing:
        if isinstance(message, TrainedSkill):
            leaves = jax.tree.leaves((message.params, dict(message.starts)))
            assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
            assert all(len(leaf) == 32 for leaf in message.starts.values())


def executor_and_job(
    run_toy: RunToy, crossing: list[Any], toy_world: ToyWorld, **ppo: Any
) -> tuple[SlotExecutor, TrainingJob]:
    """An executor of one slot, and the job that the run of one skill gave to its own."""
    assert run_toy([WOOD], max_nodes=1).raised is None
    config = replace(TOY_CONFIG, ppo=replace(TOY_CONFIG.ppo, **ppo))
    sized, shape = resolve_sizes(config.ppo, 1, config.start_states)
    return SlotExecutor(workbench_like_new(toy_world, sized, shape, 0), config, lambda _: None), crossing[0]


def test_damaged_code_is_not_trained(run_toy: RunToy, crossing: list[Any], toy_world: ToyWorld) -> None:
    executor, job = executor_and_job(run_toy, crossing, toy_world)
    damaged = job.artifact[:-1] + bytes([job.artifact[-1] ^ 1])
    executor.submit(replace(job, artifact=damaged))
    with pytest.raises(GraphError, match=r"the code of 'collect_wood'.*checksum"):
        executor.poll()


def test_a_full_executor_says_so_and_is_empty_once_closed(
    run_toy: RunToy, crossing: list[Any], toy_world: ToyWorld
) -> None:
    executor, job = executor_and_job(run_toy, crossing, toy_world)
    assert executor.free == 1
    executor.submit(job)
    assert executor.free == 0
    with pytest.raises(RuntimeError, match="'collect_wood' was submitted while all"):
        executor.submit(job)
    executor.poll()
    assert executor.free == 0
    executor.close()
    assert executor.free == 1
    assert executor.poll() == []


def test_a_job_goes_on_from_given_parameters_and_from_what_was_spent(
    run_toy: RunToy, crossing: list[Any], toy_world: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, job = executor_and_job(run_toy, crossing, toy_world, total_timesteps=2048)
    given: list[Any] = []
    assign: Callable[..., None] = SlotTrainer.assign

    def noted(self: SlotTrainer, slot: int, task: Any, starts: Any, params: Any) -> None:
        given.append(params)
        assign(self, slot, task, starts, params)

    monkeypatch.setattr(SlotTrainer, "assign", noted)
    [trained] = [message for message in crossing if isinstance(message, TrainedSkill)]
    executor.submit(
        replace(job, params=trained.params, env_steps=EnvSteps(train=1024, prepare=7, validate=9), round=1)
    )
    outcomes: list[Outcome] = []
    while not outcomes:
        outcomes = executor.poll()
    for have, want in zip(jax.tree.leaves(given[0]), jax.tree.leaves(trained.params), strict=True):
        assert np.array_equal(have, want)
    [outcome] = outcomes
    # Two updates of 32 envs x 16 steps were left of the budget.
    assert outcome.env_steps.train == 1024 + 2 * 512
    assert outcome.env_steps.prepare >= 7
    assert outcome.env_steps.validate > 9
    assert isinstance(outcome, TrainedSkill | JobFailed)
    assert outcome.id == job.id
