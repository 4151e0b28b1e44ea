"""Several skills in training at a time: the same graph as one after another, but for the order."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from replies import (
    DIAMOND,
    FLAG_ONLY,
    MORE_WOOD,
    NO_BLOCKS,
    PICKAXE,
    TABLE,
    WOOD,
    WOOD_ONLY,
    ScriptedSource,
)
from toy_runs import RunToy, ToyRun

from flowrl.errors import FatalProviderError, RunStopped
from flowrl.llm.errors import NothingToPropose
from flowrl.pipeline.events import StageStarted, TrainingProgress
from flowrl.report.bench_slots import compilations
from flowrl.rl.environment import Placed
from flowrl.rl.task import Task
from flowrl.rl.trainer import SlotTrainer
from flowrl.skills.graph import EnvSteps, Evidence

SCRIPT = (FLAG_ONLY, WOOD_ONLY, TABLE, PICKAXE)


def learned(done: ToyRun) -> dict[str, object]:
    return {
        node.name: (node.operator, node.plan, node.max_steps, node.max_repeat) for node in done.graph.nodes
    }


def begun_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """Filled in by runs to come: skill -> the parameters and the start states that it began with."""
    begun: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    assign: Any = SlotTrainer.assign

    def noted(self: SlotTrainer, slot: int, task: Task, starts: Placed, params: Any) -> None:
        seen = [np.asarray(leaf) for leaf in jax.tree.leaves(starts.seen)]
        begun[task.name] = [np.asarray(leaf) for leaf in jax.tree.leaves(params)], seen
        assign(self, slot, task, starts, params)

    monkeypatch.setattr(SlotTrainer, "assign", noted)
    return begun


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_three_slots_learn_the_same_graph_as_one(run_toy: RunToy, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        alone = begun_with(patch)
        one = run_toy(SCRIPT, max_nodes=4)
    assert one.raised is None
    with monkeypatch.context() as patch, compilations() as compiled:
        together = begun_with(patch)
        three = run_toy(SCRIPT, slots=3, max_nodes=4, path=one.path.with_name("three"))
    assert three.raised is None
    assert learned(one) == learned(three)
    assert len(learned(three)) == 4
    # They did train side by side, and what needs the table waited for it.
    assert three.source.contexts[1].in_training == ("gather_once",)
    assert three.source.contexts[1].index == 1
    started = [event.skill for event in three.of(StageStarted) if event.stage == "train"]
    assert started.index("place_table") < started.index("make_pickaxe")
    progress = [event.skill for event in three.of(TrainingProgress)]
    assert {"gather_once", "collect_wood"} <= set(progress[:4])
    # What a skill begins with depends on the seed and the skill alone; a plan's end also on its policies.
    assert alone.keys() == together.keys()
    assert all(same(alone[name][0], together[name][0]) for name in alone)
    assert not same(alone["gather_once"][0], alone["collect_wood"][0])
    assert all(same(alone[name][1], together[name][1]) for name in ("gather_once", "collect_wood"))
    # A slot is filled again without compiling what is expensive.
    assert all(compiled[program] <= 1 for program in ("_act_batch", "_update_slots", "_advance_batch"))
    places = [node.provenance for node in three.graph.nodes]
    assert {place["executor"] for place in places} == {"slots"}
    assert len({place["slot"] for place in places}) >= 2
    assert len({place["job"] for place in places}) == 4
    first = {place["slot"]: place["job"] for place in sorted(places, key=lambda p: p["job"], reverse=True)}
    for place in places:
        assert (place["refill_s"] is None) == (place["job"] == first[place["slot"]])
        assert place["refill_s"] is None or place["refill_s"] > 0


def test_the_same_seed_gives_the_same_graph_with_two_slots(run_toy: RunToy) -> None:
    def run(name: str) -> list[tuple[str, Evidence, EnvSteps]]:
        done = run_toy([FLAG_ONLY, WOOD_ONLY], slots=2, max_nodes=2, path=folder / name)
        return [(node.name, node.evidence, node.env_steps) for node in done.graph.nodes]

    folder = run_toy([], max_nodes=1).path.parent
    assert run("a") == run("b")


def test_a_failure_blocks_nobody(run_toy: RunToy) -> None:
    done = run_toy([DIAMOND, FLAG_ONLY, WOOD_ONLY], slots=2, max_nodes=3, ppo={"total_timesteps": 40 * 512})
    assert isinstance(done.raised, NothingToPropose)
    assert set(done.graph.names) == {"gather_once", "collect_wood"}
    [failure] = done.graph.failures
    assert (failure.name, failure.stage) == ("collect_diamond", "train")
    assert failure.index == 2, "both others were learned while it trained"


def test_what_is_in_training_is_finished_when_too_much_fails(run_toy: RunToy) -> None:
    done = run_toy(
        [WOOD_ONLY, NO_BLOCKS, FLAG_ONLY], slots=2, max_nodes=3, max_repairs=0, max_consecutive_failures=1
    )
    assert isinstance(done.raised, RunStopped)
    assert "'unnamed', at stage parse" in str(done.raised)
    assert done.graph.names == ("collect_wood",)
    assert len(done.source.contexts) == 2, "nothing was asked for after that"
    assert done.journal[-1]["reason"] == str(done.raised)


def test_a_slot_waits_for_what_is_in_training_and_asks_again_when_that_is_done(run_toy: RunToy) -> None:
    done = run_toy([WOOD, TABLE], slots=2, max_nodes=2)
    assert done.raised is None
    in_training = [context.in_training for context in done.source.contexts]
    # Asked once while wood was in training, and not again before it was there.
    assert in_training == [(), ("collect_wood",), ()]


def test_what_is_in_training_is_not_learned_twice(run_toy: RunToy) -> None:
    done = run_toy([WOOD, MORE_WOOD, TABLE], slots=2, max_nodes=2, max_repairs=0)
    [failure] = done.graph.failures
    assert (failure.name, failure.stage) == ("gather_more", "plan")
    assert "those in training already gain (inventory:wood)" in failure.reason
    assert done.graph.names == ("collect_wood", "place_table")


def test_what_is_in_training_is_finished_when_the_provider_fails(run_toy: RunToy) -> None:
    refused = FatalProviderError("The key was refused.")
    done = run_toy(ScriptedSource([WOOD], asks={1: refused}), slots=2)
    assert done.raised is refused
    assert done.graph.names == ("collect_wood",)


def test_a_refused_skill_leaves_its_slot_at_once(run_toy: RunToy, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[int] = []
    release = SlotTrainer.release

    def noted(self: SlotTrainer, slot: int) -> None:
        freed.append(slot)
        release(self, slot)

    monkeypatch.setattr(SlotTrainer, "release", noted)
    done = run_toy([DIAMOND], slots=2, ppo={"total_timesteps": 4096}, max_consecutive_failures=1)
    assert freed == [0]
    [failure] = done.graph.failures
    assert failure.env_steps.train == 4096


def test_an_empty_slot_is_filled_by_the_next_good_proposal(run_toy: RunToy) -> None:
    done = run_toy([NO_BLOCKS, FLAG_ONLY, NO_BLOCKS, WOOD_ONLY], slots=2, max_nodes=2, max_repairs=0)
    assert done.raised is None
    assert sorted(done.graph.names) == ["collect_wood", "gather_once"]
    assert [failure.name for failure in done.graph.failures] == ["unnamed", "unnamed"]
