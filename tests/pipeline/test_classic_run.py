"""The real game through the real command line: learn, look, go on, and be told what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrl.store.journal import read_journal
from flowrl.store.manifest import read_graph

CLASSIC = "Craftax-Classic-Symbolic-v1"
SMALL = """
    --env_name Craftax-Classic-Symbolic-v1 --llm_name playbook --no-use_wandb --num_envs 32 --num_steps 16
    --layer_size 32 --start_states 64 --max_repeat 1 --validation_episodes 64 --success_state_rate 0.3
    --total_timesteps 1e5
"""


def bottomup(path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowrl.bottomup", *SMALL.split(), "--graph-path", str(path), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.slow
def test_the_command_learns_the_same_command_goes_on_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    # One test, so that one worker learns the graph.
    path = tmp_path / "graph"
    first = bottomup(path, "--max_nodes", "2", "--no-refine")
    assert first.returncode == 0, first.stderr
    assert "accepted 1 place_table" in first.stdout + first.stderr
    before = read_graph(path, CLASSIC)
    assert before.names == ("collect_wood", "place_table")
    assert [skill for skill, _ in before.nodes[1].plan] == ["collect_wood"]
    for node in before.nodes:
        assert node.evidence.episodes == 64
        assert node.evidence.success_low >= 0.3
        assert node.llm["proposer"] == "playbook"
    last = read_journal(path / "journal.jsonl")[-1]
    assert (last["kind"], last["accepted"]) == ("RunFinished", 2)
    assert list((path / "llm").iterdir())

    refused(path, "--max_nodes 9 --current_i 7", "holds 2 nodes")
    refused(path, "--max_nodes 9 --layer_size 16", "Give --layer_size 32")
    assert read_graph(path, CLASSIC) == before

    again = bottomup(path, "--max_nodes", "3")
    assert again.returncode == 0, again.stderr
    after = read_graph(path, CLASSIC)
    assert after.nodes[:2] == before.nodes
    assert after.nodes[2].name == "make_wood_pickaxe"
    assert [skill for skill, _ in after.nodes[2].plan] == ["collect_wood", "place_table"]

    status = subprocess.run(
        [sys.executable, "-m", "flowrl", "status", "--graph-path", str(path), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown: dict[str, Any] = json.loads(status.stdout)
    assert [node["name"] for node in shown["nodes"]] == list(after.names)


def refused(path: Path, flags: str, said: str) -> None:
    """The command ends with exit code 2 and one line that says ``said``."""
    done = bottomup(path, *flags.split())
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error
