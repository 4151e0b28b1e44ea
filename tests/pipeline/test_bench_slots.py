"""One measurement of ``bench parallel`` on the toy world: what is counted, and what a refill compiles."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import pytest
from toy_runs import TOY_CONFIG
from toy_world import ToyWorld

from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.report.bench_skills import START_STATES
from flowrl.report.bench_slots import EXPENSIVE, SlotsRun, compilations, train_in_slots
from flowrl.rl.task import Task
from flowrl.rl.trainer import TrainerShape

SHAPE = TrainerShape(num_slots=2, num_envs=16, num_steps=8, layer_size=16, bank_size=START_STATES)
AN_UPDATE = 16 * 8
"""Env steps that an update trains one slot with."""


def gather(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Wood is the first column."""
    return now[:, 0] - prev[:, 0], now[:, 0] >= start[:, 0] + n


def tasks(count: int) -> dict[int, Task]:
    return {number: Task(f"gather {number}", gather, (), 10) for number in range(count)}


@pytest.fixture(scope="module")
def bench(toy_world: ToyWorld) -> Workbench:
    ppo = dataclasses.replace(TOY_CONFIG.ppo, num_envs=16, num_steps=8, layer_size=16)
    return build_workbench(toy_world, ppo, SHAPE, seed=0)


@pytest.fixture(scope="module")
def measured(bench: Workbench) -> tuple[SlotsRun, dict[str, int]]:
    """Five skills of two updates each in two slots, and what was compiled meanwhile."""
    with compilations() as compiled:
        run = train_in_slots(bench, tasks(5), AN_UPDATE + 1)
    return run, dict(compiled)


def test_only_slots_with_a_skill_count(measured: tuple[SlotsRun, dict[str, int]]) -> None:
    run, _ = measured
    # A budget of one update and a bit is two. Slots in use: 1 2 2 2 2 1; the first update is not timed.
    assert run.env_steps == 5 * 2 * AN_UPDATE
    assert run.timed_steps == run.env_steps - AN_UPDATE
    assert run.timed_s > 0


def test_three_refills_compile_nothing_expensive(measured: tuple[SlotsRun, dict[str, int]]) -> None:
    run, compiled = measured
    assert len(run.refills_s) == 3
    assert all(seconds > 0 for seconds in run.refills_s)
    assert run.refill_compiles == 0
    # The count can see them: each was compiled once, for the first update, and a judge for every skill.
    assert {name: compiled[name] for name in EXPENSIVE} == dict.fromkeys(EXPENSIVE, 1)
    assert compiled["judge_slot"] == 5


def test_slots_are_refilled_one_at_a_time(
    measured: tuple[SlotsRun, dict[str, int]], bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though all skills take as long: no two are assigned before the same update."""
    del measured
    happened: list[str] = []
    assign, update = bench.trainer.assign, bench.trainer.update

    def noted_assign(*args: Any) -> None:
        happened.append("assign")
        assign(*args)

    def noted_update() -> Any:
        happened.append("update")
        return update()

    monkeypatch.setattr(bench.trainer, "assign", noted_assign)
    monkeypatch.setattr(bench.trainer, "update", noted_update)
    train_in_slots(bench, tasks(6), 2 * AN_UPDATE)
    assert happened.count("assign") == 6
    assert ("assign", "assign") not in itertools.pairwise(happened)


@pytest.mark.usefixtures("measured")
def test_what_compiles_during_a_refill_is_counted(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    assign = bench.trainer.assign

    def forgetful(*args: Any) -> None:
        bench.programs._advance.jitted.clear_cache()
        assign(*args)

    monkeypatch.setattr(bench.trainer, "assign", forgetful)
    assert train_in_slots(bench, tasks(3), AN_UPDATE).refill_compiles == 1
