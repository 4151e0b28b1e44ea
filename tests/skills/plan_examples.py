"""Planning problems written out, and how tests ask for a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from random_problems import Problem

from flowrl.skills.facts import Fact, FactKind, Vocabulary, kind_from_namespace
from flowrl.skills.operator import Operator, parse_operator
from flowrl.skills.plan import FactGoal, Goal, Impossible, Plan
from flowrl.skills.planner import plan
from flowrl.skills.simulator import prove

WOOD, STONE, COAL, IRON = (f"inventory:{name}" for name in ("wood", "stone", "coal", "iron"))
TABLE, FURNACE = "near:crafting_table", "near:furnace"


def skill(
    requires: Mapping[str, Any] | None = None,
    consumes: Mapping[str, Any] | None = None,
    gains: Mapping[str, Any] | None = None,
) -> dict[str, Mapping[str, Any]]:
    return {"requires": requires or {}, "consumes": consumes or {}, "gains": gains or {}}


def gather(what: str, tool: str | None = None) -> dict[str, Mapping[str, Any]]:
    return skill(
        {f"inventory:{tool}": 1} if tool else {},
        gains={f"inventory:{what}": "n", f"achievement:collect_{what}": 1},
    )


def craft(what: str, near: list[str], *materials: str) -> dict[str, Mapping[str, Any]]:
    return skill(
        dict.fromkeys(near, 1),
        {f"inventory:{material}": "n" for material in materials},
        {f"inventory:{what}": "n", f"achievement:make_{what}": 1},
    )


def deed(name: str, **sections: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    done = skill(**sections)
    return {**done, "gains": {**done["gains"], f"achievement:{name}": 1}}


CLASSIC = {
    "collect_wood": gather("wood"),
    "place_table": deed("place_table", consumes={WOOD: 2}, gains={TABLE: 1}),
    "make_wood_pickaxe": craft("wood_pickaxe", [TABLE], "wood"),
    "make_wood_sword": craft("wood_sword", [TABLE], "wood"),
    "collect_stone": gather("stone", "wood_pickaxe"),
    "place_stone": deed("place_stone", consumes={STONE: 1}),
    "make_stone_pickaxe": craft("stone_pickaxe", [TABLE], "wood", "stone"),
    "make_stone_sword": craft("stone_sword", [TABLE], "wood", "stone"),
    "collect_coal": gather("coal", "wood_pickaxe"),
    "collect_iron": gather("iron", "stone_pickaxe"),
    "place_furnace": deed("place_furnace", requires={TABLE: 1}, consumes={STONE: 1}, gains={FURNACE: 1}),
    "make_iron_pickaxe": craft("iron_pickaxe", [TABLE, FURNACE], "wood", "stone", "coal", "iron"),
    "make_iron_sword": craft("iron_sword", [TABLE, FURNACE], "wood", "stone", "coal", "iron"),
    "collect_diamond": gather("diamond", "iron_pickaxe"),
    "collect_drink": deed("collect_drink", gains={"vital:drink": "n"}),
    "collect_sapling": gather("sapling"),
    "place_plant": deed("place_plant", consumes={"inventory:sapling": 1}),
    "eat_plant": deed("eat_plant", requires={"achievement:place_plant": 1}, gains={"vital:food": 4}),
    "eat_cow": deed("eat_cow", gains={"vital:food": 6}),
    "wake_up": deed("wake_up", gains={"vital:energy": 1}),
    "defeat_zombie": deed("defeat_zombie"),
    "defeat_skeleton": deed("defeat_skeleton"),
}

DIAMOND = (
    "collect_wood x9 -> place_table -> make_wood_pickaxe -> collect_stone x3 -> collect_coal -> "
    "place_table -> make_stone_pickaxe -> collect_iron -> "
    "place_table -> place_furnace -> make_iron_pickaxe -> collect_diamond"
)


def problem(
    skills: Mapping[str, Any],
    goal: Goal,
    facts: Mapping[str, int] | None = None,
    capacity: int | None = 9,
    kinds: Mapping[str, FactKind] | None = None,
) -> Problem:
    """A problem over all facts that occur in it."""
    names: dict[str, None] = dict.fromkeys(facts or {})
    for sections in skills.values():
        for section in sections.values():
            names.update(dict.fromkeys(section))
    if isinstance(goal, FactGoal):
        names.update(dict.fromkeys(goal.facts))
    vocabulary = Vocabulary(_fact(name, capacity, kinds or {}) for name in names)
    operators: dict[str, Operator] = {
        name: parse_operator(sections, vocabulary) for name, sections in skills.items()
    }
    return Problem(facts or {}, operators, goal, vocabulary)


def _fact(name: str, capacity: int | None, kinds: Mapping[str, FactKind]) -> Fact:
    kind = kinds.get(name) or kind_from_namespace(name)
    assert kind is not None
    return Fact(name, kind, capacity if kind in (FactKind.COUNT, FactKind.VITAL) else None)


def proved(asked: Problem, **options: int) -> Plan:
    """The plan, proved."""
    made = plan(asked.facts, asked.operators, asked.goal, asked.vocabulary, **options)
    prove(made, asked.facts, asked.operators, asked.goal, asked.vocabulary)
    return made


def refused(asked: Problem, **options: int) -> Impossible:
    with pytest.raises(Impossible) as caught:
        plan(asked.facts, asked.operators, asked.goal, asked.vocabulary, **options)
    return caught.value
