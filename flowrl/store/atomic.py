"""Writes that a crash cannot tear: into a temporary sibling, flushed to disk, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowrl.store.faults import writing

_TEMPORARY = ".tmp-"
_CHUNK_BYTES = 1 << 20


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces or creates ``path``; on any failure what was there remains and nothing is left over.

    Raises:
        GraphError: naming ``path`` and what to do.
    """
    temporary = _sibling(path)
    with writing(path):
        try:
            _write_new(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes ``path`` at the end, with all that was written into it on disk.

    When the body fails the temporary folder is removed and ``path`` never appears.

    Raises:
        GraphError: when the file system fails, in the body too.
    """
    temporary = _sibling(path)
    with writing(path):
        try:
            _make_folder(path.parent)
            temporary.mkdir()
            yield temporary
            _sync_tree(temporary)
            os.rename(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


def move_into(folder: Path, source: Path) -> Path:
    """Moves ``source`` into ``folder`` (made when missing) and returns where it is now.

    Raises:
        GraphError: naming ``source``.
    """
    target = folder / source.name
    with writing(source):
        _make_folder(folder)
        os.rename(source, target)
        sync_folder(folder)
        sync_folder(source.parent)
    return target


def remove_folder(path: Path) -> None:
    """Removes a folder that nothing names any more.

    Raises:
        GraphError: naming ``path``.
    """
    with writing(path):
        shutil.rmtree(path)
        sync_folder(path.parent)


def remove_temporaries(folder: Path) -> None:
    """Removes what a killed process left half-written in ``folder``. Only the lock's owner may."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith(_TEMPORARY):
            with writing(entry):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync files only
            raise
    finally:
        os.close(descriptor)


def _sibling(path: Path) -> Path:
    return path.parent / f"{_TEMPORARY}{path.name}-{secrets.token_hex(4)}"


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True)
        sync_folder(path.parent)


def _write_new(path: Path, data: bytes) -> None:
    # Mode 0o666 under the umask, as open() does: others who may read the folder may read the file.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))
