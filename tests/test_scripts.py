"""The scripts for GPUs and clusters: what they start, with a Python and a Slurm that only write it down."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from flowrl.report.commands.bench import ParallelFlags
from flowrl.report.commands.flags import parse_flags

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")

FAKE_PYTHON = """#!/bin/sh
# Runs nothing: answers whether there is a GPU and Ray, and prints what a command was given.
case "$*" in
    -c*) exit {lacks_gpu_or_ray} ;;
    *scripts*status*) test -e "$0.started" ; exit ;;
    *scripts*start*) echo "key: $OPENAI_API_KEY" >&2; echo ray >>"$0.started"; exec sleep 60 ;;
esac
echo "run $*"
echo "key: $OPENAI_API_KEY" >&2
# Ray's steps start in the background: they are given the time to say what they were given.
steps=$((${{SLURM_JOB_NUM_NODES:-0}} > 1 ? 2 : ${{SLURM_JOB_NUM_NODES:-0}}))
until [ "$(cat "$0.started" 2>/dev/null | wc -l)" -ge "$steps" ]; do sleep 0.1; done
exit 5
"""

FAKE_SRUN = """#!/bin/sh
echo "srun $*" >&2
while case "$1" in --*) true ;; *) false ;; esac; do shift; done
exec "$@"
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that comes first on the path."""
    folder = tmp_path / "tools"
    folder.mkdir()
    write(folder / "python", FAKE_PYTHON.format(lacks_gpu_or_ray=0))
    write(folder / "srun", FAKE_SRUN)
    write(folder / "hostname", "#!/bin/sh\necho '192.0.2.7 198.51.100.9'\n")
    return folder


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run(tools: Path, script: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of ``scripts/`` with the fake tools."""
    shell = shutil.which("bash" if script.endswith(".sbatch") else "sh")
    if shell is None:
        pytest.skip("there is no such shell here")
    kept = {
        name: value for name, value in os.environ.items() if name not in ("SLOTS", "CUDA_VISIBLE_DEVICES")
    }
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [shell, str(ROOT / "scripts" / script), *args],
        env={**kept, "PATH": path, "PYTHON": str(tools / "python"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def given(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The words after ``python -m flowrl.bottomup_parallel``; the fake ends with 5."""
    assert done.returncode == 5, done.stderr
    words = done.stdout.split()
    assert words[:3] == ["run", "-m", "flowrl.bottomup_parallel"]
    return words[3:]


def test_one_gpu(tools: Path) -> None:
    assert given(run(tools, "train_gpu.sh", "--max_nodes", "3")) == [
        "--max_parallel_skills", "8", "--max_nodes", "3",
    ]  # fmt: skip
    assert given(run(tools, "train_gpu.sh", SLOTS="2"))[:2] == ["--max_parallel_skills", "2"]


def test_all_gpus_of_a_machine(tools: Path) -> None:
    words = given(run(tools, "train_node.sh", "--seed", "1", CUDA_VISIBLE_DEVICES="0,2,5", SLOTS="2"))
    flags = dict(zip(words[::2], words[1::2], strict=True))
    assert flags.pop("--worker_cpus") >= "1"
    assert flags == {
        "--executor": "ray", "--max_parallel_skills": "6", "--slots_per_worker": "2",
        "--worker_gpus": "1", "--seed": "1",
    }  # fmt: skip


def test_what_is_missing_is_one_line(tools: Path) -> None:
    write(tools / "nvidia-smi", "#!/bin/sh\nexit 9\n")
    said = [
        run(tools, "train_node.sh"),
        run(tools, "train_node.sh", CUDA_VISIBLE_DEVICES=""),
        run(tools, "train_gpu.sh", PYTHON="nowhere/python"),
    ]
    write(tools / "python", FAKE_PYTHON.format(lacks_gpu_or_ray=1))
    said += [run(tools, "train_gpu.sh"), run(tools, "train_node.sh", CUDA_VISIBLE_DEVICES="0")]
    expected = [
        "there is no GPU",
        "there is no GPU",
        "no nowhere/python",
        "JAX sees no GPU",
        "'.[cuda,cluster]'",
    ]
    for done, words in zip(said, expected, strict=True):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("nodes", "skills"), [("1", "8"), ("3", "24")])
def test_a_slurm_job(tools: Path, nodes: str, skills: str) -> None:
    job = {
        "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "123456", "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_PER_TASK": "9", "SLURMD_NODENAME": "first",
    }  # fmt: skip
    done = run(tools, "slurm/train.sbatch", "--max_nodes", "4", OPENAI_API_KEY="sk", **job)
    words = given(done)
    flags = dict(zip(words[::2], words[1::2], strict=True))
    address = flags.pop("--ray_address")
    assert flags == {
        "--executor": "ray", "--max_parallel_skills": skills, "--slots_per_worker": "4", "--worker_gpus": "1",
        "--worker_cpus": "4", "--max_nodes": "4",
    }  # fmt: skip
    host, port = address.split(":")
    assert host == "192.0.2.7"
    # The driver has the key; Ray, which would hand it on to every worker, has not.
    assert re.findall("key: .*", done.stderr).count("key: sk") == 1
    steps = [line for line in done.stderr.splitlines() if line.startswith("srun ")]
    assert f"--nodelist=first --cpus-per-task=9 {tools / 'python'}" in steps[0]
    assert f"--head --node-ip-address={host} --port={port} --num-gpus=2 --num-cpus=9" in steps[0]
    if nodes == "1":
        assert len(steps) == 1
    else:
        assert steps[1].startswith("srun --nodes=2 --ntasks=2 --exclude=first ")
        assert f"start --address={address} " in steps[1]


def test_the_page_names_scripts_and_commands_that_there_are() -> None:
    for name in set(re.findall(r"scripts/[\w./]+", PAGE)):
        assert (ROOT / name).is_file(), name
    [command] = re.findall(r"^flowrl (bench parallel .*)$", PAGE, re.MULTILINE)
    assert (
        parse_flags(ParallelFlags, shlex.split(command)[2:], "flowrl bench parallel").total_timesteps
        == 4_000_000
    )
