"""A run that ended in whatever way goes on where it stopped, and says clearly when it cannot."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from replies import GOOD, MORE_WOOD, PICKAXE, TABLE, WOOD
from toy_runs import TOY_CONFIG, RunToy, workbench_like_new
from toy_world import TOY, ToyWorld

from flowrl.errors import GraphError
from flowrl.llm.errors import NothingToPropose
from flowrl.pipeline.events import Event, RunFinished, RunNote, RunStarted, TrainingProgress
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.workbench import states_to_tree, tree_to_states
from flowrl.rl.environment import Placed
from flowrl.store import atomic
from flowrl.store.graph_store import GraphStore
from flowrl.store.journal import Journal


def test_it_goes_on_from_the_end_with_another_model(run_toy: RunToy) -> None:
    first = run_toy([WOOD, TABLE], llm_name="one")
    assert isinstance(first.raised, NothingToPropose)
    assert first.raised.exit_code == 3
    before = first.graph
    second = run_toy(GOOD, llm_name="two")
    assert second.raised is None
    assert second.graph.nodes[:2] == before.nodes
    assert second.graph.nodes[2].plan == (("collect_wood", 2), ("place_table", 1))
    assert [context.index for context in second.source.contexts] == [2]
    [started] = second.of(RunStarted)
    assert (started.llm_name, started.accepted) == ("two", ("collect_wood", "place_table"))


def test_current_i_archives_what_follows(run_toy: RunToy) -> None:
    first = run_toy([WOOD, TABLE], max_nodes=2)
    old = first.graph.nodes[1]
    again = run_toy([TABLE.replace('"Toy."', '"Another."')], max_nodes=2, current_i=1)
    assert again.raised is None
    assert again.graph.nodes[0] == first.graph.nodes[0]
    assert again.graph.nodes[1].description == "Another."
    [archive] = (again.path / "archive").iterdir()
    assert (archive / "nodes" / "1_place_table" / "policy" / "params.npz").exists()
    assert (archive / "graph.json").exists()
    assert old.description == "Toy."
    assert any("nodes from 1 on are in archive" in note.text for note in again.of(RunNote))


def test_current_i_0_begins_again_and_beyond_the_end_is_an_error(run_toy: RunToy) -> None:
    first = run_toy([WOOD], max_nodes=1)
    beyond = run_toy([TABLE], max_nodes=5, current_i=2)
    assert isinstance(beyond.raised, GraphError)
    assert beyond.raised.exit_code == 2
    assert "holds 1 nodes" in str(beyond.raised)
    assert beyond.events == []
    assert beyond.graph == first.graph
    again = run_toy([MORE_WOOD], max_nodes=1, current_i=0)
    assert again.graph.names == ("gather_more",)


def test_another_layer_size_is_an_error_that_names_the_right_one(run_toy: RunToy) -> None:
    first = run_toy([WOOD], max_nodes=1)
    other = run_toy([TABLE], ppo={"layer_size": 16})
    assert isinstance(other.raised, GraphError)
    assert "the policy of 'collect_wood'" in str(other.raised)
    assert "--layer_size 16" in str(other.raised)
    assert "Give --layer_size 32" in str(other.raised)
    assert other.of(RunFinished)[0].reason == str(other.raised)
    assert other.graph == first.graph


def test_a_layer_size_that_is_not_given_is_the_graphs(run_toy: RunToy) -> None:
    """Not the device's, which is another here."""
    run_toy([WOOD], max_nodes=1)
    again = run_toy([TABLE], max_nodes=2, ppo={"layer_size": None})
    assert again.raised is None
    assert [node.provenance["layer_size"] for node in again.graph.nodes] == [32, 32]


