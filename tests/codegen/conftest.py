"""A toy world of thirteen snapshot columns, a bank of its random play, and one shared tracing child."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank, Transitions
from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.worlds.snapshot import Field, SnapshotSpec

SPEC = SnapshotSpec(
    (
        Field("inventory.wood", "int32", "items", "wood", "inventory:wood"),
        Field("inventory.stone", "int32", "items", "stone", "inventory:stone"),
        Field("inventory.wood_pickaxe", "int32", "items", "pickaxes", "inventory:wood_pickaxe"),
        Field("vitals.food", "int32", "0..9", "food", "vital:food"),
        Field("achievements.collect_wood", "bool", "flag", "ever", "achievement:collect_wood"),
        Field("achievements.place_table", "bool", "flag", "ever", "achievement:place_table"),
        Field("near.crafting_table", "bool", "flag", "in reach", "near:crafting_table"),
        Field("closest_blocks.tree.distance", "float32", "tiles", "nearest seen tree"),
        Field("closest_blocks.tree.dx", "int32", "tiles", "east of the agent"),
        Field("closest_blocks.crafting_table.distance", "float32", "tiles", "nearest seen table"),
        Field("facing_block", "int32", "BlockType", "what the agent faces"),
        Field("sleeping", "bool", "flag", "asleep"),
        Field("floor", "int32", "0..8", "level", "floor"),
    )
)
VOCABULARY = Vocabulary(
    [
        Fact("inventory:wood", FactKind.COUNT, 9),
        Fact("inventory:stone", FactKind.COUNT, 9),
        Fact("inventory:wood_pickaxe", FactKind.COUNT, 9),
        Fact("vital:food", FactKind.VITAL, 9),
        Fact("achievement:collect_wood", FactKind.FLAG),
        Fact("achievement:place_table", FactKind.FLAG),
        Fact("near:crafting_table", FactKind.REACH),
        Fact("floor", FactKind.PLACE),
    ]
)
ENUMS = {"BlockType": {"GRASS": 2, "STONE": 4, "TREE": 5, "CRAFTING_TABLE": 11}}


def _bank() -> ProbeBank:
    """Eight hundred steps in which wood is gathered now and then and food runs down."""
    generator = np.random.default_rng(7)
    columns = SPEC.columns
    steps, lives = 800, 8
    rows = np.zeros((steps + 1, len(SPEC)), np.float32)
    rows[:, columns["closest_blocks.tree.distance"]] = generator.integers(1, 12, steps + 1)
    rows[:, columns["closest_blocks.tree.dx"]] = generator.integers(-4, 5, steps + 1)
    rows[:, columns["closest_blocks.crafting_table.distance"]] = generator.integers(3, 60, steps + 1)
    rows[:, columns["facing_block"]] = generator.choice([2, 4, 5], steps + 1)
    rows[:, columns["sleeping"]] = generator.random(steps + 1) < 0.1
    length = steps // lives
    for life in range(lives):
        part = slice(life * length, (life + 1) * length)
        gathered = np.minimum(np.cumsum(generator.random(length) < 0.05), 9)
        gathered[0] = 0
        rows[part, columns["inventory.wood"]] = gathered
        rows[part, columns["achievements.collect_wood"]] = gathered > 0
        rows[part, columns["vitals.food"]] = np.maximum(9 - np.arange(length) // 20, 0)
    index = np.array([i for i in range(steps) if (i + 1) % length])
    # A skill may start anywhere in a life: here every tenth step.
    transitions = Transitions(
        rows[index // 10 * 10], rows[index], rows[index + 1], np.ones(len(index), np.int32)
    )
    return ProbeBank(transitions, rows[:steps:5])


BANK = _bank()


@pytest.fixture(scope="session")
def spec() -> SnapshotSpec:
    return SPEC


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return VOCABULARY


@pytest.fixture(scope="session")
def enums() -> dict[str, dict[str, int]]:
    return ENUMS


@pytest.fixture(scope="session")
def bank() -> ProbeBank:
    return BANK


@pytest.fixture(scope="session")
def world() -> Any:
    return SimpleNamespace(vocabulary=VOCABULARY, snapshot_spec=SPEC, enums=ENUMS)


@pytest.fixture(scope="session")
def tracer() -> Iterator[Tracer]:
    with Tracer(timeout_s=20.0) as shared:
        yield shared


@pytest.fixture(scope="session")
def write_source() -> Callable[..., str]:
    """``(reward=..., done=...)``: skill code from two expressions."""

    def write(
        reward: str = "1.0 * (now.inventory.wood - prev.inventory.wood)",
        done: str = "now.inventory.wood >= start.inventory.wood + n",
    ) -> str:
        return (
            f"def is_done(start, prev, now, n):\n    return {done}\n\n"
            f"def reward(start, prev, now, n):\n    return {reward}\n"
        )

    return write


@pytest.fixture(scope="session")
def write_reply(write_source: Callable[..., str]) -> Callable[..., str]:
    """``(source=..., **json_keys)``: a reply that is right but for what is given."""

    def write(source: str | None = None, **keys: Any) -> str:
        data = {
            "name": "collect_wood",
            "description": "Face a tree and gather wood.",
            "requires": {},
            "consumes": {},
            "gains": {"inventory:wood": "1*n", "achievement:collect_wood": 1},
        } | keys
        return (
            f"I propose this.\n\n```json\n{json.dumps(data)}\n```\n"
            f"The code:\n```python\n{source or write_source()}```\nDone.\n"
        )

    return write
