"""``scripts/kill_test.py``: what it does to a run of the toy world, and what it would complain about."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from replies import GOOD
from toy_runs import RunToy
from toy_world import TOY

from flowrl.store.manifest import read_graph

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_test.py"
NAMES = ("collect_wood", "place_table", "make_pickaxe")


@pytest.fixture(scope="module")
def kill_test() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_test"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_killed_run_loses_nothing_and_finishes(
    kill_test: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "graph"
    command = [sys.executable, str(Path(__file__).with_name("toy_run.py")), str(path)]
    of_validation = [kill_test.Instant(seconds, True) for seconds in (0.0, 0.3, 1.0)]
    instants = [kill_test.Instant(4.0), *of_validation]
    code = kill_test.kill_test(command, path, TOY, len(NAMES), instants=instants)
    said = capsys.readouterr().out
    log = (tmp_path / "runs.log").read_text()
    assert code == 0, (said, log)
    assert "ok: 4 kills" in said
    assert read_graph(path, TOY).names == NAMES
    assert "Traceback" not in log


def node(name: str, success: float = 0.9) -> dict[str, Any]:
    return {"name": name, "success": success}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([node("a"), node("b")], [node("a")], "lost"),
        ([node("a")], [node("b")], "lost"),
        ([node("a")], [node("a", 0.1)], "changed"),
        ([node("a")], [node("a"), node("a")], "twice"),
    ],
)
def test_what_is_lost_changed_or_doubled_is_told(
    kill_test: ModuleType, before: list[dict[str, Any]], after: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(kill_test.Broken, match=said):
        kill_test.check_nothing_lost(before, after)
    kill_test.check_nothing_lost(before, [*before, node("new")])


def test_a_damaged_file_is_told_by_name(kill_test: ModuleType, run_toy: RunToy) -> None:
    path = run_toy(GOOD, max_nodes=1).path
    kill_test.check_every_file(path, TOY)
    artifact = path / "nodes" / "0_collect_wood" / "artifact.bin"
    artifact.write_bytes(artifact.read_bytes()[:-1])
    with pytest.raises(kill_test.Broken, match=str(artifact)):
        kill_test.check_every_file(path, TOY)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["graph"]


def test_a_run_that_fails_by_itself_is_told(
    kill_test: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails = [sys.executable, "-c", "import sys; sys.exit(2)"]
    assert kill_test.kill_test(fails, tmp_path / "graph", TOY, 1, instants=[kill_test.Instant(20.0)]) == 1
    assert "FAILED: a run ended by itself with exit code 2" in capsys.readouterr().out
