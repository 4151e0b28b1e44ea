"""Practice of a whole graph of the toy world: through the store, with what was refused before."""

from __future__ import annotations

import contextlib
import inspect
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from replies import DIAMOND, MORE_WOOD, PICKAXE, TABLE
from toy_runs import TOY_CONFIG, ToyRun, workbench_like_new
from toy_world import TOY, ToyWorld

from flowrl.codegen.tracer import Tracer
from flowrl.errors import GraphError, UserError
from flowrl.pipeline import evaluate as evaluate_module
from flowrl.pipeline import practice as practice_module
from flowrl.pipeline.evaluate import play_graph
from flowrl.pipeline.events import (
    PRACTICE,
    Event,
    Practised,
    RunFinished,
    RunNote,
    SkillAccepted,
    SkillRefused,
    StageStarted,
    TrainingProgress,
)
from flowrl.pipeline.game_reward import HEALTH_VALUE, game_reward
from flowrl.pipeline.practice import PracticeResult, practise
from flowrl.pipeline.practice_left import ALL_OF_IT, PracticeLeft, what_is_left
from flowrl.pipeline.run import practised_policies
from flowrl.rl.agent import Agent
from flowrl.rl.agent_program import AgentProgram
from flowrl.rl.practice import PracticeTrainer
from flowrl.rl.practice_tally import PracticeReport
from flowrl.skills.graph import EnvSteps, Failure, SkillGraph
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.practice import Spared
from flowrl.store.graph_store import GraphStore
from flowrl.store.journal import read_journal
from flowrl.store.reader import GraphReader
from flowrl.worlds.base import World

PPO = replace(TOY_CONFIG.ppo, total_timesteps=16_384, layer_size=None, anneal_lr=True)

Practise = Callable[..., tuple[PracticeResult, list[Event]]]


