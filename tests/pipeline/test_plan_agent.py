"""What the agent of a graph pursues, and in which order, from operators alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.errors import UserError
from flowrl.llm.providers.playbook import load_playbook
from flowrl.pipeline.agent import plan_agent
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.rl.agent_program import ProgramTable, standing
from flowrl.rl.task import GoalTable, Task
from flowrl.skills.graph import EnvSteps, Evidence, SkillGraph, SkillNode
from flowrl.skills.operator import Linear, Operator, parse_operator
from flowrl.skills.practice import Practice, Spared
from flowrl.worlds.registry import make_world

ONE = Linear(0, 1)

IRON = "inventory:iron"
COAL = "inventory:coal"
PICKAXE = "inventory:iron_pickaxe"

SKILLS = {
    "mine": (Operator({}, {}, {IRON: Linear(1, 0), "achievement:collect_iron": ONE}), 50.0),
    "forge_sword": (Operator({IRON: ONE}, {IRON: ONE}, {"achievement:make_iron_sword": ONE}), 5.0),
    "forge_pickaxe": (
        Operator({IRON: ONE}, {IRON: ONE}, {PICKAXE: ONE, "achievement:make_iron_pickaxe": ONE}),
        9.0,
    ),
    "dig_coal": (Operator({PICKAXE: ONE}, {}, {COAL: Linear(1, 0), "achievement:collect_coal": ONE}), 40.0),
    "find_diamond": (
        Operator({PICKAXE: ONE, COAL: ONE}, {}, {"achievement:collect_diamond": ONE}),
        300.0,
    ),
}
"""Operators, and the env steps that each skill takes."""


def nothing(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """No skill is carried out here."""
    del start, prev, n
    return jnp.zeros(len(now)), jnp.zeros(len(now), bool)


def node(index: int, name: str) -> SkillNode:
    """Accepted on a hundred episodes."""
    operator, length = SKILLS[name]
    evidence = Evidence(100, 90, {}, 0.0, length)
    return SkillNode(index, name, name, operator, 100, 1, (), evidence, EnvSteps(), 1.0)


def library(*names: str) -> SkillLibrary:
    """Skills without policies."""
    known = SkillLibrary()
    for name in names:
        operator, length = SKILLS[name]
        task = Task(name, nothing, (), max_steps=100)
        known.add(LearnedSkill(name, operator, task, None, b"", length))
    return known


BOTH = "achievement:make_iron_pickaxe and make_iron_sword"

ONE_IRON_A_CALL = Operator({}, {}, {IRON: ONE, "achievement:collect_iron": ONE})


def alone(targets: tuple[str, ...]) -> list[str]:
    """Without what is pursued together."""
    return [target.partition(":")[2] for target in targets if " and " not in target]


@pytest.mark.parametrize("learned", [5, 4])
def test_what_others_wait_for_comes_before_what_is_as_far(learned: int) -> None:
    """The sword is sooner made, but a diamond needs the pickaxe, learned already or still to be practised.

    Coal is waited for, too, but farther than the sword.
    """
    world = make_world("Craftax-Classic-Symbolic-v1")
    nodes = [node(index, name) for index, name in enumerate(SKILLS)]
    graph = SkillGraph(world.name, tuple(nodes[:learned]))
    does = plan_agent(graph, library(*SKILLS), world, None, nodes[learned:])
    assert alone(does.targets) == [
        "collect_iron", "make_iron_pickaxe", "make_iron_sword", "collect_coal", "collect_diamond",
    ]  # fmt: skip


def test_rivals_are_pursued_together_first() -> None:
    """Iron for a pickaxe and a sword is mined at once; each of them is a target of its own, too."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    nodes = tuple(node(index, name) for index, name in enumerate(SKILLS))
    does = plan_agent(SkillGraph(world.name, nodes), library(*SKILLS), world, None)
    at = does.targets.index(BOTH)
    assert does.targets[at + 1] == "achievement:make_iron_pickaxe"
    assert does.plans[at].to_json()[0] == ["mine", 2]
    assert sorted(step.skill for step in does.plans[at].steps[1:]) == ["forge_pickaxe", "forge_sword"]


def test_rivals_for_which_something_is_searched_twice_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first would wait for the second one's iron."""
    monkeypatch.setitem(SKILLS, "mine", (ONE_IRON_A_CALL, 50.0))
    world = make_world("Craftax-Classic-Symbolic-v1")
    nodes = tuple(node(index, name) for index, name in enumerate(SKILLS))
    does = plan_agent(SkillGraph(world.name, nodes), library(*SKILLS), world, None)
    assert len(does.targets) == len(alone(does.targets)) == 5


