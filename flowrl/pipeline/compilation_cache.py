"""Compiled programs outlive the process: JAX's persistent cache, kept free of entries that a kill tore.

JAX writes an entry in place, and never again once it is there. What ``kill -9`` cut short it would warn about
and compile anew at every start from then on: seconds to a minute each time.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from pathlib import Path

import jax
import platformdirs

_STAMP = ".flowrl-verified"
_CLOCK_SLACK_S = 2.0
"""How far the clocks of a file system and of this machine may be apart."""

_ZLIB = b"\x78"
"""First byte of what zlib compressed, as JAX does where no ``zstandard`` package is installed."""


def use_compilation_cache() -> None:
    """Compiled programs are kept in the user's cache folder, unless JAX is told of another place."""
    folder = getattr(jax.config, "jax_compilation_cache_dir", None)
    if not folder:
        folder = str(Path(platformdirs.user_cache_dir("flowrl")) / "jax")
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # A cache that cannot be mended still works: JAX itself only warns.
    with contextlib.suppress(OSError):
        remove_torn_entries(Path(folder))


def remove_torn_entries(folder: Path) -> list[str]:
    """Removes the entries that were cut short. Each is read only once after it was written.

    Returns:
        The names of the removed files.

    Raises:
        OSError: when the folder cannot be read or written.
    """
    if not folder.is_dir():
        return []
    stamp, began = folder / _STAMP, time.time()
    verified = stamp.stat().st_mtime - _CLOCK_SLACK_S if stamp.exists() else 0.0
    removed = []
    for entry in folder.glob("*-cache"):
        # Another process may be writing it: then only its entry is lost.
        if entry.stat().st_mtime >= verified and _is_torn(entry.read_bytes()):
            entry.unlink(missing_ok=True)
            removed.append(entry.name)
    stamp.touch()
    os.utime(stamp, (began, began))
    return removed


def _is_torn(entry: bytes) -> bool:
    if not entry.startswith(_ZLIB):
        return not entry
    try:
        zlib.decompress(entry)
    except zlib.error:
        return True
    return False
