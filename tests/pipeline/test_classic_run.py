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


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of two skills, learned on the command line."""
    path = tmp_path_factory.mktemp("classic") / "graph"
    done = bottomup(path, "--max_nodes", "2")
    assert done.returncode == 0, done.stderr
    assert "accepted 1 place_table" in done.stdout + done.stderr
    return path


@pytest.mark.slow
def test_the_command_learns_and_the_same_command_goes_on(learned: Path) -> None:
    before = read_graph(learned, CLASSIC)
    assert before.names == ("collect_wood", "place_table")
    assert before.nodes[1].plan == (("collect_wood", 2),)
    for node in before.nodes:
        assert node.evidence.episodes == 64
        assert node.evidence.success_low >= 0.3
        assert node.llm["proposer"] == "playbook"
    assert {"kind": "RunFinished", "accepted": 2}.items() <= read_journal(learned / "journal.jsonl")[
        -1
    ].items()
    assert list((learned / "llm").iterdir())

    again = bottomup(learned, "--max_nodes", "3")
    assert again.returncode == 0, again.stderr
    after = read_graph(learned, CLASSIC)
    assert after.nodes[:2] == before.nodes
    assert after.nodes[2].name == "make_wood_pickaxe"
    assert [skill for skill, _ in after.nodes[2].plan] == ["collect_wood", "place_table"]

    status = subprocess.run(
        [sys.executable, "-m", "flowrl", "status", "--graph-path", str(learned), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown: dict[str, Any] = json.loads(status.stdout)
    assert [node["name"] for node in shown["nodes"]] == list(after.names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--max_nodes 9 --current_i 7", "holds"),
        ("--max_nodes 9 --layer_size 16", "Give --layer_size 32"),
    ],
)
def test_what_does_not_fit_the_graph_is_one_line_and_exit_2(learned: Path, flags: str, said: str) -> None:
    before = read_graph(learned, CLASSIC)
    done = bottomup(learned, *flags.split())
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert read_graph(learned, CLASSIC) == before
