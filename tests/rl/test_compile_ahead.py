"""Programs compiled in the background: found done, waited for, and no harm when they fail."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest

from flowrl.rl.compiled import compile_ahead, compiled

ROW = jax.ShapeDtypeStruct((4,), jnp.float32)


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Names of the functions that are compiled meanwhile."""
    names: list[str] = []

    def count(event: str, seconds: float, **facts: str | int) -> None:
        del seconds
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(facts.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(count)
    yield names
    jax.monitoring.unregister_event_duration_listener(count)


def test_a_call_finds_the_program_done(compilations: list[str]) -> None:
    """Two programs, the second called first: each is compiled once, and not by its call."""

    def doubled_ahead(row: jax.Array) -> jax.Array:
        return row * 2

    def squared_ahead(row: jax.Array) -> jax.Array:
        return row * row

    doubled, squared = compiled(doubled_ahead), compiled(squared_ahead)
    compile_ahead([(doubled, lambda: [ROW]), (squared, lambda: [ROW])])
    three = jnp.full(4, 3.0, jnp.float32)
    assert squared(three).tolist() == [9.0] * 4
    assert doubled(three).tolist() == [6.0] * 4
    assert doubled(three).tolist() == [6.0] * 4
    ours = [name for name in compilations if "_ahead" in name]
    assert sorted(ours) == ["jit(doubled_ahead)", "jit(squared_ahead)"]


def test_a_call_waits_for_the_background() -> None:
    """It would else compile the same a second time."""
    may_go_on, called = threading.Event(), threading.Event()
    program = compiled(lambda row: row + 1)

    def shapes() -> list[jax.ShapeDtypeStruct]:
        assert may_go_on.wait(30)
        return [ROW]

    def call() -> None:
        program(jnp.zeros(4, jnp.float32))
        called.set()

    compile_ahead([(program, shapes)])
    caller = threading.Thread(target=call)
    caller.start()
    assert not called.wait(0.2)
    may_go_on.set()
    assert called.wait(30)
    caller.join()


def test_what_fails_in_the_background_is_left_to_the_call() -> None:
    def shapes() -> list[jax.ShapeDtypeStruct]:
        raise ValueError("nobody sees this")

    program = compiled(lambda row: row + 1)
    compile_ahead([(program, shapes)])
    assert program(jnp.zeros(4, jnp.float32)).tolist() == [1.0] * 4


def test_a_process_may_end_meanwhile() -> None:
    """Its exit code is its own, and what is not begun is left."""
    code = """
import sys, jax, jax.numpy as jnp
from flowrl.rl.compiled import compile_ahead, compiled

def slow(row):
    for _ in range(300):
        row = jnp.sort(jnp.sin(row)) @ jnp.outer(row, row)
    return row

row = jax.ShapeDtypeStruct((64,), jnp.float32)
compile_ahead([(compiled(slow), lambda: [row]), (compiled(slow), lambda: print("begun"))])
sys.exit(7)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "", "")
