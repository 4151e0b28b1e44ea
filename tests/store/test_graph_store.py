"""The graph on disk: what is written, going on, going back, and setting aside what was never committed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import REPLY, WORLD, assert_sound, commit, contents, make_graph, make_node, make_params

from flowrl.errors import GraphError
from flowrl.skills.graph import Failure
from flowrl.store.graph_store import GraphStore
from flowrl.store.layout import folder_name
from flowrl.store.manifest import read_graph

NODE_FILES = {
    "proposal.md",
    "operator.json",
    "artifact.bin",
    "policy/params.npz",
    "start_states/bank.npz",
    "evidence.json",
    "curves.jsonl",
}


def test_a_node_lies_where_the_design_says(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "graph"
    graph = make_graph(path, "collect_wood")
    assert set(graph.nodes[0].files) == NODE_FILES
    folder = path / "nodes" / "0_collect_wood"
    assert set(contents(folder)) == NODE_FILES
    assert contents(folder) == graph.nodes[0].files
    assert json.loads((folder / "operator.json").read_text())["gains"] == {"inventory:wood": "1*n"}
    assert json.loads((folder / "evidence.json").read_text())["success_low"] > 0.9
    manifest = json.loads((path / "graph.json").read_text())
    assert {"schema_version", "env_name", "nodes", "edges", "failures", "provenance"} <= set(manifest)
    assert str(tmp_path) not in "".join(f.read_text(errors="replace") for f in path.rglob("*") if f.is_file())
    assert_sound(path)


def test_a_graph_moved_elsewhere_still_opens(tmp_path: Path) -> None:
    make_graph(tmp_path / "here", "a", "b")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert assert_sound(tmp_path / "there").names == ("a", "b")


def test_going_on_where_it_stopped(tmp_path: Path) -> None:
    make_graph(tmp_path, "a", "b")
    with GraphStore.open(tmp_path, WORLD, create=False) as store:
        assert store.graph.names == ("a", "b")
        assert store.notes == ()
        commit(store, "c", states=False)
        assert store.load_start_states(2) is None
    assert assert_sound(tmp_path).names == ("a", "b", "c")


def test_a_reader_sees_each_commit_of_a_live_run(tmp_path: Path) -> None:
    with GraphStore.open(tmp_path, WORLD) as store:
        for count, name in enumerate("abc", start=1):
            commit(store, name)
            assert len(read_graph(tmp_path).nodes) == count == len(store.graph.nodes)
            assert read_graph(tmp_path) == store.graph


def test_failures_are_kept_with_their_reply_and_curves(tmp_path: Path) -> None:
    with GraphStore.open(tmp_path, WORLD) as store:
        commit(store, "a")
        first = store.record_failure(Failure("../../etc", "parse", "no block"), REPLY)
        second = store.record_failure(
            Failure("b", "validate", "weak", "More."), REPLY, [{"loss": np.float32(1)}]
        )
    assert (first.folder, second.folder, second.index) == ("failures/0_etc", "failures/1_b", 1)
    assert (tmp_path / "failures/0_etc/proposal.md").read_text() == REPLY
    assert json.loads((tmp_path / "failures/1_b/curves.jsonl").read_text()) == {"loss": 1.0}
    assert assert_sound(tmp_path).failures == (first, second)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("ok_1", "3_ok_1"),
        ("../up", "3_up"),
        ("", "3_unnamed"),
        ("a/b\0c", "3_a_b_c"),
        ("x" * 99, "3_" + "x" * 60),
    ],
)
def test_names_cannot_leave_their_folder(name: str, folder: str) -> None:
    assert folder_name(3, name) == folder


@given(st.text())
def test_any_name_makes_a_safe_folder(name: str) -> None:
    assert re.fullmatch(r"0_[A-Za-z0-9_-]{1,60}", folder_name(0, name))


def test_a_reply_that_is_no_valid_text_costs_nothing(tmp_path: Path) -> None:
    with GraphStore.open(tmp_path, WORLD) as store:
        store.commit_node(make_node(0, "a"), "bad \ud800 char", b"", make_params(0), None, [])
        assert store.load_node(0).proposal == "bad ? char"


# --- rewind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 2])
def test_rewind_archives_what_follows(k: int, tmp_path: Path) -> None:
    make_graph(tmp_path, "a", "b")
    with GraphStore.open(tmp_path, WORLD) as store:
        store.record_failure(Failure("f", "train", "weak"), "reply")
        commit(store, "c")
    before = contents(tmp_path)
    with GraphStore.open(tmp_path, WORLD, current_i=k) as store:
        assert store.graph.names == ("a", "b", "c")[:k]
        assert len(store.graph.failures) == (k == 2)
        assert f"nodes from {k} on are in archive/" in store.notes[0]
    (archive,) = (tmp_path / "archive").iterdir()
    # Nothing is deleted: every file is still where it was, or in the archive; the old manifest too.
    after = set(contents(tmp_path).values())
    assert set(before.values()) <= after
    assert json.loads((archive / "graph.json").read_text())["nodes"][2]["name"] == "c"
    assert sorted(entry.name for entry in (archive / "nodes").iterdir()) == ["0_a", "1_b", "2_c"][k:]
    assert_sound(tmp_path)
    # An archive is a graph of its own together with the nodes that stayed.
    with GraphStore.open(tmp_path, WORLD) as store:
        commit(store, "other")
    assert assert_sound(tmp_path).names == (*("a", "b", "c")[:k], "other")


def test_rewinding_to_the_end_changes_nothing(tmp_path: Path) -> None:
    make_graph(tmp_path, "a", "b")
    before = contents(tmp_path)
    with GraphStore.open(tmp_path, WORLD, current_i=2) as store:
        assert store.rewind(2) is None
        assert store.notes == ()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("k", [3, 99, -1])
def test_beyond_the_end_says_how_many_there_are(k: int, tmp_path: Path) -> None:
    make_graph(tmp_path, "a", "b")
    before = contents(tmp_path)
    with pytest.raises(GraphError, match=rf"--current_i {k}: .* holds 2 nodes. Give 0 to 2"):
        GraphStore.open(tmp_path, WORLD, current_i=k)
    assert contents(tmp_path) == before


def test_several_rewinds_within_a_second_do_not_collide(tmp_path: Path) -> None:
    with GraphStore.open(tmp_path, WORLD) as store:
        for _ in range(4):
            commit(store, "same")
            store.rewind(0)
    assert len(list(tmp_path.glob("archive/*/nodes/0_same"))) == 4
    assert_sound(tmp_path)


# --- what a crash left -------------------------------------------------------------------------------


def test_a_folder_that_was_never_committed_is_set_aside(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    shutil.copytree(tmp_path / "nodes/0_a", tmp_path / "nodes/1_b")
    shutil.copytree(tmp_path / "nodes/0_a", tmp_path / "nodes/0_a2")
    (tmp_path / "failures/0_f").mkdir(parents=True)
    (tmp_path / "nodes/.tmp-2_c-00").mkdir()
    with GraphStore.open(tmp_path, WORLD) as store:
        assert store.graph.names == ("a",)
        (note,) = store.notes
        assert note.startswith("nodes/0_a2, nodes/1_b, failures/0_f: never committed, set aside in archive/")
    (archive,) = (tmp_path / "archive").iterdir()
    assert len(contents(archive)) == 2 * len(NODE_FILES)
    assert_sound(tmp_path)


def test_strangers_files_are_left_alone(tmp_path: Path) -> None:
    make_graph(tmp_path, "a")
    for name in ("README", "nodes/notes.txt", "llm/0001.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with GraphStore.open(tmp_path, WORLD, current_i=0):
        pass
    for name in ("README", "nodes/notes.txt", "llm/0001.json"):
        assert (tmp_path / name).read_text() == "mine"
