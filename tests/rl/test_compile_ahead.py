"""Programs compiled in the background: found done, waited for, and no harm when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
from probe_games import CoinGame

from flowrl.report.bench_slots import compilations
from flowrl.rl.compiled import compile_ahead, compiled
from flowrl.rl.environment import EnvPrograms

ROW = jax.ShapeDtypeStruct((4,), jnp.float32)


def test_a_call_finds_the_program_done() -> None:
    """Two programs, the second called first: each is compiled once, and not by its call."""

    def doubled_ahead(row: jax.Array) -> jax.Array:
        return row * 2

    def squared_ahead(row: jax.Array) -> jax.Array:
        return row * row

    doubled, squared = compiled(doubled_ahead), compiled(squared_ahead)
    with compilations() as names:
        compile_ahead([(doubled, lambda: [ROW]), (squared, lambda: [ROW])])
        three = jnp.full(4, 3.0, jnp.float32)
        assert squared(three).tolist() == [9.0] * 4
        assert doubled(three).tolist() == [6.0] * 4
        assert doubled(three).tolist() == [6.0] * 4
    assert (names["doubled_ahead"], names["squared_ahead"]) == (1, 1)


def test_the_envs_programs_are_found_done() -> None:
    """The shapes that are foreseen are those of the calls: each is compiled once."""
    programs = EnvPrograms(CoinGame(), 8)
    with compilations() as names:
        compile_ahead(programs.ahead())
        fresh = programs.fresh(jax.random.key(0), 8)
        programs.advance(fresh.states, jnp.zeros(8, jnp.int32), jax.random.key(1))
    assert (names["_generate_chunk"], names["_advance_batch"]) == (1, 1)


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


SLOW = """
import sys
import jax, jax.numpy as jnp
from flowrl.rl.compiled import compile_ahead, compiled

def slow(row):
    for _ in range(40):
        row = jnp.sort(jnp.sin(row)) @ jnp.outer(row, row)
    return row

row = jax.ShapeDtypeStruct((64,), jnp.float32)
compile_ahead([(compiled(slow), lambda: [row]), (compiled(slow), lambda: print("begun"))])
"""
"""Some seconds of compiling, then more that is not begun when the process ends before."""


def ended(code: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a Python process without a compilation cache."""
    environment = {name: text for name, text in os.environ.items() if "COMPILATION_CACHE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment
    )
    return done.returncode, done.stdout, done.stderr


def test_a_process_may_end_meanwhile() -> None:
    """Its exit code is its own, and what is not begun is left."""
    assert ended(f"{SLOW}\nsys.exit(7)") == (7, "", "")


def test_who_does_not_wait_for_the_compiler_interrupts_once_more() -> None:
    """The interrupt comes when the process says that it waits, and what it waits for never ends."""
    code = """
import signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from flowrl.rl.compiled import compile_ahead, compiled, finish_threads

compile_ahead([(compiled(lambda row: row), threading.Event().wait)])
finish_threads()
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "waiting for JAX to finish; Ctrl-C ends at once\n"
            process.send_signal(signal.SIGINT)
            assert process.stderr.read() == ""
        finally:
            process.kill()
            killer.cancel()
    assert process.returncode == 130
