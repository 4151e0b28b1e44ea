"""One measurement of ``bench parallel`` on the toy world: what is counted, and what a refill compiles."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import pytest
from toy_runs import TOY_CONFIG
from toy_world import ToyWorld

from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.report.bench_skills import START_STATES
from flowrl.report.bench_slots import EXPENSIVE, SlotsRun, budget, compilations, train_in_slots
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
        run = train_in_slots(bench, tasks(5), dict.fromkeys(range(5), AN_UPDATE + 1))
    return run, dict(compiled)


def test_only_slots_with_a_skill_count(measured: tuple[SlotsRun, dict[str, int]]) -> None:
    run, _ = measured
    # A budget of one update and a bit is two. Slots: 2 2 2 2 1 1; the first update of both is not timed.
    assert run.env_steps == 5 * 2 * AN_UPDATE
    assert run.timed_steps == run.env_steps - 2 * AN_UPDATE
    assert run.timed_s > 0


def test_three_refills_compile_nothing_expensive(measured: tuple[SlotsRun, dict[str, int]]) -> None:
    run, compiled = measured
    assert len(run.refill_s) == 3
    assert all(seconds > 0 for seconds in run.refill_s)
    assert run.refill_compiles == 0
    # The count can see them: each was compiled once, for the first update, and a judge for every skill.
    assert {name: compiled[name] for name in EXPENSIVE} == dict.fromkeys(EXPENSIVE, 1)
    assert compiled["judge_slot"] == 5


@pytest.mark.usefixtures("measured")
def test_what_compiles_during_a_refill_is_counted(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    assign = bench.trainer.assign

    def forgetful(*args: Any) -> None:
        bench.programs._advance.jitted.clear_cache()
        assign(*args)

    monkeypatch.setattr(bench.trainer, "assign", forgetful)
    assert train_in_slots(bench, tasks(3), dict.fromkeys(range(3), AN_UPDATE)).refill_compiles == 1


def test_four_slots_are_refilled_one_at_a_time() -> None:
    """Of eight skills, four begin; each of the others follows one that ended alone, and all end together."""
    budgets = [budget(number, 32_768) for number in range(8)]
    assert sum(budgets) == 8 * 32_768
    assert len(set(budgets[:4])) == 4
    assert {first + second for first, second in zip(budgets[:4], budgets[4:], strict=True)} == {2 * 32_768}
