"""One writer a graph path, seen from real second processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from samples import WORLD, assert_sound, make_graph

from flowrl.errors import GraphError
from flowrl.store import lock
from flowrl.store.graph_store import GraphStore
from flowrl.store.manifest import read_graph

HOLD = """
import os, sys
from flowrl.store.graph_store import GraphStore
store = GraphStore.open(sys.argv[1], sys.argv[2])
if len(sys.argv) > 3 and os.fork() == 0:
    os.close(1)
    import time
    time.sleep(60)
print("holding", flush=True)
sys.stdin.read()
store.close()
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.1)


def holder(path: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, WORLD, *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    return process


@pytest.mark.usefixtures("impatient")
def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    make_graph(path, "a")
    process = holder(path)
    try:
        with pytest.raises(GraphError) as caught:
            GraphStore.open(path, WORLD)
        assert f"pid {process.pid} on host {socket.gethostname()}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2
        assert read_graph(path).names == ("a",), "a reader needs no lock"
    finally:
        process.communicate("")
    assert process.returncode == 0
    assert assert_sound(path).names == ("a",)


@pytest.mark.usefixtures("impatient")
def test_one_process_cannot_open_a_path_twice(tmp_path: Path) -> None:
    with GraphStore.open(tmp_path / "graph", WORLD), pytest.raises(GraphError, match=f"pid {os.getpid()} "):
        GraphStore.open(tmp_path / "graph", WORLD)
    GraphStore.open(tmp_path / "graph", WORLD).close()


@pytest.mark.parametrize("forked", [False, True])
def test_what_a_killed_process_held_is_taken_over(forked: bool, tmp_path: Path) -> None:
    """Also when a child that it forked lives on, with the lock's descriptor inherited."""
    path = tmp_path / "graph"
    process = holder(path, *(["fork"] if forked else []))
    try:
        process.kill()
        process.wait()
        assert json.loads((path / ".lock.json").read_text())["pid"] == process.pid
        with GraphStore.open(path, WORLD) as store:
            (note,) = store.notes
            assert note.startswith(f"took over from pid {process.pid} on host {socket.gethostname()}")
            assert json.loads((path / ".lock.json").read_text())["pid"] == os.getpid()
    finally:
        if forked:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert_sound(path)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": 1, "since": 2}', "{}"])
def test_a_damaged_owner_file_stands_in_nobodys_way(text: str, tmp_path: Path) -> None:
    path = tmp_path / "graph"
    make_graph(path)
    (path / ".lock.json").write_text(text)
    GraphStore.open(path, WORLD).close()
    with GraphStore.open(path, WORLD):
        (path / ".lock.json").write_text(text)
        with pytest.raises(GraphError, match="in use by another process"):
            GraphStore.open(path, WORLD)


def test_a_run_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    make_graph(path, "a")
    first = GraphStore.open(path, WORLD)
    timer = threading.Timer(0.3, first.close)
    timer.start()
    with GraphStore.open(path, WORLD) as second:
        assert second.notes == ()
    timer.join()


def test_a_refused_open_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    make_graph(path, "a")
    with pytest.raises(GraphError, match="--current_i 5"):
        GraphStore.open(path, WORLD, current_i=5)
    GraphStore.open(path, WORLD).close()