def test_what_is_not_accepted_yet_joins_nobody() -> None:
    """Plans of other targets do not use it."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    nodes = [node(index, name) for index, name in enumerate(SKILLS)]
    accepted = [one for one in nodes if one.name != "forge_pickaxe"]
    graph = SkillGraph(world.name, tuple(node(index, one.name) for index, one in enumerate(accepted[:2])))
    does = plan_agent(graph, library(*SKILLS), world, None, nodes[2:3])
    assert "achievement:make_iron_pickaxe" in does.targets
    assert len(does.targets) == len(alone(does.targets))


@pytest.mark.parametrize(
    ("target", "bag", "next_skill"),
    [
        ("eat_plant", {}, "collect_wood"),
        ("eat_plant", {"wood_pickaxe": 1, "stone_sword": 1}, "collect_sapling"),
        ("make_iron_pickaxe", {"wood_pickaxe": 1}, "collect_stone"),
        ("make_iron_pickaxe", {"wood_pickaxe": 1, "stone_pickaxe": 1, "stone": 2, "wood": 3}, "collect_iron"),
        ("collect_diamond", {"wood_pickaxe": 1, "stone_pickaxe": 1}, "collect_stone"),
    ],
)
def test_a_player_with_tools_is_not_sent_for_what_they_are_made_of(
    target: str, bag: dict[str, int], next_skill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Classic playbook, whose plans from nothing gather up to 9 wood, and ask for it until it is used."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    proposals = load_playbook(world.name)
    names = [proposal.name for proposal in proposals]
    for proposal in proposals:
        monkeypatch.setitem(
            SKILLS, proposal.name, (parse_operator(proposal.operator, world.vocabulary), 20.0)
        )
    graph = SkillGraph(world.name, tuple(node(index, name) for index, name in enumerate(names)))
    does = plan_agent(graph, library(*names), world, f"achievement:{target}")
    at = does.targets.index(f"achievement:{target}")
    assert does.plans[at].steps[0].skill == "collect_wood"
    table = ProgramTable.of(does.program, GoalTable.of([library(*names)[name].task for name in names]))
    snapshot = np.zeros((1, len(world.snapshot_spec)), np.float32)
    for name, count in bag.items():
        snapshot[0, world.snapshot_spec.fact_columns[f"inventory:{name}"]] = count
    step = int(standing(table, jnp.asarray(snapshot)).step[0, at])
    assert does.policies[int(table.policy[at, step])] == next_skill
    assert does.rows[at][step].rest[0].skill == next_skill


def test_a_target_that_holds_already_is_refused() -> None:
    """The food of a fresh player."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    graph = SkillGraph(world.name, (node(0, "mine"),))
    with pytest.raises(UserError, match="'vital:food' holds in every fresh world"):
        plan_agent(graph, library("mine"), world, "vital:food")


def test_where_nobody_waits_the_shortest_comes_first() -> None:
    """Without anybody who finds diamonds."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    names = list(SKILLS)[:3]
    graph = SkillGraph(world.name, tuple(node(index, name) for index, name in enumerate(names)))
    does = plan_agent(graph, library(*names), world, None)
    assert alone(does.targets) == ["collect_iron", "make_iron_sword", "make_iron_pickaxe"]


@pytest.mark.parametrize(("points", "margin", "first"), [(1.0, 0.3, True), (1.0, 0.8, False)])
def test_what_spares_health_in_fights_comes_first(points: float, margin: float, first: bool) -> None:
    """If it surely does; as the last practice has recorded it, or as it is told."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    nodes = tuple(node(index, name) for index, name in enumerate(SKILLS))
    spared = {COAL: Spared(points, margin, 500, 500), PICKAXE: Spared(0.0, 0.1, 500, 500)}
    practised = SkillGraph(world.name, nodes).with_practice(Practice((), 5, 0, 1.0, spared=spared))
    recorded = plan_agent(practised, library(*SKILLS), world, None)
    told = plan_agent(SkillGraph(world.name, nodes), library(*SKILLS), world, None, spared=spared)
    assert recorded.targets == told.targets
    assert (recorded.targets[0] == "achievement:collect_coal") == first


def test_a_rival_of_what_spares_health_comes_right_after_it() -> None:
    """A player that has made the sword stands where the pickaxe is made; iron itself can wait."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    nodes = tuple(node(index, name) for index, name in enumerate(SKILLS))
    spared = {PICKAXE: Spared(1.0, 0.3, 500, 500)}
    does = plan_agent(SkillGraph(world.name, nodes), library(*SKILLS), world, None, spared=spared)
    assert alone(does.targets)[:3] == ["make_iron_pickaxe", "make_iron_sword", "collect_iron"]


def test_a_target_that_a_rule_needs_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beating off zombies asks for the sword's achievement here: it comes first, and not again."""
    monkeypatch.setitem(SKILLS, "mine", (ONE_IRON_A_CALL, 50.0))
    world = make_world("Craftax-Classic-Symbolic-v1")
    needs = {"achievement:make_iron_sword": ONE}
    monkeypatch.setitem(SKILLS, "fight", (Operator(needs, {}, {"achievement:defeat_zombie": ONE}), 9.0))
    nodes = tuple(node(index, name) for index, name in enumerate(SKILLS))
    does = plan_agent(SkillGraph(world.name, nodes), library(*SKILLS), world, None)
    assert does.targets[0] == "achievement:make_iron_sword"
    assert len(set(does.targets)) == len(does.targets) == 6
    assert does.rules[:1] == ("defend:zombie",)
    assert does.fights == (0,)
