"""An episode of the toy world as scenes: the very one that was played, explained step by step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_world import LENGTH, ToyWorld

from flowrl.pipeline import film as film_module
from flowrl.pipeline.agent import AgentPlan, Player
from flowrl.pipeline.evaluate import PlayedGraph
from flowrl.pipeline.film import film_best
from flowrl.pipeline.tasks import make_plan_program
from flowrl.rl.agent import Agent
from flowrl.rl.agent_program import AgentProgram
from flowrl.rl.environment import EnvPrograms
from flowrl.rl.maintenance import Rule
from flowrl.rl.task import Task
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.plan import FactGoal, Plan, PlanStep
from flowrl.skills.teleo import Bounds, Course, merged_rows

MAX_STEPS = 40
OPERATORS = {
    "wander": Operator({}, {}, {"inventory:wood": Linear(1, 0), "achievement:gather": Linear(0, 1)}),
    "build": Operator({}, {"inventory:wood": Linear(0, 1)}, {"achievement:build": Linear(0, 1)}),
}
STEPS = (PlanStep("wander", 2), PlanStep("build"))
TARGET = "achievement:build"


class DiceNetwork:
    """Stands in for ``ActorCritic``: every action is as likely, whatever the parameters."""

    def apply(self, variables: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As flax's."""
        del features
        logits = jnp.zeros((tiles.shape[0], ToyWorld.num_actions)) * variables["params"]
        return logits, jnp.zeros(tiles.shape[0])


@pytest.fixture(scope="module")
def done(toy_world: ToyWorld) -> PlayedGraph:
    """Eleven episodes in batches of four, played by dice: they differ in what they achieve."""
    programs = EnvPrograms(toy_world, 4)
    network: Any = DiceNetwork()
    column = toy_world.snapshot_spec.columns["tree.distance"]
    rule = Rule(column, below=0, until=1, policy=0, patience=9, rest=9)
    rows = merged_rows(
        [Course({}, STEPS)], {TARGET: Bounds(1)}, OPERATORS, toy_world.vocabulary, lambda step: step.n
    )
    plan = make_plan_program(rows, list(OPERATORS), toy_world)
    task = Task("any", lambda *_: (jnp.zeros(0), jnp.zeros(0, bool)), (), 10)
    program = AgentProgram((plan,), (300,), (rule,))
    agent = Agent(programs, network, program, [task] * 2, [jnp.zeros(())] * 2)
    plans = (Plan(STEPS, FactGoal({TARGET: 1})),)
    does = AgentPlan(program, tuple(OPERATORS), (TARGET,), plans, (tuple(rows),), ("near:tree",), ())
    player = Player(agent, does)
    worlds = programs.fresh(jax.random.key(2), 11)
    played = agent.play(worlds, MAX_STEPS, jax.random.key(5))
    bench: Any = SimpleNamespace(world=toy_world)
    return PlayedGraph(SkillGraph(toy_world.name), bench, player, worlds, played, MAX_STEPS, 5)


def test_the_best_episode_is_shown_as_it_was_played(done: PlayedGraph, toy_world: ToyWorld) -> None:
    """Its last scene shows what its snapshot held at the end, though dice decided every action."""
    film = film_best(done)
    scenes = list(film.scenes)
    end = np.asarray(done.played.end)
    columns = toy_world.snapshot_spec.fact_columns
    worth = end[:, [columns[fact] for fact in toy_world.achievement_values]].sum(axis=1)
    assert worth.min() < worth.max() == worth[film.episode]
    assert (film.steps, film.length, len(scenes)) == (MAX_STEPS, MAX_STEPS, MAX_STEPS + 1)
    assert [scene.step for scene in scenes] == list(range(MAX_STEPS + 1))
    assert not scenes[0].achievements
    last = toy_world.snapshot_spec.values(end[film.episode])
    assert scenes[-1].inventory.get("wood", 0) == last["inventory.wood"]
    assert scenes[-1].inventory.get("pickaxe", 0) == last["inventory.pickaxe"]
    assert len(scenes[-1].achievements) == worth[film.episode]
    assert scenes[-1].reached


def test_scenes_say_who_is_in_charge_and_why(done: PlayedGraph) -> None:
    """The plan's step by the wood in the bag; the rule at the tree, whatever the plan says."""
    for scene in film_best(done).scenes:
        assert scene.picture.shape == (1, LENGTH, 3)
        assert scene.target == TARGET
        assert scene.plan == (STEPS[1:] if scene.inventory.get("wood", 0) >= 1 else STEPS)
        [agent], [tree] = (np.flatnonzero(scene.picture[0, :, colour]) for colour in (0, 1))
        if scene.rule is None:
            assert scene.skill == scene.plan[0].skill
        else:
            assert (scene.rule, scene.skill, agent) == ("near:tree", "wander", tree)


def test_a_long_episode_is_cut(done: PlayedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many steps as a film may have."""
    monkeypatch.setattr(film_module, "FILM_STEPS", 7)
    film = film_best(done)
    assert (film.steps, film.length) == (7, MAX_STEPS)
    assert len(list(film.scenes)) == 8
