"""A few facts of every kind, and operators over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Operator, parse_operator

WOOD, STONE, PICKAXE, SWORD = "inventory:wood", "inventory:stone", "inventory:pickaxe", "inventory:sword"
GEM, TOOL, FOOD, DEED = "inventory:gem", "stat:tool", "vital:food", "achievement:deed"
TABLE, FLOOR = "near:table", "floor"

VOCABULARY = Vocabulary(
    [
        *(Fact(name, FactKind.COUNT, 9) for name in (WOOD, STONE, PICKAXE, SWORD, GEM)),
        Fact(TOOL, FactKind.TIER, 4),
        Fact(FOOD, FactKind.VITAL, 9),
        Fact(DEED, FactKind.FLAG),
        Fact(TABLE, FactKind.REACH),
        Fact(FLOOR, FactKind.PLACE),
    ]
)


def operator(**sections: Mapping[str, Any]) -> Operator:
    """From its sections, as a proposal states them."""
    return parse_operator(sections, VOCABULARY)
