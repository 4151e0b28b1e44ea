"""``bench parallel``: what is started, what the figures mean, and that nothing is left running."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from flowrl import cli
from flowrl.errors import FlowrlError
from flowrl.report import bench_parallel as bench
from flowrl.report.bench_parallel import Measured, SlotsRequest, bench_parallel, compared, render_parallel

CLASSIC = "Craftax-Classic-Symbolic-v1"
FOUR_SKILLS = SlotsRequest(CLASSIC, 1, (0, 1, 2, 3), 4096, num_envs=32)

FAKE_CHILD = """
import json, os, sys
request = json.loads(sys.argv[1])
with open({log!r}, "a") as log:
    log.write(json.dumps([request, os.environ["JAX_COMPILATION_CACHE_DIR"]]) + "\\n")
print("a library says hello")
print(json.dumps({run}))
"""


def run_of(slots: int = 1, **figures: Any) -> dict[str, Any]:
    """A :class:`~flowrl.report.bench_slots.SlotsRun` as JSON."""
    sizes = {"num_slots": slots, "num_envs": 32, "num_steps": 32, "layer_size": 128, "device": "cpu"}
    measured = {"env_steps": 9000, "timed_steps": 8000, "timed_s": 4.0, "refills_s": [], "refill_compiles": 0}
    return sizes | measured | figures


Log = Callable[[], list[tuple[dict[str, Any], str]]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Children that only note what they were asked for; ``started()`` is ``[(request, cache), ...]``."""
    log = tmp_path / "log.jsonl"
    monkeypatch.setattr(bench, "_CHILD", FAKE_CHILD.format(log=str(log), run=run_of()))
    return lambda: [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def test_worked_ratios() -> None:
    one, four = compared(
        {
            1: Measured(run_of(1), 100.0, None),
            # 6,000 env steps in 2 s are 3,000 a second, where one slot made 8,000 / 4 = 2,000.
            4: Measured(run_of(4, timed_steps=6000, timed_s=2.0, refills_s=[9.0, 1.0, 2.0]), 40.0, 90.0),
        }
    )
    assert (four["steps_per_s"], four["vs_k1_rate"]) == (3000, 1.5)
    assert four["vs_processes"] == 90 / 40
    assert four["vs_sequential"] == 100 / 40
    assert (four["refills"], four["refill_s"]) == (3, 2.0)
    assert (one["vs_k1_rate"], one["vs_processes"], one["refill_s"]) == (1.0, None, None)


def test_processes_divide_the_skills_that_the_slots_learn(started: Log) -> None:
    result = bench_parallel(FOUR_SKILLS, [2], True, lambda _line: None)
    requests = [request for request, _ in started()]
    assert [request["num_slots"] for request in requests] == [1, 2, 1, 1]
    assert requests[0]["skills"] == requests[1]["skills"] == [0, 1, 2, 3]
    assert sorted(request["skills"] for request in requests[2:]) == [[0, 2], [1, 3]]
    assert {(request["env_steps"], request["num_envs"]) for request in requests} == {(4096, 32)}
    assert [row["slots"] for row in result["rows"]] == [1, 2]
    assert result["cache"] == "cold"


def test_cold_measurements_share_no_cache_but_processes_at_once_do(started: Log) -> None:
    bench_parallel(FOUR_SKILLS, [1, 2], True, lambda _line: None)
    caches = [cache for _, cache in started()]
    assert caches[2] == caches[3]
    assert len(set(caches)) == 3
    assert not any(Path(cache).exists() for cache in caches)


def test_warm_caches_are_filled_by_a_run_of_the_same_programs(started: Log) -> None:
    said: list[str] = []
    bench_parallel(FOUR_SKILLS, [1, 2], False, said.append)
    calls = [(request["num_slots"], request["env_steps"], cache) for request, cache in started()]
    (_, _, one), (_, _, two) = calls[0], calls[2]
    assert calls[:4] == [(1, 1, one), (1, 4096, one), (2, 1, two), (2, 4096, two)]
    assert calls[4:] == [(1, 4096, one)] * 2
    assert one != two
    assert sum("not measured" in line for line in said) == 2


def test_a_measurement_that_fails_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_CHILD", "import sys; sys.exit(7)")
    with pytest.raises(FlowrlError, match="with 1 slot ended with exit code 7"):
        bench_parallel(FOUR_SKILLS, [1], True, lambda _line: None)


def test_the_table_fits_a_terminal_and_shows_every_slot_count(started: Log) -> None:
    result = bench_parallel(FOUR_SKILLS, [1, 2], True, lambda _line: None)
    screen = io.StringIO()
    render_parallel(result, Console(file=screen, width=80))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    [header] = [line for line in lines if line.startswith("slots")]
    assert header.split() == ["slots", "1", "2"]
    [rates] = [line for line in lines if line.startswith("env steps a second")]
    assert rates.split()[-2:] == ["2,000", "2,000"]
    json.dumps(result)
    assert started()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--slots 0", "Use --slots 1"),
        ("--slots 1 4 --num_skills 7", "Use --num_skills 8"),
        ("--total_timesteps 0", "Use --total_timesteps 1"),
        ("--env_name Minecraft", "--env_name 'Minecraft'"),
    ],
)
def test_bad_input_starts_nothing(
    started: Log, capsys: pytest.CaptureFixture[str], args: str, said: str
) -> None:
    assert cli.main(["bench", "parallel", *args.split()]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        started()


def test_interrupting_it_leaves_no_process() -> None:
    words = [sys.executable, "-m", "flowrl", "bench", "parallel", "--slots", "2", "--cold"]
    command = subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background may have been told to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        children = wait_for(lambda: psutil.Process(command.pid).children(recursive=True))
        os.kill(command.pid, signal.SIGINT)  # the command alone, as a supervisor would; not its children
        _, said = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == 130
    assert "Traceback" not in said
    assert wait_for(lambda: [not child.is_running() for child in children])
    assert not any(child.is_running() for child in children)


def wait_for(look: Callable[[], list[Any]]) -> list[Any]:
    """What ``look`` finds, as soon as it finds something."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        found = look()
        if found and all(found):
            return found
        time.sleep(0.05)
    pytest.fail("nothing came in a minute")
