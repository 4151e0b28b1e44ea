"""A crash or a full disk at each single step of every operation, one after the other."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from samples import REPLY, WORLD, assert_sound, commit, make_graph, make_node, make_params

from flowrl.errors import GraphError
from flowrl.skills.graph import Failure
from flowrl.store import checkpoint
from flowrl.store.graph_store import GraphStore
from flowrl.store.manifest import read_graph

STEPS = ("open", "write", "fsync", "replace", "rename", "mkdir", "ftruncate")
CLEANING = ("unlink", "rmdir")


class Died(BaseException):
    """The process is dead: nothing after this reaches the disk."""


class FaultyDisk:
    """Lets ``allowed`` steps through, then fails: once with ENOSPC, or for good as a dead process would."""

    def __init__(self, allowed: int, dies: bool) -> None:
        self.allowed = allowed
        self.dies = dies
        self.failed = False

    def step(self, cleaning: bool) -> None:
        # A process that dies leaves its lock to the kernel, which this one, still alive, cannot imitate.
        if sys._getframe(2).f_globals["__name__"].startswith("filelock"):
            return
        if self.failed and self.dies:
            raise Died
        if cleaning:
            return
        self.allowed -= 1
        if self.allowed == -1:
            self.failed = True
            if self.dies:
                raise Died
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def wrap(self, function: Callable[..., Any], cleaning: bool = False) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            self.step(cleaning)
            return function(*args, **kwargs)

        return checked

    def wrap_open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if set(mode) & set("wxa"):
                self.step(cleaning=False)
            return function(file, mode, *args, **kwargs)

        return checked


@contextmanager
def faulty(allowed: int, dies: bool) -> Iterator[FaultyDisk]:
    disk = FaultyDisk(allowed, dies)
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, disk.wrap(getattr(os, name)))
        for name in CLEANING:
            patch.setattr(os, name, disk.wrap(getattr(os, name), cleaning=True))
        patch.setattr(io, "open", disk.wrap_open(io.open))
        yield disk


def do_commit(store: GraphStore) -> None:
    commit(store, "added")


def do_fail(store: GraphStore) -> None:
    store.record_failure(Failure("bad", "train", "weak"), REPLY, [{"x": 1.0}])


def do_rewind(store: GraphStore) -> None:
    store.rewind(1)


def do_journal(store: GraphStore) -> None:
    store.journal.append("event", {"x": 1})


OPERATIONS = [do_commit, do_fail, do_rewind, do_journal]
AFTER = {
    do_commit: ("a", "b", "added"),
    do_fail: ("a", "b"),
    do_rewind: ("a",),
    do_journal: ("a", "b"),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "graph"
    make_graph(path, "a", "b")
    return path


def each_step(template: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    for step in range(200):
        path = tmp_path / f"graph_{step}"
        shutil.copytree(template, path)
        yield step, path
        shutil.rmtree(path)
    raise AssertionError("the operation never came to its end")


def node_folders(path: Path) -> list[str]:
    return sorted(entry.name for parent in path.rglob("nodes") for entry in parent.iterdir())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_death_at_every_step(operation: Callable[[GraphStore], None], template: Path, tmp_path: Path) -> None:
    for step, path in each_step(template, tmp_path):
        store = GraphStore.open(path, WORLD)
        with faulty(step, dies=True) as disk, suppress(Died):
            operation(store)
        store.close()
        names = assert_sound(path).names
        assert names in (("a", "b"), AFTER[operation])
        # Whatever the graph no longer names is in the archive, whole.
        assert {"0_a", "1_b"} <= set(node_folders(path))
        if not disk.failed:
            assert names == AFTER[operation]
            return
    raise AssertionError


@pytest.mark.parametrize("operation", OPERATIONS)
def test_full_disk_at_every_step(
    operation: Callable[[GraphStore], None], template: Path, tmp_path: Path
) -> None:
    for step, path in each_step(template, tmp_path):
        with GraphStore.open(path, WORLD) as store:
            with faulty(step, dies=False) as disk:
                if raised := _raised(operation, store):
                    assert "the disk is full. The last good state remains." in str(raised)
            assert disk.failed or not raised
            # The very same process may go on: it knows what the disk holds.
            assert store.graph == read_graph(path)
            done = store.graph.names == AFTER[operation] != ("a", "b")
            if raised and not done:
                operation(store)
            # zipfile tries again by itself when a file cannot be opened: failed, and yet nothing raised.
        assert assert_sound(path).names == AFTER[operation]
        if not disk.failed:
            return
    raise AssertionError


def _raised(operation: Callable[[GraphStore], None], store: GraphStore) -> GraphError | None:
    try:
        operation(store)
    except GraphError as error:
        return error
    return None


@pytest.mark.parametrize("dies", [True, False])
def test_any_fault_while_opening_a_graph_that_needs_repair(
    dies: bool, template: Path, tmp_path: Path
) -> None:
    for step, path in each_step(template, tmp_path):
        shutil.copytree(path / "nodes" / "1_b", path / "nodes" / "2_c")
        (path / "nodes" / ".tmp-3_d-0123").mkdir()
        (path / ".tmp-graph.json-0123").write_text("{")
        with (path / "journal.jsonl").open("a") as journal:
            journal.write('{"torn": ')
        with faulty(step, dies) as disk, suppress(Died, GraphError):
            GraphStore.open(path, WORLD, current_i=1).close()
        with GraphStore.open(path, WORLD) as store:
            names = store.graph.names
        assert names in (("a", "b"), ("a",))
        assert assert_sound(path).names == names
        assert node_folders(path) == ["0_a", "1_b", "2_c"]
        if not disk.failed:
            assert names == ("a",)
            return
    raise AssertionError


@pytest.mark.parametrize("dies", [True, False])
def test_any_fault_while_creating_a_graph(dies: bool, tmp_path: Path) -> None:
    for step in range(100):
        path = tmp_path / f"graph_{step}"
        with faulty(step, dies) as disk, suppress(Died, GraphError):
            GraphStore.open(path, WORLD).close()
        with GraphStore.open(path, WORLD) as store:
            assert store.graph.nodes == ()
        assert_sound(path)
        if not disk.failed:
            return
    raise AssertionError


def test_an_interrupt_between_folder_and_manifest_then_again_in_the_same_process(
    template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "graph"
    shutil.copytree(template, path)
    with GraphStore.open(path, WORLD) as store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flowrl.store.graph_store.write_graph", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                commit(store, "c")
        assert store.graph.names == ("a", "b")
        assert (path / "nodes" / "2_c").is_dir()
        commit(store, "c")
    assert assert_sound(path).names == ("a", "b", "c")
    assert len(list(path.glob("archive/*/nodes/2_c"))) == 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_no_array_stops_the_commit_and_leaves_nothing(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph"
    shutil.copytree(template, path)
    with GraphStore.open(path, WORLD) as store:
        with pytest.raises(TypeError, match="params/layer is a set"):
            store.commit_node(make_node(2, "c"), REPLY, b"", {"params": {"layer": {1}}}, None, [])
        with pytest.raises(ValueError, match="two nodes are named 'a'"):
            store.commit_node(make_node(2, "a"), REPLY, b"", make_params(0), None, [])
    assert assert_sound(path).names == ("a", "b")


def test_a_disk_that_fills_up_inside_an_array_file(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "graph"
    shutil.copytree(template, path)

    def half(target: Path, _: object) -> None:
        target.write_bytes(b"PK half a file")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with GraphStore.open(path, WORLD) as store:
        monkeypatch.setattr(checkpoint, "save_arrays", half)
        with pytest.raises(GraphError, match=r"2_c cannot be written: the disk is full"):
            commit(store, "c")
    assert assert_sound(path).names == ("a", "b")
