"""Which rules the accepted skills of a graph give, on the real worlds' vocabularies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flowrl.pipeline.maintenance import (
    DEFEND_WITHIN,
    SAFE_FROM,
    lowest_vitals,
    maintenance_rules,
    provided_first,
    rule_places,
)
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import EnvSteps, Evidence, SkillGraph, SkillNode
from flowrl.skills.operator import Linear, Operator
from flowrl.worlds.base import World
from flowrl.worlds.registry import make_world

ONE = Linear(0, 1)
VITALS = ("vital:health", "vital:food", "vital:drink", "vital:energy")


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("Craftax-Classic-Symbolic-v1")


def graph_of(world: World, **skills: tuple[dict[str, Linear], dict[str, Linear], int]) -> SkillGraph:
    """A graph of skills by name: what they require and gain, and their successes in 100 episodes."""
    graph = SkillGraph(world.name)
    for index, (name, (requires, gains, successes)) in enumerate(skills.items()):
        node = SkillNode(
            index, name, name, Operator(requires, {}, gains), 100 + index, 1, (),
            Evidence(100, successes, {}, 0.0, 10.0), EnvSteps(), 1.0,
        )  # fmt: skip
        graph = graph.with_node(node)
    return graph


def test_defence_goes_before_the_vitals(world: World) -> None:
    """Being hit is more urgent than being hungry, in whatever order the skills were learned."""
    graph = graph_of(
        world,
        eat=({}, {"vital:food": Linear(0, 6)}, 90),
        fight=({}, {"achievement:defeat_zombie": ONE}, 80),
    )
    first, second = maintenance_rules(graph, world)
    assert (first.label, second.label) == ("defend:zombie", "vital:food")
    assert (first.skill, second.skill) == ("fight", "eat")
    defend, eat = first.rule, second.rule
    assert defend.column == world.snapshot_spec.columns["closest_mobs.zombie.distance"]
    assert defend.policy == 1
    assert defend.below == DEFEND_WITHIN < SAFE_FROM == defend.until
    assert defend.rest > defend.patience
    assert (eat.policy, eat.below, eat.until) == (0, pytest.approx(3.6), pytest.approx(7.65))
    assert eat.patience == eat.rest == 100


def test_the_surest_skill_serves(world: World) -> None:
    """Of two that defeat the same creature."""
    fights = {"achievement:defeat_skeleton": ONE}
    [served] = maintenance_rules(graph_of(world, a=({}, fights, 60), b=({}, fights, 70)), world)
    assert (served.label, served.skill, served.rule.policy) == ("defend:skeleton", "b", 1)


def test_a_skill_that_requires_something_serves_where_that_is_there(world: World) -> None:
    """A rule begins wherever the agent is: the table lets it wait for what its skill needs."""
    sword = {"inventory:wood_sword": ONE}
    graph = graph_of(world, fight=(sword, {"achievement:defeat_zombie": ONE}, 99))
    [served] = maintenance_rules(graph, world)
    columns = world.snapshot_spec.fact_columns
    assert served.rule.needs == {columns["inventory:wood_sword"]: 1, columns["near:way_out"]: 1}


def test_who_sleeps_in_a_shelter_first_gets_there_and_leaves_it_again(world: World) -> None:
    """Two rules watch the energy; the one that sleeps, where there is a shelter, goes first."""
    graph = graph_of(
        world,
        nap=({"near:shelter": ONE}, {"vital:energy": ONE, "near:way_out": ONE}, 90),
        dig=({"inventory:wood_pickaxe": ONE}, {"near:shelter": ONE}, 80),
        carve=({}, {"inventory:wood_pickaxe": ONE}, 80),
    )
    rules = maintenance_rules(graph, world)
    assert [served.label for served in rules] == ["vital:energy", "vital:energy, first dig"]
    nap, dig = (served.rule for served in rules)
    columns = world.snapshot_spec.fact_columns
    assert (nap.needs, nap.gives) == ({columns["near:shelter"]: 1}, {columns["near:way_out"]: 1})
    assert dig.needs == {columns["inventory:wood_pickaxe"]: 1, columns["near:way_out"]: 1}
    assert (nap.column, nap.below) == (dig.column, dig.below)
    assert nap.below == pytest.approx(3.6), "who is sent to sleep by day wakes in the dark"
    assert nap.until == pytest.approx(7.65)
    assert dig.until == -np.inf, "it is over when the agent is there"
    assert provided_first(rules, graph, world) == ["inventory:wood_pickaxe"]


def test_wounds_are_seen_to_last(world: World) -> None:
    """They heal only while nothing else is spent; the one who heals in a shelter first gets there."""
    graph = graph_of(
        world,
        dig=({}, {"near:shelter": ONE}, 80),
        heal=({"near:shelter": ONE, "vital:food": Linear(0, 4)}, {"vital:health": ONE}, 90),
        eat=({}, {"vital:food": ONE}, 90),
    )
    rules = maintenance_rules(graph, world)
    assert [served.label for served in rules] == ["vital:food", "vital:health", "vital:health, first dig"]
    columns = world.snapshot_spec.fact_columns
    assert rules[1].rule.needs == {columns["near:shelter"]: 1, columns["vital:food"]: 4}
    assert rules[0].rule.below < 4, "who may heal is not called away to eat"
    assert provided_first(rules, graph, world) == []


def test_a_skill_that_uses_something_up_serves_no_rule(world: World) -> None:
    """What it would spend may be what the target's plan has collected."""
    graph = graph_of(world, eat=({}, {"vital:food": ONE}, 99))
    node = graph.nodes[0]
    costly = Operator({}, {"inventory:sapling": ONE}, node.operator.gains)
    graph = SkillGraph(world.name).with_node(dataclasses.replace(node, operator=costly))
    assert maintenance_rules(graph, world) == []


