"""``make setup`` where the machine is not as it should be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FAKE_PYTHON = """#!/bin/sh
# Answers scripts/setup.sh as a Python {version} would.
case "$*" in
    *"(3, 11)"*) exit {too_old} ;;
    *ensurepip*) exit {lacks_venv} ;;
    *" -m venv"*|"-m venv"*) echo "no room for .venv" >&2; exit 1 ;;
    *) echo {version} ;;
esac
"""


def make_setup(tmp_path: Path, *args: str, **pythons: str) -> subprocess.CompletedProcess[str]:
    """Runs ``make setup`` in a copy of what it needs, with these scripts as the only Pythons."""
    if not shutil.which("make"):
        pytest.skip("there is no make here")
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "scripts"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "make", "grep", "sed", "tail", "touch"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    for name, script in pythons.items():
        (tools / name.replace("_", ".")).write_text(script)
        (tools / name.replace("_", ".")).chmod(0o755)
    environment = {"PATH": str(tools), "HOME": os.environ.get("HOME", "")}
    return subprocess.run(
        ["make", "setup", *args], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )


def fake(version: str, too_old: bool = False, lacks_venv: bool = False) -> str:
    return FAKE_PYTHON.format(version=version, too_old=int(too_old), lacks_venv=int(lacks_venv))


def the_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(done.stderr.splitlines()) <= 2  # and make's own line that the target failed
    return line


def test_no_python_at_all(tmp_path: Path) -> None:
    assert "Python 3.11 or newer" in the_error(make_setup(tmp_path))
    assert not (tmp_path / ".venv").exists()


def test_only_pythons_that_are_too_old(tmp_path: Path) -> None:
    old = fake("3.9.2", too_old=True)
    line = the_error(make_setup(tmp_path, python3=old, python=old))
    assert "python3 is 3.9.2, python is 3.9.2" in line
    assert "PYTHON=" in line


def test_a_named_python_that_is_too_old(tmp_path: Path) -> None:
    old, good = fake("3.10.1", too_old=True), fake("3.12.0")
    line = the_error(make_setup(tmp_path, "PYTHON=python3.10", python3_10=old, python3=good))
    assert "python3.10 is 3.10.1" in line


def test_a_python_without_venv(tmp_path: Path) -> None:
    line = the_error(make_setup(tmp_path, python3=fake("3.12.0", lacks_venv=True)))
    assert "python3-venv" in line


def test_the_first_that_is_new_enough_is_taken_and_its_failure_told(tmp_path: Path) -> None:
    old, good = fake("3.9.2", too_old=True), fake("3.13.1")
    done = make_setup(tmp_path, python3=old, python=old, python3_13=good, python3_12=fake("3.12.0"))
    assert "Making .venv with python3.13 (3.13.1)" in done.stdout
    assert the_error(done) == "error: python3.13 cannot make .venv: no room for .venv"
