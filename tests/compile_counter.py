"""Which programs XLA compiles while a block runs."""

from __future__ import annotations

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Iterator

import jax

_COMPILED = re.compile(r"Finished XLA compilation of jit\((.*?)\) in")


class _Names(logging.Handler):
    def __init__(self, names: Counter[str]) -> None:
        super().__init__()
        self._names = names

    def emit(self, record: logging.LogRecord) -> None:
        found = _COMPILED.match(record.getMessage())
        if found:
            self._names[found[1]] += 1


@contextlib.contextmanager
def compiled_programs() -> Iterator[Counter[str]]:
    """Counts compilations by the name of the jitted function; those from the persistent cache count too."""
    names: Counter[str] = Counter()
    handler, logger = _Names(names), logging.getLogger("jax")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
