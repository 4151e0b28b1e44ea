"""Kills a bottom-up run with ``kill -9`` at random instants, starts it again each time, and checks the graph.

    python scripts/kill_test.py --kills 20 --graph-path /tmp/killed

Every other kill comes at any time, the others shortly after a validation began, when a node is about to be
written. Each time it checks what is left: no accepted node lost, none doubled, no file unreadable.
After the last kill the same command must finish. Exit code 0 when all of that held, 1 when not.
What the runs themselves print is in ``runs.log`` next to the graph.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flowrl.errors import FlowrlError
from flowrl.store.graph_store import GraphStore
from flowrl.store.journal import read_journal

ENV_NAME = "Craftax-Classic-Symbolic-v1"
SMALL = (
    "--num_envs 32 --num_steps 16 --layer_size 32 --start_states 64 --max_repeat 1 "
    "--validation_episodes 64 --success_state_rate 0.3 --total_timesteps 1e5 --max_consecutive_failures 20"
)
"""Sizes with which a skill of the playbook takes seconds on two cores."""


@dataclass(frozen=True)
class Instant:
    """When to kill: so many seconds after the start, or after the first validation began."""

    after_s: float
    of_validation: bool = False


@dataclass(frozen=True)
class Kill:
    """One run that was killed: after how many seconds, and the accepted nodes before and after it."""

    after_s: float
    before: tuple[str, ...]
    after: tuple[str, ...]
    finished: bool


class Broken(Exception):
    """The graph is not what it must be; says how."""


def nodes_of(path: Path) -> list[dict[str, object]]:
    """The nodes that ``graph.json`` names; none when there is no graph yet.

    Raises:
        Broken: when it cannot be read.
    """
    file = path / "graph.json"
    if not file.exists():
        return []
    try:
        nodes: list[dict[str, object]] = json.loads(file.read_text(encoding="utf-8"))["nodes"]
    except (OSError, ValueError, KeyError) as error:
        raise Broken(f"{file} cannot be read: {error!r}") from None
    return nodes


def check_nothing_lost(before: list[dict[str, object]], after: list[dict[str, object]]) -> None:
    """The graph before is the beginning of the graph after, and no name is there twice.

    Raises:
        Broken: when not.
    """
    if after[: len(before)] != before:
        raise Broken(f"accepted nodes were lost or changed: {names(before)} became {names(after)}")
    if len(set(names(after))) != len(after):
        raise Broken(f"an accepted node is there twice: {names(after)}")


def check_every_file(path: Path, env_name: str) -> None:
    """Opens a copy of the graph as the next run would, and reads all that is in it.

    Raises:
        Broken: naming the file.
    """
    if not (path / "graph.json").exists():
        return
    copy = path.with_name(path.name + ".copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    try:
        with GraphStore.open(copy, env_name, create=False) as store:
            for node in store.graph.nodes:
                store.load_node(node.index)
                store.load_start_states(node.index)
                store.load_curves(node.index)
        read_journal(copy / "journal.jsonl")
    except FlowrlError as error:
        raise Broken(str(error).replace(str(copy), str(path))) from None
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def kill_run(command: Sequence[str], path: Path, instant: Instant, log: IO[bytes]) -> Kill:
    """Starts ``command`` and kills it at ``instant``, unless it is done before.

    Raises:
        Broken: it failed by itself, or the graph lost a node.
    """
    before = nodes_of(path)
    began = time.monotonic()
    with subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            if instant.of_validation:
                wait_for_validation(process, path / "journal.jsonl")
            process.wait(instant.after_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    code = process.returncode
    if code not in (0, -signal.SIGKILL):
        raise Broken(f"a run ended by itself with exit code {code}; see {log.name}")
    after = nodes_of(path)
    check_nothing_lost(before, after)
    return Kill(time.monotonic() - began, names(before), names(after), code == 0)


def wait_for_validation(process: subprocess.Popen[bytes], journal: Path) -> None:
    """Returns when the run says that it validates, or has ended."""
    seen = journal.stat().st_size if journal.exists() else 0
    while process.poll() is None:
        if journal.exists() and b'"validate"' in journal.read_bytes()[seen:]:
            return
        time.sleep(0.05)


def finish_run(command: Sequence[str], path: Path, max_nodes: int, log: IO[bytes]) -> Kill:
    """The same command, left alone.

    Raises:
        Broken: it fails, or ends with another number of nodes.
    """
    before = nodes_of(path)
    began = time.monotonic()
    code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    after = nodes_of(path)
    check_nothing_lost(before, after)
    if code != 0 or len(after) != max_nodes:
        raise Broken(f"the last run ended with exit code {code} and {len(after)} nodes; see {log.name}")
    return Kill(time.monotonic() - began, names(before), names(after), True)


def names(nodes: list[dict[str, object]]) -> tuple[str, ...]:
    """The names of nodes."""
    return tuple(str(node["name"]) for node in nodes)


def kill_test(
    command: Sequence[str], path: Path, env_name: str, max_nodes: int, instants: Sequence[Instant]
) -> int:
    """Kills ``command`` once at each of ``instants``, lets it finish, and prints what happened.

    Whenever it finishes in between, its graph is moved aside and a new one is begun, so that every kill
    meets a run at work.

    Returns:
        The exit code.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"{'kill':>5} {'seconds':>8} {'nodes before':>13} {'nodes after':>12}  last node", flush=True)
    with path.with_name("runs.log").open("ab") as log:
        try:
            for number, instant in enumerate(instants, start=1):
                kill = kill_run(command, path, instant, log)
                check_every_file(path, env_name)
                show(str(number), kill)
                if kill.finished:
                    path.rename(path.with_name(f"{path.name}.finished-{number}"))
            show("end", finish_run(command, path, max_nodes, log))
            check_every_file(path, env_name)
        except Broken as broken:
            print(f"FAILED: {broken}", flush=True)
            return 1
    print(f"ok: {len(instants)} kills, no node lost or doubled, every file readable, the run finished")
    return 0


