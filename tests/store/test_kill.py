"""``kill -9`` at random instants: no accepted node lost or doubled, no file unreadable, and it goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from samples import assert_sound

KILLS = 20
COMMITTER = Path(__file__).with_name("committer.py")


def kill_one_run(path: Path, delay: float, after: str) -> list[str]:
    """Starts a run, kills it ``delay`` seconds after it says ``after``, and returns what it said."""
    said: list[str] = []
    with subprocess.Popen([sys.executable, COMMITTER, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip("\n"))
            if line.startswith(after):
                break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().split("\n")
    assert process.returncode == -signal.SIGKILL, said[-5:]
    # A line that the kill cut short has no newline after it, so it is the last one.
    return said[:-1] if len(said) > 1 else said


def states(said: list[str]) -> list[tuple[str, ...]]:
    """The graphs that the disk may hold: the last one that was there, and the one on the way, if any."""
    lines = [line for line in said if line.startswith(("is", "will"))]
    return [tuple(filter(None, line.partition(" ")[2].split(","))) for line in lines[-2:]]


def test_killed_at_random_instants(tmp_path: Path) -> None:
    instants = random.Random(7)
    path = tmp_path / "graph"
    committed = 0
    for number in range(KILLS):
        # Every fourth one dies while it opens: there it repairs what the last one left.
        opening = number % 4 == 3
        said = kill_one_run(
            path, instants.uniform(0.0, 0.02 if opening else 0.1), "opening" if opening else "is"
        )
        if (path / "graph.json").exists():
            names = assert_sound(path).names
            assert len(set(names)) == len(names)
            if not opening:
                assert names in states(said), (names, said[-3:])
            committed += sum(line.startswith("is") for line in said)
    assert committed > KILLS, "the runs were killed before they did anything"