@pytest.fixture
def practise_toy(toy_world: ToyWorld, tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> Practise:
    """``practise_toy(path, **changes of PPO)``: the result, and what listeners were told."""
    for module in (practice_module, evaluate_module):
        monkeypatch.setattr(module, "make_world", lambda _name: toy_world)
        monkeypatch.setattr(module, "build_workbench", workbench_like_new)
    monkeypatch.setattr(practice_module, "Tracer", lambda: contextlib.nullcontext(tracer))

    def run(path: Path, wanted: float = 0.7, **changes: object) -> tuple[PracticeResult, list[Event]]:
        told: list[Event] = []
        result = practise(path, replace(PPO, **changes), 0, wanted, 64, [told.append])  # type: ignore[arg-type]
        return result, told

    return run


@pytest.fixture
def graph_path(learned: ToyRun, tmp_path: Path) -> Path:
    """A copy of the learned graph of three skills."""
    shutil.copytree(learned.path, tmp_path / "graph")
    return tmp_path / "graph"


def without_the_last_node(path: Path) -> None:
    """The graph as if ``make_pickaxe`` had been refused after its training."""
    with GraphStore.open(path, TOY, current_i=2) as store:
        failure = Failure("make_pickaxe", "train", "too hard", env_steps=EnvSteps(train=9))
        store.record_failure(failure, PICKAXE)


def test_practised_policies_take_the_place_of_the_nodes_own(graph_path: Path, practise_toy: Practise) -> None:
    before = GraphReader(graph_path)
    result, told = practise_toy(graph_path)
    assert result.graph == GraphReader(graph_path).graph
    (practice,) = result.graph.practices
    assert practice.skills == before.graph.names
    assert practice.env_steps == 16_384
    assert result.graph.env_steps == before.graph.env_steps + 16_384
    assert result.accepted == result.refused == ()
    assert isinstance(told[-1], RunFinished)
    assert told[-1].env_steps >= 16_384

    policies = practised_policies(GraphReader(graph_path))
    assert set(policies) == set(before.graph.names)
    kernels = [np.asarray(policy["encoder"]["kernel"]) for policy in policies.values()]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    played = play_graph(graph_path, None, 32, 100, 0)
    assert np.asarray(played.played.reached).mean() > 0.8
    own = play_graph(graph_path, None, 32, 100, 0, practised=False)
    assert not same_policies(own, played)


@pytest.mark.usefixtures("practise_toy")
def test_a_target_that_holds_in_every_world_is_refused(
    graph_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vitals and places may hold from the start, whatever facts the planner begins with."""
    done = play_graph(graph_path, None, 32, 100, 0)
    agent = done.player.agent
    assert not agent.reached_at(np.asarray(done.worlds.seen.snapshot)).any()
    np.testing.assert_array_equal(agent.reached_at(np.asarray(done.played.end)), done.played.reached)
    monkeypatch.setattr(Agent, "reached_at", lambda _self, snapshots: np.ones((len(snapshots), 1), bool))
    with pytest.raises(UserError, match="'make_pickaxe' holds in every fresh world"):
        play_graph(graph_path, "make_pickaxe", 4, 4, 0)


def test_what_is_kept_are_the_averaged_policies(
    graph_path: Path, practise_toy: Practise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of the last update."""
    trainers: list[PracticeTrainer] = []

    class Noted(PracticeTrainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            trainers.append(self)

    monkeypatch.setattr(practice_module, "PracticeTrainer", Noted)
    practise_toy(graph_path)
    (trainer,), kept = trainers, GraphReader(graph_path).load_practice()
    jax.tree.map(np.testing.assert_array_equal, kept, jax.tree.map(np.asarray, trainer.averaged))
    kernels = [np.asarray(tree["encoder"]["kernel"]) for tree in (kept, trainer.params)]
    assert not np.array_equal(*kernels)


def same_policies(one: object, other: object) -> bool:
    trees = [jax.tree.leaves(done.player.agent._policies) for done in (one, other)]  # type: ignore[attr-defined]
    return all(np.array_equal(a, b) for a, b in zip(*trees, strict=True))


def test_progress_tells_what_was_achieved(graph_path: Path, practise_toy: Practise) -> None:
    _, told = practise_toy(graph_path)
    progress = [event for event in told if isinstance(event, TrainingProgress)]
    assert [event.skill for event in progress] == [PRACTICE] * len(progress)
    assert progress[-1].env_steps == progress[-1].budget == 16_384
    (done,) = [event for event in told if isinstance(event, Practised)]
    assert done.achieved == progress[-1].metrics["achieved"]
    assert 0.5 < progress[-1].metrics["achieved"] <= 1
    assert not {"gather", "build", "craft"} & set(progress[-1].metrics)
    stages = [record["kind"] for record in read_journal(graph_path / "journal.jsonl")]
    assert "TrainingProgress" not in stages
    assert stages[-1] == "RunFinished"


def test_what_was_refused_is_practised_and_joins_the_graph(graph_path: Path, practise_toy: Practise) -> None:
    """It is validated like any other: from where its plan leads, with its gains measured."""
    without_the_last_node(graph_path)
    result, told = practise_toy(graph_path)
    assert result.accepted == ("make_pickaxe",)
    node = result.graph.node("make_pickaxe")
    assert node.evidence.success_low >= 0.7
    assert node.evidence.gains["inventory:pickaxe"] >= node.evidence.success
    assert node.plan
    assert node.env_steps.train == 0
    assert node.env_steps.prepare > 0
    assert node.env_steps.validate > 0
    assert node.provenance["executor"] == "practice"
    assert [event.skill for event in told if isinstance(event, SkillAccepted)] == ["make_pickaxe"]
    assert set(practised_policies(GraphReader(graph_path))) == set(result.graph.names)
    assert GraphReader(graph_path).load_node(node.index).proposal == PICKAXE


def test_what_no_skill_led_to_is_practised_beside_what_does(graph_path: Path, practise_toy: Practise) -> None:
    """The table was not learned alone, so there was no plan for the pickaxe: both join the graph."""
    with GraphStore.open(graph_path, TOY, current_i=1) as store:
        store.record_failure(Failure("place_table", "validate", "too hard"), TABLE)
        store.record_failure(Failure("make_pickaxe", "plan", "no skill gains near:table"), PICKAXE)
    result, _ = practise_toy(graph_path)
    assert result.accepted == ("place_table", "make_pickaxe")


def test_what_trajectories_corrected_counts(graph_path: Path, practise_toy: Practise) -> None:
    """Not what the reply says: here that the pickaxe is all there is to gain."""
    without_the_last_node(graph_path)
    with GraphStore.open(graph_path, TOY) as store:
        needs = Operator({"near:table": Linear(0, 1)}, {"inventory:wood": Linear(1, 0)}, {})
        corrected = replace(needs, gains={"inventory:pickaxe": Linear(1, 0)})
        store.record_failure(Failure("make_pickaxe", "validate", "no", operator=corrected), PICKAXE)
    result, _ = practise_toy(graph_path)
    assert result.graph.node("make_pickaxe").operator == corrected


@pytest.mark.usefixtures("practise_toy")
def test_an_interrupted_practice_says_so(graph_path: Path) -> None:
    """In the journal, with the reason; what it was at is lost, the graph is as before."""
    before = GraphReader(graph_path).graph

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        practise(graph_path, PPO, 0, 0.7, 64, [interrupt])
    assert GraphReader(graph_path).graph == before
    last = read_journal(graph_path / "journal.jsonl")[-1]
    assert (last["kind"], last["reason"]) == ("RunFinished", "interrupted")


@pytest.mark.usefixtures("practise_toy")
def test_what_was_practised_is_kept_before_it_is_proved(graph_path: Path) -> None:
    """Interrupted in between, nothing is lost: what is left can be proved without training on."""
    without_the_last_node(graph_path)

    def interrupt(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "validate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        practise(graph_path, PPO, 0, 0.7, 64, [interrupt])
    reader = GraphReader(graph_path)
    [kept] = reader.graph.practices
    assert kept.env_steps == PPO.total_timesteps
    assert "make_pickaxe" not in reader.graph.names

    told: list[Event] = []
    left = what_is_left(graph_path, PPO, 0)
    assert not left.train
    result = practise(graph_path, PPO, 0, 0.7, 64, [told.append], left)
    assert result.accepted == ("make_pickaxe",)
    assert result.graph.practices == (kept,)
    assert not [event for event in told if isinstance(event, TrainingProgress)]


@pytest.mark.usefixtures("practise_toy")
def test_the_same_command_goes_on_with_the_rest(graph_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with the learning rate that it had come to."""
    rates: list[float] = []

    class Noted(PracticeTrainer):
        def update(self, lr_scale: float = 1.0, *arguments: Any, **named: Any) -> PracticeReport:
            rates.append(lr_scale)
            return super().update(lr_scale, *arguments, **named)

    def interrupt(_event: Event) -> None:
        if len(rates) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(practice_module, "PracticeTrainer", Noted)
    monkeypatch.setattr(practice_module, "KEEP_EVERY", 4096)
    monkeypatch.setattr(practice_module, "REPORT_EVERY", 4)
    with pytest.raises(KeyboardInterrupt):
        practise(graph_path, PPO, 0, 0.7, 64, [interrupt])
    left = what_is_left(graph_path, PPO, 0)
    per_update = PPO.total_timesteps * (rates[0] - rates[1])
    assert left == PracticeLeft(left.before)
    assert 0 < left.before < PPO.total_timesteps
    rates.clear()
    told: list[Event] = []
    result = practise(graph_path, PPO, 0, 0.7, 64, [told.append], left)
    assert sum(practice.env_steps for practice in result.graph.practices) == PPO.total_timesteps
    assert rates[0] == pytest.approx(1 - left.before / PPO.total_timesteps)
    assert len(rates) == (PPO.total_timesteps - left.before) / per_update
    progress = [event for event in told if isinstance(event, TrainingProgress)]
    assert [event.env_steps > left.before for event in progress] == [True] * len(progress)
    assert progress[-1].env_steps == progress[-1].budget == PPO.total_timesteps
    assert "goes on with the last practice" in next(
        event.text for event in told if isinstance(event, RunNote)
    )
    assert what_is_left(graph_path, PPO, 0) == ALL_OF_IT


def test_a_skill_that_was_learned_since_keeps_what_it_knows(
    graph_path: Path, practise_toy: Practise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a second practice only its own policy guides: the others have left theirs behind."""
    practise_toy(graph_path)
    guided: list[list[bool]] = []
    trainer = practice_module.PracticeTrainer

    def spy(*args: Any) -> Any:
        guides = inspect.signature(trainer).bind(*args).arguments["guides"]
        guided.append([guide is not None for guide in guides])
        return trainer(*args)

    monkeypatch.setattr(practice_module, "PracticeTrainer", spy)
    with GraphStore.open(graph_path, TOY) as store:
        loaded = store.load_node(2)
        late = replace(store.graph.nodes[2], index=3, name="make_another")
        store.commit_node(late, loaded.proposal, loaded.artifact, loaded.params, None, ())
    practise_toy(graph_path, total_timesteps=512)
    assert guided == [[False, False, False, True]]


def test_what_cannot_be_learned_is_refused_again_with_its_cost(
    graph_path: Path, practise_toy: Practise
) -> None:
    with GraphStore.open(graph_path, TOY) as store:
        store.record_failure(Failure("collect_diamond", "validate", "there are none"), DIAMOND)
        store.record_failure(Failure("nonsense", "parse", "no blocks"), "no blocks")
        store.record_failure(Failure("gather_more", "train", "too hard"), MORE_WOOD)
    result, told = practise_toy(graph_path)
    notes = " ".join(event.text for event in told if isinstance(event, RunNote))
    assert "gather_more is not practised: 'gather_more' gains only what accepted skills" in notes
    assert result.refused == ("collect_diamond",)
    assert [event.skill for event in told if isinstance(event, SkillRefused)] == ["collect_diamond"]
    failure = result.graph.failures[-1]
    assert failure.stage == "validate"
    assert failure.env_steps.total > 0
    assert "collect_diamond" not in result.graph.names
    assert result.graph.practices[-1].skills[-1] == "collect_diamond"


def test_a_second_practice_goes_on_from_the_first(graph_path: Path, practise_toy: Practise) -> None:
    first, _ = practise_toy(graph_path)
    again, _ = practise_toy(graph_path, total_timesteps=512, lr=1e-9)
    assert [practice.env_steps for practice in again.graph.practices] == [16_384, 512]
    reader = GraphReader(graph_path)
    now = reader.load_practice()
    before = GraphReader(graph_path)
    before.graph = first.graph
    for one, other in zip(jax.tree.leaves(now), jax.tree.leaves(before.load_practice()), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_health_is_worth_more_than_in_the_game(
    graph_path: Path, practise_toy: Practise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy world has no health: what its reward is asked to pay is looked at."""
    asked: list[float] = []

    def noted(world: World, health_value: float = HEALTH_VALUE) -> Any:
        asked.append(health_value)
        return game_reward(world, health_value)

    monkeypatch.setattr(practice_module, "game_reward", noted)
    practise_toy(graph_path, total_timesteps=512)
    assert asked == [practice_module.HEALTH_VALUE]
    assert asked[0] > HEALTH_VALUE


def test_what_helps_in_fights_comes_first_from_then_on(
    graph_path: Path, practise_toy: Practise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this practice, in the next one, and when the graph plays; it is said once.

    The toy world has no fights: what every update reports of them, and what that shows, is made up.
    """
    orders: list[tuple[int, ...]] = []
    looked_at: list[list[float]] = []
    helps = {"inventory:pickaxe": Spared(1.25, 0.25, 200, 300)}

    class Noted(PracticeTrainer):
        def update(self, *arguments: Any, **named: Any) -> PracticeReport:
            return replace(super().update(*arguments, **named), fights=np.ones((2, 2)))

        def pursue_in_order(self, program: AgentProgram, places: Sequence[int]) -> None:
            orders.append(tuple(places))
            super().pursue_in_order(program, places)

    def shown(looks: Sequence[np.ndarray], tools: Sequence[str]) -> dict[str, Spared]:
        assert list(tools) == ["inventory:pickaxe"]
        looked_at.append([float(look[0, 0]) for look in looks])
        return helps if len(looks) > 1 else {}

    monkeypatch.setattr(practice_module, "PracticeTrainer", Noted)
    monkeypatch.setattr(practice_module, "what_is_spared", shown)
    monkeypatch.setattr(practice_module, "KEEP_EVERY", 4096)
    before = play_graph(graph_path, None, 4, 4, 0).player.does.targets
    assert before[-1] == "achievement:craft"
    after = ("achievement:craft", *before[:-1])
    result, told = practise_toy(graph_path)
    notes = [event.text for event in told if isinstance(event, RunNote)]
    assert notes == [
        "a fight costs 1.2 points of health less with inventory:pickaxe",
        f"targets come in this order now: {', '.join(after)}",
    ]
    assert orders == [(len(before) - 1, *range(len(before) - 1))]
    updates_a_look = looked_at[0][0]
    assert looked_at == [[updates_a_look] * count for count in range(1, 5)]
    recorded = GraphReader(graph_path).graph.practices[-1].spared
    assert recorded == result.graph.practices[-1].spared == helps
    assert play_graph(graph_path, None, 4, 4, 0).player.does.targets == after
    again, told = practise_toy(graph_path, total_timesteps=512)
    assert again.graph.practices[-1].spared == recorded
    assert len(orders) == 1
    assert not [event for event in told if isinstance(event, RunNote)]


def test_a_node_that_was_learned_later_keeps_its_own(graph_path: Path, practise_toy: Practise) -> None:
    """A node that was learned by itself after the practice is not played by what it was before."""
    without_the_last_node(graph_path)
    practise_toy(graph_path, wanted=1.0)
    reader = GraphReader(graph_path)
    assert "make_pickaxe" in reader.graph.practices[-1].skills
    assert "make_pickaxe" not in reader.graph.names
    node = replace(reader.graph.nodes[1], index=2, name="make_pickaxe")
    reader.graph = SkillGraph(TOY, (*reader.graph.nodes, node), reader.graph.failures, reader.graph.practices)
    assert set(practised_policies(reader)) == set(reader.graph.names) - {"make_pickaxe"}


def test_bad_input_is_named(graph_path: Path, practise_toy: Practise, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="no-such-graph"):
        practise_toy(tmp_path / "no-such-graph")
    with pytest.raises(UserError, match=r"--layer_size 7: .* have 32"):
        practise_toy(graph_path, layer_size=7)
    with GraphStore.open(tmp_path / "empty", TOY):
        pass
    with pytest.raises(UserError, match="nothing to practise"):
        practise_toy(tmp_path / "empty")
