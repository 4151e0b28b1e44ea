"""What the operating system says when a file cannot be read or written, as one clear line for a person."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowrl.errors import GraphError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an ``OSError`` while ``path`` is written into a :class:`GraphError` that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            why, fix = "the disk is full", "Free some space and run the same command again"
        elif error.errno in _FORBIDDEN:
            why, fix = f"not writable ({error.strerror})", "Choose another --graph-path or make it writable"
        elif error.errno in _NOT_A_FOLDER:
            why, fix = f"a file is in the way ({error.strerror})", "Move it, or choose another --graph-path"
        else:
            why, fix = str(error.strerror or error), "See to that and run the same command again"
        raise GraphError(f"{path} cannot be written: {why}. The last good state remains. {fix}.") from error


@contextmanager
def reading(path: Path, fix: str) -> Iterator[None]:
    """Turns an ``OSError`` while ``path`` is read into a :class:`GraphError` with its name and ``fix``."""
    try:
        yield
    except FileNotFoundError as error:
        raise GraphError(f"{path} is missing. {fix}") from error
    except OSError as error:
        raise GraphError(f"{path} cannot be read: {error.strerror or error}. {fix}") from error
