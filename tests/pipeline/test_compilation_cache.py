"""A compilation cache that a kill tore must not cost a start more than once."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from flowrl.pipeline import compilation_cache
from flowrl.pipeline.compilation_cache import remove_torn_entries

WHOLE = zlib.compress(b"program" * 1000)

COMPILE = """
import jax, jax.numpy as jnp
from flowrl.pipeline.compilation_cache import use_compilation_cache
use_compilation_cache()
print(jax.jit(lambda x: jnp.sin(x) * 3)(1.0))
"""


def write(folder: Path, name: str, data: bytes, age_s: float = 0.0) -> Path:
    path = folder / name
    path.write_bytes(data)
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return path


def test_torn_entries_go_and_everything_else_stays(tmp_path: Path) -> None:
    torn = write(tmp_path, "jit_a-cache", WHOLE[:-5])
    empty = write(tmp_path, "jit_b-cache", b"")
    whole = write(tmp_path, "jit_c-cache", WHOLE)
    other_format = write(tmp_path, "jit_d-cache", b"\x28\xb5\x2f\xfd...")
    not_ours = write(tmp_path, "notes.txt", b"")
    assert sorted(remove_torn_entries(tmp_path)) == [torn.name, empty.name]
    assert whole.exists()
    assert other_format.exists()
    assert not_ours.exists()


def test_an_entry_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "jit_a-cache", WHOLE, age_s=60)
    remove_torn_entries(tmp_path)
    read: list[bytes] = []
    monkeypatch.setattr(compilation_cache, "_is_torn", lambda data: bool(read.append(data)))
    remove_torn_entries(tmp_path)
    assert read == []
    write(tmp_path, "jit_b-cache", WHOLE)
    remove_torn_entries(tmp_path)
    assert read == [WHOLE]


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert remove_torn_entries(tmp_path / "nowhere") == []


def run_once(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


def test_a_process_after_a_torn_write_is_silent_and_mends_the_cache(tmp_path: Path) -> None:
    run_once(tmp_path)
    [entry] = [path for path in tmp_path.glob("*-cache") if "lambda" in path.name]
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    second = run_once(tmp_path)
    assert "compilation cache" not in second.stderr
    assert len(entry.read_bytes()) == pytest.approx(len(whole), rel=0.1)
