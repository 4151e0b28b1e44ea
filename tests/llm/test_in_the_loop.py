"""The main job with a language model: the real command, the real openai client, a real HTTP server.

One graph of two skills is learned once for all tests here, then replayed, rewound and gone on with. One
worker runs them all: what takes long is compiling, and all of them need the same programs.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from loopback import KEY, WORLD, LoopbackServer, echoes_the_key, status

from flowrl.llm.recorder import read_records
from flowrl.store.journal import read_journal
from flowrl.store.manifest import read_graph

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("in_the_loop")]

SMALL = {
    "--num_envs": "64",
    "--num_steps": "16",
    "--layer_size": "64",
    "--start_states": "64",
    "--validation_episodes": "64",
    "--total_timesteps": "4e5",
    "--success_state_rate": "0.4",
}
"""Sizes at which two skills take half a minute; what is asked of models does not depend on them."""

NO_NETWORK = """
import socket

def refuse(*_):
    raise RuntimeError("this run has no network")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def bottomup(
    graph_path: Path,
    *flags: str,
    server: LoopbackServer | None,
    wandb: bool = False,
    refine: bool = False,
    module: str = "flowrl.bottomup",
) -> Done:
    """``python -m flowrl.bottomup`` on ``graph_path``; without a server it has neither key nor network."""
    environment = dict(os.environ)
    if server is not None:
        environment |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
    else:
        (graph_path.parent / "no_network").mkdir(exist_ok=True)
        (graph_path.parent / "no_network" / "sitecustomize.py").write_text(NO_NETWORK)
        environment["PYTHONPATH"] = str(graph_path.parent / "no_network")
    command = [sys.executable, "-m", module, "--env_name", WORLD, "--graph-path", str(graph_path)]
    command += [*itertools.chain(*SMALL.items()), "--use_wandb" if wandb else "--no-use_wandb", *flags]
    # A model's analyst is left out: how often it is asked depends on what training gave.
    command += ["--refine" if refine else "--no-refine"]
    # Away from the repository: a .env of the person who runs the tests must not be found.
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, cwd=graph_path.parent
    )
    return Done(done.returncode, done.stdout, done.stderr)


def summary(graph_path: Path) -> dict[str, Any]:
    """What ``flowrl status --json`` says."""
    command = [sys.executable, "-m", "flowrl", "status", "--json", "--graph-path", str(graph_path)]
    shown: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return shown


def files_with(secret: str, folder: Path) -> list[Path]:
    """All files below ``folder`` in which ``secret`` occurs."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.fixture
def server(playbook_folder: Path) -> Iterator[LoopbackServer]:
    """A server that answers from the playbook. This process itself gets no key."""
    with LoopbackServer(playbook_folder) as loopback:
        yield loopback


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graph ``graph`` that the README's command made, and what it said; never changed."""
    root = tmp_path_factory.mktemp("in_the_loop")
    playbook = Path(str(resources.files("flowrl.llm") / "playbook" / WORLD))
    with LoopbackServer(playbook) as loopback:
        run = bottomup(
            root / "graph", "--llm_name", "gpt-4o-mini", "--max_nodes", "2", server=loopback, wandb=True
        )
        asked = [[request.model, request.authorization] for request in loopback.requests]
    (root / "run.json").write_text(
        json.dumps({"code": run.code, "out": run.out, "err": run.err, "asked": asked})
    )
    return root


@pytest.fixture
def graph_path(learned: Path, tmp_path: Path) -> Path:
    """A copy of the learned graph, to go on with."""
    return Path(shutil.copytree(learned / "graph", tmp_path / "graph"))


def test_the_command_of_the_readme_learns_two_skills(learned: Path) -> None:
    run = json.loads((learned / "run.json").read_text())
    assert run["code"] == 0, run["err"]
    # Three questions a skill: which, its operator, its functions.
    assert run["asked"] == [["gpt-4o-mini", f"Bearer {KEY}"]] * 6
    shown = summary(learned / "graph")
    assert [node["name"] for node in shown["nodes"]] == ["collect_wood", "place_table"]
    assert shown["failures"] == []
    assert all(node["success_low"] >= 0.4 for node in shown["nodes"])
    for node in shown["nodes"]:
        assert (node["llm"]["proposer"], node["llm"]["coder"]) == ("gpt-4o-mini", "gpt-4o-mini")
        assert node["llm"]["wrote"] == dict.fromkeys(("skill", "operator", "code"), "gpt-4o-mini")
        total = node["llm"]["total"]
        assert (total["calls"], total["prompt_tokens"], total["completion_tokens"]) == (3, 300, 60)
        # gpt-4o-mini costs $0.15 and $0.60 for a million tokens in and out: (300 * 0.15 + 60 * 0.6) / 1e6
        assert total["usd"] == pytest.approx(81e-6)
    assert shown["llm"]["total"]["usd"] == pytest.approx(162e-6)
    assert shown["llm"]["by_skill"]["place_table"]["calls"] == 3