def show(label: str, kill: Kill) -> None:
    """One line of the table."""
    last = kill.after[-1] if kill.after else "-"
    note = " (it had finished)" if kill.finished and label != "end" else ""
    print(
        f"{label:>5} {kill.after_s:>8.1f} {len(kill.before):>13} {len(kill.after):>12}  {last}{note}",
        flush=True,
    )


def main() -> int:
    """Parses the flags and runs the test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many runs are killed (default: 20)")
    parser.add_argument("--first", type=float, default=1.0, help="earliest kill, seconds (default: 1)")
    parser.add_argument("--last", type=float, default=40.0, help="latest kill, seconds (default: 40)")
    parser.add_argument(
        "--validating", type=float, default=6.0, help="what a validation and its commit take (default: 6)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default: 0)")
    parser.add_argument("--max_nodes", type=int, default=5, help="nodes of the graph (default: 5)")
    parser.add_argument("--graph-path", type=Path, default=Path("exp/kill_test/graph"), help="a new folder")
    parser.add_argument("--flags", default=SMALL, help=f"more flags of bottomup (default: {SMALL})")
    asked = parser.parse_args()
    if asked.graph_path.exists():
        parser.error(f"--graph-path {str(asked.graph_path)!r} exists. Give a folder that does not.")
    command = [
        sys.executable, "-m", "flowrl.bottomup", "--env_name", ENV_NAME, "--llm_name", "playbook",
        "--no-use_wandb", "--max_nodes", str(asked.max_nodes), "--graph-path", str(asked.graph_path),
        *asked.flags.split(),
    ]  # fmt: skip
    print(" ".join(command))
    dice = random.Random(asked.seed)
    instants = [
        Instant(dice.uniform(0.0, asked.validating), True)
        if number % 2
        else Instant(dice.uniform(asked.first, asked.last))
        for number in range(asked.kills)
    ]
    return kill_test(command, asked.graph_path, ENV_NAME, asked.max_nodes, instants)


if __name__ == "__main__":
    sys.exit(main())
