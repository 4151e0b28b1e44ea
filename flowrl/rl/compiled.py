"""Compiling for one device, once for each shape; in the background where there is something else to do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding


@jax.jit
def split_key(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``(the next key, one to use now)``, as one small program."""
    parts = jax.random.split(key)
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
    meanwhile waits for the program at hand, which the compilation cache then has: cut short, XLA crashes.
    """
    done = [threading.Event() for _ in programs]
    for (program, _), event in zip(programs, done, strict=True):
        program.expect(event)

    def work() -> None:
        for (program, shapes), event in zip(programs, done, strict=True):
            try:
                if threading.main_thread().is_alive():
                    with contextlib.suppress(Exception):
                        program.compile(*shapes())
            finally:
                event.set()

    threading.Thread(target=work, name="compile ahead").start()
