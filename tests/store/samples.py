"""Small graphs on disk for the tests of this folder, and what must hold of any of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from flowrl.skills.graph import EnvSteps, Evidence, SkillGraph, SkillNode
from flowrl.skills.operator import Linear, Operator
from flowrl.store.graph_store import GraphStore
from flowrl.store.journal import read_journal
from flowrl.store.manifest import read_graph

WORLD = "Craftax-Classic-Symbolic-v1"
REPLY = "Here it is: größer\n```json\n{}\n```\n"


def make_node(index: int, name: str) -> SkillNode:
    return SkillNode(
        index=index,
        name=name,
        description="Chop a tree.",
        operator=Operator({}, {}, {"inventory:wood": Linear(1, 0)}),
        max_steps=100,
        max_repeat=5,
        plan=(),
        evidence=Evidence(256, 250, {"inventory:wood": 0.98}, 0.01, 42.0),
        env_steps=EnvSteps(1000, 0, 20),
        wall_s=7.0,
        llm={"propose": "playbook"},
        provenance={"seed": 0},
    )


def make_params(seed: int) -> dict[str, Any]:
    numbers = np.random.default_rng(seed)
    return {"params": {"Dense_0": {"kernel": numbers.normal(size=(8, 4)).astype(np.float32)}}}


def make_states(seed: int) -> dict[str, Any]:
    return {"map": np.full((2, 9, 9), seed, np.int32), "done": np.zeros(2, bool)}


def commit(store: GraphStore, name: str, states: bool = True) -> SkillNode:
    index = len(store.graph.nodes)
    curves = [{"env_steps": step, "success": np.float32(0.5)} for step in range(3)]
    return store.commit_node(
        make_node(index, name),
        REPLY,
        f"artifact of {name}".encode(),
        make_params(index),
        make_states(index) if states else None,
        curves,
    )


def make_graph(path: Path, *names: str) -> SkillGraph:
    """Commits the named skills to a new graph and closes it."""
    with GraphStore.open(path, WORLD) as store:
        store.journal.append("started", {"n": len(names)})
        for name in names:
            commit(store, name)
        return store.graph


def assert_sound(path: Path) -> SkillGraph:
    """Opens the graph and checks that it is whole: every node loads, none is doubled, nothing left over."""
    before = read_graph(path)
    with GraphStore.open(path, WORLD) as store:
        graph = store.graph
        assert graph == before
        for node in graph.nodes:
            loaded = store.load_node(node.index)
            assert loaded.proposal == REPLY
            assert loaded.artifact == f"artifact of {node.name}".encode()
            expected = make_params(node.index)["params"]["Dense_0"]["kernel"]
            np.testing.assert_array_equal(loaded.params["params"]["Dense_0"]["kernel"], expected)
            states = store.load_start_states(node.index)
            assert states is None or states["map"][0, 0, 0] == node.index
            assert len(store.load_curves(node.index)) == 3
        folders = sorted(entry.name for entry in store.layout.nodes.glob("*"))
        assert folders == sorted(f"{node.index}_{node.name}" for node in graph.nodes)
        kept = sorted(entry.name for entry in store.layout.failures.glob("*"))
        assert kept == sorted(Path(failure.folder or "").name for failure in graph.failures)
    read_journal(store.layout.journal)
    assert not list(path.rglob(".tmp-*"))
    assert not store.layout.lock_owner.exists()
    return graph


def contents(path: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file, without the lock."""
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".lock")
    }