def interrupt_in(skill: str, with_error: BaseException) -> Any:
    def on(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.skill == skill and event.env_steps > 1000:
            raise with_error

    return on


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt(), "interrupted"), (ZeroDivisionError("oops"), "ZeroDivisionError: oops")],
)
def test_an_interrupted_run_says_so_and_loses_only_the_skill_in_training(
    run_toy: RunToy, error: BaseException, reason: str
) -> None:
    first = run_toy(GOOD, on=interrupt_in("place_table", error))
    assert first.raised is error
    finished = first.events[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.accepted, finished.reason) == (1, reason)
    assert first.journal[-1]["reason"] == reason
    assert first.graph.names == ("collect_wood",)
    assert first.graph.failures == ()
    assert run_toy(GOOD).graph.names == ("collect_wood", "place_table", "make_pickaxe")


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_at_commit_leaves_the_last_good_state(
    run_toy: RunToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new = atomic._write_new

    def fill_up(path: Path, data: bytes) -> None:
        if "graph.json" in path.name and b'"place_table"' in data:
            # From here on nothing can be written, the journal's last words included.
            monkeypatch.setattr(Journal, "_write", lambda *_: no_disk("journal.jsonl"))
            no_space()
        write_new(path, data)

    def no_disk(name: str) -> None:
        raise GraphError(f"{name} cannot be written: the disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_write_new", fill_up)
        full = run_toy(GOOD)
    monkeypatch.undo()
    assert isinstance(full.raised, GraphError)
    assert full.raised.exit_code == 2
    assert "graph.json cannot be written: the disk is full. The last good state remains." in str(full.raised)
    assert full.of(RunFinished)[0].reason == str(full.raised)
    assert full.graph.names == ("collect_wood",)


def test_it_goes_on_once_there_is_space_again(run_toy: RunToy, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(GraphStore, "commit_node", lambda *_: atomic.write_bytes(Path("/dev/full/x"), b""))
        full = run_toy([WOOD], max_nodes=1)
        assert isinstance(full.raised, GraphError)
    again = run_toy([WOOD, TABLE, PICKAXE])
    assert again.raised is None
    assert len(again.graph.nodes) == 3


def placed_worlds(count: int) -> Placed:
    ppo, shape = resolve_sizes(TOY_CONFIG.ppo, 1, TOY_CONFIG.start_states)
    return workbench_like_new(ToyWorld(), ppo, shape, 0).training_worlds(5, count)


def test_start_states_come_back_as_they_were_random_keys_included(run_toy: RunToy) -> None:
    path = run_toy([WOOD], max_nodes=1).path
    placed = placed_worlds(40)
    tree = states_to_tree(placed)
    assert all(isinstance(leaf, np.ndarray) for leaf in tree.values())
    with GraphStore.open(path, TOY) as store:
        stored = dict(store.load_start_states(0) or {})
    assert sorted(stored) == sorted(tree)
    assert {name: leaf.dtype for name, leaf in stored.items()} == {n: leaf.dtype for n, leaf in tree.items()}

    back = tree_to_states(tree, placed_worlds(1))
    assert jax.tree.structure(back) == jax.tree.structure(placed)
    assert jax.dtypes.issubdtype(back.states.key.dtype, jax.dtypes.prng_key)
    assert np.array_equal(jax.random.key_data(back.states.key), jax.random.key_data(placed.states.key))
    for have, want in zip(jax.tree.leaves(back), jax.tree.leaves(placed), strict=True):
        assert have.dtype == want.dtype
    assert all(np.array_equal(have, tree[name]) for name, have in states_to_tree(back).items())


def test_start_states_of_another_version_are_refused() -> None:
    like = placed_worlds(1)
    tree = states_to_tree(placed_worlds(4))
    with pytest.raises(ValueError, match="arrays, where an env state here has"):
        tree_to_states({name: leaf for name, leaf in tree.items() if name != "leaf_000"}, like)
    last = sorted(tree)[-3]
    with pytest.raises(ValueError, match="is of shape"):
        tree_to_states(tree | {last: np.zeros((4, 77), np.float32)}, like)
