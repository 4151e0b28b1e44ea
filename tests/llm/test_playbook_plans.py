"""The shipped playbook of Craftax-Classic: every achievement has a proved plan from an empty bag."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flowrl.llm.providers.playbook import load_playbook
from flowrl.skills.operator import Operator, parse_operator
from flowrl.skills.plan import FactGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import facts_along, prove
from flowrl.worlds.base import World
from flowrl.worlds.registry import make_world

DEEDS = {
    "collect": ("coal", "diamond", "drink", "iron", "sapling", "stone", "wood"),
    "defeat": ("skeleton", "zombie"),
    "eat": ("cow", "plant"),
    "make": tuple(f"{of}_{what}" for of in ("wood", "stone", "iron") for what in ("pickaxe", "sword")),
    "place": ("furnace", "plant", "stone", "table"),
    "wake": ("up",),
}
ACHIEVEMENTS = [f"{deed}_{what}" for deed, whats in DEEDS.items() for what in whats]


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("Craftax-Classic-Symbolic-v1")


@pytest.fixture(scope="module")
def shipped(world: World) -> Mapping[str, Operator]:
    return {
        proposal.name: parse_operator(proposal.operator, world.vocabulary)
        for proposal in load_playbook("Craftax-Classic-Symbolic-v1")
    }


def test_these_are_the_achievements_of_the_game(world: World) -> None:
    assert sorted(f"achievement:{name}" for name in ACHIEVEMENTS) == sorted(
        name for name in world.vocabulary if name.startswith("achievement:")
    )
    assert len(ACHIEVEMENTS) == 22


def test_a_fresh_world_begins_with_an_empty_bag(world: World) -> None:
    assert not any(count for name, count in world.initial_facts.items() if name.startswith("inventory:"))


@pytest.mark.parametrize("name", ACHIEVEMENTS)
def test_each_achievement_has_a_proved_plan(world: World, shipped: Mapping[str, Operator], name: str) -> None:
    goal = FactGoal({f"achievement:{name}": 1})
    found = plan(world.initial_facts, shipped, goal, world.vocabulary)
    prove(found, world.initial_facts, shipped, goal, world.vocabulary)
    assert found.steps


def test_one_plan_for_all_of_them(world: World, shipped: Mapping[str, Operator]) -> None:
    goal = FactGoal({f"achievement:{name}": 1 for name in ACHIEVEMENTS})
    found = plan(world.initial_facts, shipped, goal, world.vocabulary)
    prove(found, world.initial_facts, shipped, goal, world.vocabulary)
    last = facts_along(found, world.initial_facts, shipped, world.vocabulary)[-1]
    assert sum(last[f"achievement:{name}"] for name in ACHIEVEMENTS) == 22
