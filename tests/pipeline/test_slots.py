"""Several skills in training at a time: the same graph as one after another, but for the order."""

from __future__ import annotations

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

from flowrl.errors import FatalProviderError
from flowrl.pipeline.events import StageStarted, TrainingProgress
from flowrl.rl.trainer import SlotTrainer

SCRIPT = (FLAG_ONLY, WOOD_ONLY, TABLE, PICKAXE)


def learned(done: ToyRun) -> dict[str, object]:
    return {
        node.name: (node.operator, node.plan, node.max_steps, node.max_repeat) for node in done.graph.nodes
    }


def test_two_slots_learn_the_same_graph_as_one(run_toy: RunToy) -> None:
    one = run_toy(SCRIPT, max_nodes=4)
    assert one.raised is None
    two = run_toy(SCRIPT, slots=2, max_nodes=4, path=one.path.with_name("two"))
    assert two.raised is None
    assert learned(one) == learned(two)
    assert len(learned(two)) == 4
    # They did train side by side, and what needs the table waited for it.
    assert two.source.contexts[1].in_training == ("gather_once",)
    assert two.source.contexts[1].index == 1
    started = [event.skill for event in two.of(StageStarted) if event.stage == "train"]
    assert started.index("place_table") < started.index("make_pickaxe")
    assert {node.provenance["slot"] for node in two.graph.nodes} == {0, 1}
    progress = [event.skill for event in two.of(TrainingProgress)]
    assert {"gather_once", "collect_wood"} <= set(progress[:4])


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
