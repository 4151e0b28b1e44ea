"""The loop accepts skills in order, each with its plan, evidence, cost and provenance."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from replies import GOOD, TABLE, WOOD
from toy_runs import TOY_CONFIG, RunToy, ToyRun
from toy_world import BUILD, TOY, ToyWorld

from flowrl.pipeline import running_estimates
from flowrl.pipeline.events import (
    RunFinished,
    RunStarted,
    SkillAccepted,
    StageStarted,
    TrainingProgress,
)
from flowrl.pipeline.probing import RANDOM_STEPS, SKILL_STEPS
from flowrl.rl.network import NEVER
from flowrl.store.graph_store import GraphStore

BATCH = TOY_CONFIG.ppo.num_envs or 0


def test_skills_are_accepted_in_order_with_plans_that_use_the_earlier_ones(learned: ToyRun) -> None:
    graph = learned.graph
    assert graph.names == ("collect_wood", "place_table", "make_pickaxe")
    assert [node.plan for node in graph.nodes] == [
        (),
        (("collect_wood", 1),),
        (("collect_wood", 2), ("place_table", 1)),
    ]
    assert graph.edges == (
        ("place_table", "collect_wood"), ("make_pickaxe", "collect_wood"), ("make_pickaxe", "place_table"),
    )  # fmt: skip
    assert graph.failures == ()


def test_a_node_says_how_it_was_proved_what_it_cost_and_where_it_comes_from(learned: ToyRun) -> None:
    wood, _, pickaxe = learned.graph.nodes
    for node in (wood, pickaxe):
        assert node.evidence.episodes == TOY_CONFIG.validation.validation_episodes
        assert node.evidence.success_low >= TOY_CONFIG.validation.success_state_rate
        assert set(node.evidence.gains) == set(node.operator.gains)
        # A success needs every declared gain, measured in the env.
        assert all(share >= node.evidence.success for share in node.evidence.gains.values())
        assert node.evidence.deaths == 0
        assert 1 <= node.evidence.mean_length <= node.max_steps * node.max_repeat
        assert node.llm == {"proposer": "script"}
        assert node.max_steps == 40
        assert node.provenance["layer_size"] == TOY_CONFIG.ppo.layer_size
        assert {"created", "device", "host", "versions", "seed", "num_slots"} <= set(node.provenance)
        assert node.wall_s > 0
    assert (wood.max_repeat, pickaxe.max_repeat) == (2, 1)


def test_env_steps_add_up_to_what_the_run_made(learned: ToyRun) -> None:
    batch_of_training = BATCH * (TOY_CONFIG.ppo.num_steps or 0)
    nodes = learned.graph.nodes
    assert [node.env_steps.prepare > 0 for node in nodes] == [False, True, True]
    for node in nodes:
        assert node.env_steps.train % batch_of_training == 0
        assert node.env_steps.validate > 0
    probing = BATCH * (RANDOM_STEPS + SKILL_STEPS * len(nodes))
    [finished] = learned.of(RunFinished)
    assert sum(node.env_steps.total for node in nodes) + probing == finished.env_steps


def test_events_tell_the_stages_in_order_and_the_journal_keeps_them(learned: ToyRun) -> None:
    stages = [(event.stage, event.skill) for event in learned.of(StageStarted)]
    asked = [index for index, (stage, _) in enumerate(stages) if stage == "propose"]
    second = [stage for stage, skill in stages[asked[1] : asked[2]] if skill in ("", "place_table")]
    assert list(dict.fromkeys(second)) == ["propose", "check", "plan", "prepare", "train", "validate"]
    assert isinstance(learned.events[0], RunStarted)
    finished = learned.events[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.accepted, finished.reason) == (3, "")

    kept = [event for event in learned.events if not isinstance(event, TrainingProgress)]
    assert [record["kind"] for record in learned.journal] == [type(event).__name__ for event in kept]
    accepted = [record for record in learned.journal if record["kind"] == "SkillAccepted"]
    assert [record["summary"] for record in accepted] == [node.summary() for node in learned.graph.nodes]


def test_curves_rise_with_env_steps_and_lie_with_the_node(learned: ToyRun) -> None:
    with GraphStore.open(learned.path, "Toy-v1") as store:
        curves = store.load_curves(0)
    steps = [point["env_steps"] for point in curves]
    assert steps == sorted(set(steps))
    assert steps[-1] == learned.graph.nodes[0].env_steps.train
    assert {"success", "reward", "entropy", "episode_length"} <= set(curves[0])
    reported = [event.env_steps for event in learned.of(TrainingProgress) if event.skill == "collect_wood"]
    assert reported == steps


def test_stored_start_states_are_those_in_which_the_skill_can_start(learned: ToyRun) -> None:
    with GraphStore.open(learned.path, "Toy-v1") as store:
        tree = dict(store.load_start_states(2) or {})
    names = sorted(tree)
    # ToyState's fields in order, then what is seen of them.
    wood = np.asarray(tree[names[3]])
    assert wood.min() >= 1
    assert len(wood) == 32


def test_a_later_context_knows_the_graph_and_what_it_reaches(learned: ToyRun) -> None:
    first, second, third = learned.source.contexts
    assert (first.index, first.accepted, first.frontier) == (0, (), {"inventory:glass": 1})
    assert [skill.name for skill in third.accepted] == ["collect_wood", "place_table"]
    assert second.frontier["inventory:wood"] == "+1 each time"
    assert third.frontier["near:table"] == 1
    assert "`tree.distance`" in first.field_table
    assert "`inventory:glass`" in first.fact_table
    assert "LEFT=0" in first.enum_table
    json.dumps([dict(skill.operator) for skill in third.accepted])


def test_the_same_seed_gives_the_same_graph_and_another_another(run_toy: RunToy, tmp_path: Path) -> None:
    def evidence(seed: int, name: str) -> tuple[float, int, dict[str, float]]:
        done = run_toy([WOOD], seed=seed, max_nodes=1, path=tmp_path / name)
        node = done.graph.nodes[0]
        return node.evidence.mean_length, node.env_steps.total, dict(node.evidence.gains)

    assert evidence(0, "a") == evidence(0, "b")
    assert evidence(0, "c") != evidence(1, "d")


def test_enough_nodes_are_enough(run_toy: RunToy) -> None:
    assert run_toy([WOOD], max_nodes=1).raised is None
    again = run_toy([WOOD, TABLE], max_nodes=1)
    assert again.raised is None
    assert again.source.contexts == []
    assert again.of(SkillAccepted) == []
    [started] = again.of(RunStarted)
    assert started.accepted == again.graph.names == ("collect_wood",)


def test_what_compiles_does_not_depend_on_the_skill(run_toy: RunToy) -> None:
    """Three skills, and the env's step and PPO's update are traced once each."""
    counts: dict[str, int] = {}

    def count(event: str, _duration: float, fun_name: str = "", **_: object) -> None:
        if event == "/jax/core/compile/jaxpr_trace_duration":
            counts[fun_name] = counts.get(fun_name, 0) + 1

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        # Sizes that no other test has compiled.
        assert run_toy(GOOD, ppo={"num_envs": 48, "num_steps": 12}).raised is None
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert counts["_advance_batch"] == 1
    assert counts["_update_slots"] == 1
    assert counts["_act_batch"] == 1


def test_speed_is_averaged_and_the_first_update_which_compiles_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = iter([100.0, 101.0, 101.5, *(102.0 + index for index in range(20))])
    monkeypatch.setattr(running_estimates.time, "monotonic", lambda: next(ends))
    clock = running_estimates.UpdateClock()
    assert [clock.lap() for _ in range(3)] == [0.0, 1.0, 2 / 1.5]
    assert [clock.lap() for _ in range(20)][-1] == 1.0


def test_only_a_skill_that_rests_may_sleep(run_toy: RunToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here BUILD is what leaves one helpless, and building what it is for."""
    monkeypatch.setattr(ToyWorld, "sleep_actions", {BUILD: ("achievement:build",)})
    done = run_toy((WOOD, TABLE), max_nodes=2)
    assert done.raised is None
    with GraphStore.open(done.path, TOY) as store:
        wood, table = (store.load_node(index).params["policy"]["bias"] for index in (0, 1))
    assert wood[BUILD] == NEVER
    assert table[BUILD] > NEVER / 2
    assert (np.delete(wood, BUILD) > NEVER / 2).all()
