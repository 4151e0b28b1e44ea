"""Damage and bad paths: each ends in one line that names the file and says what to do; nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from samples import REPLY, WORLD, assert_sound, commit, contents, make_graph, make_node
from test_graph_store import NODE_FILES

from flowrl.errors import FlowrlError, GraphError, UserError
from flowrl.skills.graph import Failure
from flowrl.store import checkpoint
from flowrl.store.graph_store import GraphStore
from flowrl.store.layout import GraphLayout
from flowrl.store.manifest import read_graph


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_graph(tmp_path / "graph", "a", "b")
    return tmp_path / "graph"


def refusal(path: Path, current_i: int | None = None) -> str:
    """What opening says; checks that it is one line, exit 2, and that it changed nothing."""
    before = contents(path) if path.is_dir() else {}
    with pytest.raises(UserError) as caught:
        GraphStore.open(path, WORLD, current_i=current_i)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert str(path) in message
    if path.is_dir():
        assert contents(path) == before
        assert not (path / ".lock.json").exists()
    return message


# --- graph.json --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "garbage", "{", "[]", "null", "{}", "\x00" * 50, "[" * 100_000])
def test_a_manifest_that_is_none(text: str, path: Path) -> None:
    (path / "graph.json").write_text(text)
    message = refusal(path)
    assert "graph.json is damaged" in message
    assert "Put back a good copy" in message


def test_every_truncation_of_the_manifest_is_refused(path: Path) -> None:
    whole = (path / "graph.json").read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        (path / "graph.json").write_bytes(whole[:length])
        with pytest.raises(GraphError, match=r"graph\.json"):
            read_graph(path)


def test_no_flipped_byte_of_the_manifest_goes_unnoticed(path: Path) -> None:
    """Unless it changes nothing, as in the white space between two fields."""
    whole = (path / "graph.json").read_bytes()
    graph = read_graph(path)
    unnoticed = 0
    for place in range(len(whole)):
        (path / "graph.json").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_graph(path) == graph
            unnoticed += 1
        except UserError as error:
            assert "graph.json" in str(error)  # noqa: PT017
    assert unnoticed < 0.02 * len(whole)


def test_a_hand_edit_is_noticed_and_can_be_meant(path: Path) -> None:
    data = json.loads((path / "graph.json").read_text())
    data["nodes"][0]["description"] = "Better words."
    (path / "graph.json").write_text(json.dumps(data))
    assert 'remove its "sha256" line' in refusal(path)
    del data["sha256"]
    (path / "graph.json").write_text(json.dumps(data))
    with GraphStore.open(path, WORLD) as store:
        assert store.graph.nodes[0].description == "Better words."


def test_a_field_is_named(path: Path) -> None:
    data = json.loads((path / "graph.json").read_text())
    del data["nodes"][1]["evidence"]["episodes"]
    (path / "graph.json").write_text(json.dumps(data))
    assert "graph.json is damaged: graph.nodes[1].evidence.episodes is missing" in refusal(path)


def test_a_newer_schema(path: Path) -> None:
    data = json.loads((path / "graph.json").read_text())
    (path / "graph.json").write_text(json.dumps({**data, "schema_version": 99, "unheard_of": 1}))
    message = refusal(path)
    assert "newer schema version 99; this flowrl reads version 1. Update flowrl" in message
    with pytest.raises(UserError, match="newer schema"):
        read_graph(path)


def test_another_world(path: Path) -> None:
    before = contents(path)
    with pytest.raises(UserError, match=rf"graph of '{WORLD}', not of 'Other'. Give --env_name {WORLD}"):
        GraphStore.open(path, "Other")
    assert contents(path) == before
    assert read_graph(path).env_name == WORLD, "status takes any world"


def test_a_lost_manifest_is_no_fresh_start(path: Path) -> None:
    (path / "graph.json").unlink()
    assert "graph.json is missing, but" in refusal(path)
    assert "holds 2 node folders" in refusal(path)


# --- node files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NODE_FILES))
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing", "folder"])
def test_damage_to_any_node_file_is_named(name: str, damage: str, path: Path) -> None:
    file = path / "nodes" / "1_b" / name
    data = file.read_bytes()
    file.unlink()
    if damage == "flip":
        file.write_bytes(data[:5] + bytes([data[5] ^ 1]) + data[6:])
    elif damage == "truncate":
        file.write_bytes(data[:-1])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "folder":
        file.mkdir()
    message = refusal(path)
    assert str(file) in message
    assert "--current_i 1" in message
    # The advice works: what is before the damaged node can be used, and the damaged one is kept.
    with GraphStore.open(path, WORLD, current_i=1) as store:
        assert store.graph.names == ("a",)
        commit(store, "again")
    assert assert_sound(path).names == ("a", "again")
    assert len(list(path.glob("archive/*/nodes/1_b"))) == 1


def test_a_lost_node_folder_is_named(path: Path) -> None:
    shutil.rmtree(path / "nodes" / "0_a")
    assert str(path / "nodes" / "0_a") in refusal(path)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("proposal.md", checkpoint.load_node),
        ("artifact.bin", checkpoint.load_node),
        ("policy/params.npz", checkpoint.load_node),
        ("start_states/bank.npz", checkpoint.load_start_states),
        ("curves.jsonl", checkpoint.load_curves),
    ],
)
def test_damage_after_opening_is_found_when_it_is_read(
    name: str, load: Callable[[GraphLayout, object], object], path: Path
) -> None:
    file = path / "nodes" / "0_a" / name
    node = read_graph(path).nodes[0]
    load(GraphLayout(path), node)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(GraphError, match=f"{name} is damaged: its sha256"):
        load(GraphLayout(path), node)
    file.unlink()
    with pytest.raises(GraphError, match=f"{name} is missing"):
        load(GraphLayout(path), node)


def test_a_torn_journal_is_mended_with_a_note(path: Path) -> None:
    with (path / "journal.jsonl").open("a") as journal:
        journal.write('{"kind": "half')
    with GraphStore.open(path, WORLD) as store:
        assert store.notes == (
            "journal.jsonl: the last line was torn by a crash and was set aside (14 bytes)",
        )
    assert_sound(path)


def test_a_journal_damaged_in_the_middle_is_named(path: Path) -> None:
    (path / "journal.jsonl").write_text('{"a": 1}\nxx\n{"b": 2}\n')
    assert "journal.jsonl, line 2" in refusal(path)


def test_a_lost_journal_is_said(path: Path) -> None:
    (path / "journal.jsonl").unlink()
    with GraphStore.open(path, WORLD) as store:
        assert store.notes == ("journal.jsonl was missing: a new one begins",)


# --- bad paths ---------------------------------------------------------------------------------------


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert "is a file, not a folder. Choose another --graph-path" in refusal(path)
    with pytest.raises(UserError, match="is a file"):
        read_graph(path)
    assert path.read_text() == "mine"


def test_a_file_in_place_of_a_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "cannot be written: a file is in the way" in refusal(tmp_path / "file" / "graph")


@pytest.mark.parametrize("name", ["nodes", "archive"])
def test_a_file_in_place_of_a_folder_of_ours(name: str, tmp_path: Path) -> None:
    with GraphStore.open(tmp_path / "graph", WORLD) as store:
        commit(store, "a") if name == "archive" else None
        (tmp_path / "graph" / name).write_text("mine")
        with pytest.raises(GraphError, match="a file is in the way"):
            store.rewind(0) if name == "archive" else commit(store, "a")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that refuses even root")
def test_a_path_that_cannot_be_written() -> None:
    assert "not writable (" in refusal(Path("/sys/flowrl_graph"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_without_permission(code: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: tests may run as root, whom permission bits do not stop."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        assert f"not writable ({os.strerror(code)})" in refusal(path)


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(GraphError, match=r"holds no skill graph .*--graph-path"):
            read_graph(path)
        with pytest.raises(GraphError, match="holds no skill graph"):
            GraphStore.open(path, WORLD, create=False)
    assert not (tmp_path / "absent").exists()
    assert list(tmp_path.iterdir()) == []


# --- a disk that is really full ----------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_the_last_good_state(small_disk: Path) -> None:
    path = small_disk / "graph"
    noise = np.random.default_rng(0).integers(0, 256, 60_000, np.uint8)
    operations: list[Callable[[GraphStore, int], object]] = [
        lambda store, n: store.commit_node(
            make_node(len(store.graph.nodes), f"n{n}"), REPLY, b"x", {"noise": noise}, None, []
        ),
        lambda store, n: store.record_failure(Failure(f"f{n}", "train", "r" * 500), REPLY * 900),
        lambda store, n: store.journal.append("event", {"number": n, "padding": "x" * 9000}),
    ]
    for number, operation in enumerate(operations):
        with GraphStore.open(path, WORLD) as store, pytest.raises(GraphError, match="the disk is full"):
            _repeat(operation, store, number * 1000)
        good = store.graph
        assert read_graph(path) == good, "a reader still sees it"
        filler = small_disk / "filler"
        try:
            filler.write_bytes(b"\0" * 600_000)
        except OSError:
            with pytest.raises(FlowrlError, match="the disk is full"):
                GraphStore.open(path, WORLD)
        filler.unlink()
        with GraphStore.open(path, WORLD, current_i=min(1, len(good.nodes))) as store:
            assert store.graph.nodes == good.nodes[:1]
        shutil.rmtree(path / "archive", ignore_errors=True)


def _repeat(operation: Callable[[GraphStore, int], object], store: GraphStore, first: int) -> None:
    for number in range(first, first + 500):
        operation(store, number)