def test_the_key_is_nowhere_on_disk_or_screen(learned: Path) -> None:
    assert (learned / "graph" / "wandb").is_dir()
    assert (learned / "graph" / "journal.jsonl").is_file()
    assert files_with(KEY, learned / "graph") == []
    run = json.loads((learned / "run.json").read_text())
    assert KEY not in run["out"] + run["err"]


def test_a_recorded_run_replays_to_the_same_graph_without_a_network(learned: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    replay = f"replay_{learned / 'graph'}"
    run = bottomup(again, "--llm_name", replay, "--max_nodes", "2", server=None)
    assert run.code == 0, run.err
    first, second = summary(learned / "graph"), summary(again)
    same = ("name", "description", "requires", "consumes", "gains", "plan", "max_steps", "max_repeat")
    for one, other in zip(first["nodes"], second["nodes"], strict=True):
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
        assert other["llm"]["coder"] == replay
        assert other["llm"]["total"]["cost"] == "free"
    assert first["edges"] == second["edges"]
    assert second["failures"] == []


def test_the_playbook_goes_on_with_it_and_what_does_not_fit_is_refused(graph_path: Path) -> None:
    before = read_graph(graph_path, WORLD)
    last = read_journal(graph_path / "journal.jsonl")[-1]
    assert (last["kind"], last["accepted"]) == ("RunFinished", 2)
    for flags, said in {
        "--max_nodes 9 --current_i 7": "holds 2 nodes",
        "--max_nodes 9 --layer_size 16": "Give --layer_size 64",
    }.items():
        refused = bottomup(graph_path, "--llm_name", "playbook", *flags.split(), server=None)
        assert refused.code == 2
        error = refused.err.splitlines()[-1]
        assert error.startswith("error: ")
        assert said in error
    assert read_graph(graph_path, WORLD) == before

    run = bottomup(graph_path, "--llm_name", "playbook", "--max_nodes", "3", refine=True, server=None)
    assert run.code == 0, run.err
    assert "accepted 2 make_wood_pickaxe" in run.out + run.err
    after = read_graph(graph_path, WORLD)
    assert after.nodes[:2] == before.nodes
    node = after.nodes[2]
    assert (node.name, node.llm["proposer"]) == ("make_wood_pickaxe", "playbook")
    assert [skill for skill, _ in node.plan] == ["collect_wood", "place_table"]
    assert node.evidence.episodes == 64
    assert node.evidence.success_low >= 0.4


def test_the_graph_plays_whole_episodes(learned: Path, tmp_path: Path) -> None:
    plot = tmp_path / "achievements.png"
    command = [sys.executable, "-m", "flowrl", "evaluate", "--graph-path", str(learned / "graph")]
    command += ["--episodes", "40", "--max_steps", "60", "--json", "--plot", str(plot)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert (measured["episodes"], len(measured["achievements"])) == (40, 22)
    assert measured["achievements"]["collect_wood"]["rate"] > 0.4
    assert measured["achievements"]["collect_diamond"]["rate"] == 0
    targets = measured["targets"]
    assert list(targets) == ["achievement:collect_wood", "achievement:place_table"]
    for target in targets.values():
        assert sum(target["stuck_at"].values()) == pytest.approx(1 - target["reached"])
        assert set(target["stuck_at"]) <= {"collect_wood", "place_table"}
    assert set(measured["skills"]) == {"collect_wood", "place_table"}
    assert sum(measured["deaths"].values()) == pytest.approx(measured["died"])
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_parallel_command_with_four_slots_and_wandb(tmp_path: Path, server: LoopbackServer) -> None:
    """The cluster page's command, shortened: several conversations at a time, one wandb run a skill."""
    graph = tmp_path / "graph"
    run = bottomup(
        graph, "--llm_name", "gpt-5", "--max_nodes", "2", "--max_parallel_skills", "4",
        server=server, wandb=True, module="flowrl.bottomup_parallel",
    )  # fmt: skip
    assert run.code == 0, run.err
    shown = summary(graph)
    names = [node["name"] for node in shown["nodes"]]
    assert len(set(names)) == 2
    assert names[0] == "collect_wood"
    assert all(node["llm"]["coder"] == "gpt-5" for node in shown["nodes"])
    asked = shown["llm"]["by_model"]["gpt-5"]
    assert asked["requests"] == len(server.requests) >= 3 * 2
    tracked = {path.name for path in (graph / "wandb").glob("offline-run-*")}
    assert len(tracked) >= 2
    assert files_with(KEY, graph) == []
    assert KEY not in run.out + run.err


def test_two_models_by_role_and_the_fallback_when_the_first_is_down(
    graph_path: Path, server: LoopbackServer
) -> None:
    # It asks for more patience than flowrl has, which ends the retries at once.
    server.by_model["gpt-4o"] = status(503, retry_after="600")
    run = bottomup(
        graph_path, "--llm_name", "gpt-4o", "--llm_fallback", "gpt-4o-mini",
        "--llm_role", "coder=gpt-4.1-mini", "--max_nodes", "2", "--current_i", "1", server=server,
    )  # fmt: skip
    assert run.code == 0, run.err
    assert "gpt-4o-mini answers instead" in run.err
    assert [request.model for request in server.requests] == [
        "gpt-4o", "gpt-4o-mini", "gpt-4o-mini", "gpt-4.1-mini",
    ]  # fmt: skip
    shown = summary(graph_path)
    node = shown["nodes"][1]
    assert (node["name"], node["llm"]["proposer"]) == ("place_table", "gpt-4o-mini")
    assert node["llm"]["wrote"] == {
        "skill": "gpt-4o-mini",
        "operator": "gpt-4o-mini",
        "code": "gpt-4.1-mini",
    }
    assert node["llm"]["total"]["failed_requests"] == 1
    # 9 calls in all: those of the node that was archived are still paid for.
    assert {model: total["calls"] for model, total in shown["llm"]["by_model"].items()} == {
        "gpt-4o-mini": 8,
        "gpt-4.1-mini": 1,
    }


def test_budgets_end_the_run_and_a_cheaper_model_takes_it_up(
    graph_path: Path, server: LoopbackServer
) -> None:
    # gpt-5: (100 * 1.25 + 20 * 10) / 1e6 = $0.000325 a call, so two calls are over the budget.
    first = bottomup(
        graph_path, "--llm_name", "gpt-5", "--max_llm_usd", "0.0005", "--max_nodes", "2", "--current_i", "1",
        server=server,
    )  # fmt: skip
    assert first.code == 3
    assert "error: This run has spent $0.0006 on models; --max_llm_usd allows $0.0005." in first.err
    assert [request.model for request in server.requests] == ["gpt-5"] * 2
    assert [node["name"] for node in summary(graph_path)["nodes"]] == ["collect_wood"]

    # Three calls are one skill; the next skill's first call is one too many.
    cheap = bottomup(
        graph_path, "--llm_name", "gpt-4o-mini", "--max_llm_calls", "3", "--max_nodes", "3", server=server
    )
    assert cheap.code == 3, cheap.err
    assert "error: This run has sent 3 requests to language models" in cheap.err
    assert "--max_llm_calls" in cheap.err
    assert [request.model for request in server.requests[2:]] == ["gpt-4o-mini"] * 3
    shown = summary(graph_path)
    assert [node["name"] for node in shown["nodes"]] == ["collect_wood", "place_table"]
    assert shown["nodes"][1]["llm"]["coder"] == "gpt-4o-mini"
    # What the stopped run spent is in the total; what a budget kept back was no request.
    assert shown["llm"]["by_model"]["gpt-5"]["usd"] == pytest.approx(2 * 325e-6)
    assert shown["llm"]["total"]["requests"] == 6 + 2 + 3
    assert len(read_records(graph_path / "llm")) == 6 + 3 + 4


def test_a_refused_key_ends_the_run_in_one_line_without_showing_it(
    graph_path: Path, server: LoopbackServer
) -> None:
    server.by_model["gpt-4o"] = echoes_the_key
    run = bottomup(graph_path, "--llm_name", "gpt-4o", "--max_nodes", "3", server=server)
    assert run.code == 2
    assert run.err == "error: gpt-4o: the server refused the key (401). Check OPENAI_API_KEY.\n"
    assert KEY not in run.out
    assert files_with(KEY, graph_path) == []
    assert len(summary(graph_path)["nodes"]) == 2
