"""Compiling for one device, once for each shape; in the background where there is something else to do."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding


@jax.jit
def split_key(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``(the next key, one to use now)``, as one small program."""
    parts = jax.random.split(key)
    return parts[0], parts[1]


@jax.jit
def step_keys(key: jax.Array, step: int) -> tuple[jax.Array, jax.Array]:
    """``(to choose actions with, to step envs with)`` in one step of what ``key`` is for."""
    parts = jax.random.split(jax.random.fold_in(key, step))
    return parts[0], parts[1]


class Program:
    """``jax.jit`` with the device named for every argument; positional arguments only.

    Results of a ``jax.export``ed program are committed to their device, fresh arrays are not, and plain
    ``jit`` compiles once more for every mix of the two: measured, three times the env's step and PPO.

    Args:
        function: of arrays and pytrees of arrays.
        donate: positions of the arguments whose memory the results may take.
    """

    def __init__(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> None:
        device = SingleDeviceSharding(jax.devices()[0])
        self.jitted = jax.jit(function, donate_argnums=donate, in_shardings=device, out_shardings=device)
        self._ahead: threading.Event | None = None

    def __call__(self, *args: Any) -> Any:
        """Waits for what is compiled in the background: two would else compile the same."""
        if self._ahead is not None:
            self._ahead.wait()
            self._ahead = None
        return self.jitted(*args)

    def compile(self, *shapes: Any) -> None:
        """Compiles for arguments of these shapes (``jax.ShapeDtypeStruct``); a call then finds it done."""
        self.jitted.lower(*shapes).compile()

    def expect(self, ready: threading.Event) -> None:
        """Calls wait for ``ready``, which whoever compiles it in the background sets."""
        self._ahead = ready


def compiled(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Program:
    """The :class:`Program` of a function."""
    return Program(function, donate)


Ahead = tuple[Program, Callable[[], Sequence[Any]]]
"""A program, and what gives the shapes of its arguments."""


def compile_ahead(programs: Sequence[Ahead]) -> None:
    """Compiles programs one after the other, in the background: an env's step takes many seconds.

    What fails there fails again where the program is called, and is reported there. A process that ends
    meanwhile has to :func:`finish_threads`.
    """
    done = [threading.Event() for _ in programs]
    for (program, _), event in zip(programs, done, strict=True):
        program.expect(event)

    def work() -> None:
        for (program, shapes), event in zip(programs, done, strict=True):
            try:
                if threading.main_thread().is_alive() and not _ending.is_set():
                    with contextlib.suppress(Exception):
                        program.compile(*shapes())
            finally:
                event.set()

    threading.Thread(target=work, name=_COMPILES).start()


def run_aside(function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Calls a function on another thread. A process that ends meanwhile has to :func:`finish_threads`."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name=_RUNS).start()
    return future


_COMPILES, _RUNS = "flowrl compiles ahead", "flowrl runs aside"
_ending = threading.Event()


def finish_threads() -> None:
    """Waits for what is compiled or run on other threads, if anything is: XLA crashes when it is cut off.

    Whoever cannot wait interrupts once more; then the process ends at once, with 130.
    """
    threads = [thread for thread in threading.enumerate() if thread.name in (_COMPILES, _RUNS)]
    _ending.set()
    try:
        for thread in threads:
            thread.join(0.5)
            if thread.is_alive():
                print("waiting for JAX to finish; Ctrl-C ends at once", file=sys.stderr, flush=True)
                thread.join()
    except KeyboardInterrupt:
        os._exit(130)
    finally:
        _ending.clear()
