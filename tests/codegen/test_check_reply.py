"""From reply to checked skill and back from disk: stages in order, and an honest corpus that must pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flowrl.codegen.check import STAGES, CheckedSkill, check_proposal, check_reply, restore
from flowrl.codegen.parse import parse_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import GraphError, ProposalRefused
from flowrl.skills.facts import Vocabulary
from flowrl.worlds.snapshot import SnapshotSpec

REFUSED = {
    "parse": ({"name": "Bad Name"}, {}),
    "static": ({}, {"reward": "open('/etc/passwd')"}),
    "trace": ({}, {"done": "now.inventory.wood"}),
    "probe": ({}, {"done": "n > 0"}),
}


@pytest.mark.parametrize("stage", STAGES)
def test_refuses_at_each_stage(
    stage: str, world: Any, tracer: Tracer, bank: ProbeBank, write_reply: Callable[..., str],
    write_source: Callable[..., str],
) -> None:  # fmt: skip
    keys, parts = REFUSED[stage]
    with pytest.raises(ProposalRefused) as refused:
        check_reply(write_reply(write_source(**parts), **keys), world, tracer, bank)
    assert refused.value.stage == stage


def skill(gains: str, done: str, reward: str, **keys: Any) -> dict[str, Any]:
    return {"gains": {gains: "1*n" if gains.startswith("inventory") else 1}, **keys} | {
        "_parts": (done, reward)
    }


ACCEPTED = {
    "collect_wood": skill(
        "inventory:wood",
        "now.inventory.wood >= start.inventory.wood + n",
        "1.0 * (now.inventory.wood - prev.inventory.wood)",
    ),
    "collect_stone": skill(
        "inventory:stone",
        "(now.inventory.stone - start.inventory.stone) >= n",
        "jnp.maximum(now.inventory.stone - prev.inventory.stone, 0).astype(jnp.float32)",
        requires={"inventory:wood_pickaxe": 1},
    ),
    "make_wood_pickaxe": skill(
        "inventory:wood_pickaxe",
        "now.inventory.wood_pickaxe >= start.inventory.wood_pickaxe + n",
        "1.0 * (now.inventory.wood_pickaxe - prev.inventory.wood_pickaxe)",
        requires={"near:crafting_table": 1},
        consumes={"inventory:wood": "1*n"},
    ),
    "place_table": skill(
        "achievement:place_table",
        "now.achievements.place_table & ~start.achievements.place_table",
        "jnp.where(now.achievements.place_table & ~prev.achievements.place_table, 1.0, 0.0)",
        consumes={"inventory:wood": 1},
    ),
    "go_to_table": skill(
        "near:crafting_table",
        "now.near.crafting_table",
        "jnp.clip(prev.closest_blocks.crafting_table.distance "
        "- now.closest_blocks.crafting_table.distance, -1, 1)",
    ),
    "first_wood": skill(
        "achievement:collect_wood",
        "jnp.logical_and(now.achievements.collect_wood, jnp.logical_not(start.achievements.collect_wood))",
        "jax.nn.relu(1.0 * (now.inventory.wood - prev.inventory.wood)) - 0.001",
    ),
    "eat": skill(
        "vital:food",
        "(now.vitals.food > start.vitals.food) | (now.vitals.food == 9)",
        "float(max(now.vitals.food - prev.vitals.food, 0)) / 6",
    ),
    "wood_with_bonus": skill(
        "inventory:wood",
        "jnp.greater_equal(now.inventory.wood, jnp.minimum(start.inventory.wood + n, 9))",
        "jnp.where(is_done(start, prev, now, n), 10.0, 0.0) + 0.01 * (now.facing_block == BlockType.TREE)",
    ),
    "wood_with_shaping": skill(
        "inventory:wood",
        "now.inventory.wood >= start.inventory.wood + n",
        "jnp.tanh(jnp.sum(jnp.array([1.0 * (now.inventory.wood - prev.inventory.wood), "
        "0.1 * jnp.exp(-now.closest_blocks.tree.distance), -0.05 * now.sleeping])))",
    ),
    "descend": {"requires": {"floor": [0, 1]}, "gains": {"floor": 2}}
    | {"_parts": ("now.floor == 2", "2.0 ** (now.floor - prev.floor) - 1.0")},
    "stone_and_wood": {
        "gains": {"inventory:wood": "1*n", "inventory:stone": "2*n + 1"},
        "_parts": (
            "(now.inventory.wood >= start.inventory.wood + n) & "
            "(now.inventory.stone >= start.inventory.stone + 2 * n + 1)",
            "jnp.sqrt(1.0 * abs(now.inventory.wood + now.inventory.stone - prev.inventory.wood "
            "- prev.inventory.stone))",
        ),
    },
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_an_honest_skill(
    name: str, world: Any, tracer: Tracer, bank: ProbeBank, write_reply: Callable[..., str],
    write_source: Callable[..., str],
) -> None:  # fmt: skip
    keys = {key: value for key, value in ACCEPTED[name].items() if key != "_parts"}
    done, reward = ACCEPTED[name]["_parts"]
    text = write_reply(write_source(reward=reward, done=done), name=name, **keys)
    checked = check_reply(text, world, tracer, bank)
    assert checked.proposal == parse_reply(text, world.vocabulary)
    assert checked.report is not None
    assert restore(
        checked.proposal, checked.artifact, world.snapshot_spec, "artifact.bin"
    ) == dataclasses.replace(checked, report=None)


@pytest.fixture(scope="module")
def checked(world: Any, tracer: Tracer, bank: ProbeBank, write_reply: Callable[..., str]) -> CheckedSkill:
    return check_reply(write_reply(), world, tracer, bank)


def test_nobody_else_builds_a_checked_skill(checked: CheckedSkill) -> None:
    with pytest.raises(TypeError, match="comes from check_reply"):
        CheckedSkill(checked.proposal, checked.program, checked.report)


def test_a_checked_skill_is_frozen(checked: CheckedSkill) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        checked.report = None  # type: ignore[misc]


def test_check_proposal_is_the_rest_of_check_reply(
    checked: CheckedSkill, world: Any, tracer: Tracer, bank: ProbeBank
) -> None:
    assert check_proposal(checked.proposal, world, tracer, bank) == checked


def test_a_restored_skill_computes_the_same(
    checked: CheckedSkill, spec: SnapshotSpec, bank: ProbeBank
) -> None:
    again = restore(checked.proposal, checked.artifact, spec, "nodes/0/artifact.bin")
    for one, other in zip(checked.program(*bank.transitions), again.program(*bank.transitions), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_file_is_named(checked: CheckedSkill, spec: SnapshotSpec) -> None:
    with pytest.raises(GraphError, match=r"nodes/0/artifact\.bin: .*checksum.*--current_i"):
        restore(checked.proposal, checked.artifact[:-1], spec, "nodes/0/artifact.bin")
    with pytest.raises(GraphError, match=r"nodes/0/artifact\.bin: .*columns"):
        restore(checked.proposal, checked.artifact, SnapshotSpec(spec.fields[:-1]), "nodes/0/artifact.bin")


def test_the_whole_of_the_reply_is_kept(
    write_reply: Callable[..., str], vocabulary: Vocabulary, checked: CheckedSkill
) -> None:
    assert checked.proposal.reply == write_reply()
    assert parse_reply(checked.proposal.reply, vocabulary) == checked.proposal