def test_what_a_rule_needs_is_provided_first(world: World) -> None:
    """Where a skill gains it and it stays; a rule whose needs nobody can meet asks for nothing."""
    requires = dict.fromkeys(("inventory:wood_sword", "near:crafting_table", "inventory:sapling"), ONE)
    fight = (requires, {"achievement:defeat_zombie": ONE}, 99)
    forge = ({}, {"inventory:wood_sword": ONE, "near:crafting_table": ONE}, 99)
    alone, armed = graph_of(world, fight=fight), graph_of(world, fight=fight, forge=forge)
    assert provided_first(maintenance_rules(alone, world), alone, world) == []
    assert provided_first(maintenance_rules(armed, world), armed, world) == ["inventory:wood_sword"]


def test_there_is_a_place_for_every_rule_of_a_world(world: World) -> None:
    """Programs are compiled for so many places, before anything is learned."""
    gains = {
        fact.name: ONE for fact in world.vocabulary.values() if fact.kind in (FactKind.VITAL, FactKind.FLAG)
    }
    everything = graph_of(world, paragon=({}, gains, 99))
    labels = [served.label for served in maintenance_rules(everything, world)]
    assert labels[:2] == ["defend:zombie", "defend:skeleton"]
    watched = 2 + len(world.vocabulary.of_kind(FactKind.VITAL))
    assert len(labels) == watched
    # Each may have to get to one of several places first.
    for node in graph_of(world, paragon=({"near:shelter": ONE, "near:water": ONE}, gains, 99)).nodes:
        graph = graph_of(world, dig=({}, {"near:shelter": ONE}, 9), walk=({}, {"near:water": ONE}, 9))
        graph = graph.with_node(dataclasses.replace(node, index=2))
        assert len(maintenance_rules(graph, world)) == 2 * watched == rule_places(world)


def test_other_achievements_and_creatures_without_a_distance_give_no_rule() -> None:
    """The full game's gnomes are seen as one of several melee creatures, not by name."""
    full = make_world("Craftax-Symbolic-v1")
    gains = {"achievement:defeat_gnome_warrior": ONE, "achievement:collect_wood": ONE}
    assert maintenance_rules(graph_of(full, fight=({}, gains, 99)), full) == []


def test_training_begins_tired_where_the_skill_is_for_that(world: World) -> None:
    """Of the other vitals none is so low that a rule would take over at once."""
    rest = Operator({}, {}, {"vital:energy": ONE})
    lowest = dict(zip(VITALS, lowest_vitals(rest, world), strict=True))
    assert lowest == {"vital:health": 4, "vital:food": 4, "vital:drink": 4, "vital:energy": 1}
    for served in maintenance_rules(graph_of(world, all=({}, dict.fromkeys(VITALS, ONE), 99)), world):
        assert served.rule.below < 4
