"""The journal: append-only events, enough to explain every decision of a run."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrl.store import jsonl
from flowrl.store.faults import reading, writing

_FIX = "Move it aside and run again: the skill graph does not need it, only its history is in it."


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All events, oldest first. A torn last line is left out: a live run may be writing it.

    Raises:
        GraphError: when it is missing, or damaged before its last line; names the line.
    """
    with reading(path, _FIX):
        whole, _ = jsonl.split_torn(path.read_bytes())
    return jsonl.parse(whole, path, _FIX)


class Journal:
    """Appends events to one file. Only the owner of the graph's lock may open it.

    Attributes:
        note: what opening had to repair, as a sentence; empty when nothing.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates ``path`` and repairs a last line that a crash tore.

        Raises:
            GraphError: when it is damaged before its last line, or cannot be written.
        """
        self.path = path
        self.note = ""
        self._mutex = threading.Lock()
        with writing(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._repair()
        except BaseException:
            self.close()
            raise

    def append(self, kind: str, data: Mapping[str, Any]) -> None:
        """Adds one event, on disk when this returns: ``{"time", "kind", **data}``.

        On failure the file is as it was.

        Raises:
            GraphError: when it cannot be written.
        """
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **data}
        self._write(jsonl.line(record))

    def close(self) -> None:
        """Closes the file; the journal takes no more events."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes) -> None:
        with self._mutex, writing(self.path):
            size = os.fstat(self._descriptor).st_size
            try:
                # A short write means that the disk filled up in the middle of the line.
                if os.write(self._descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._descriptor)
            except BaseException:
                # Take the part back: a torn line in the middle could not be told from damage.
                with suppress(OSError):
                    os.ftruncate(self._descriptor, size)
                raise

    def _repair(self) -> None:
        with reading(self.path, _FIX):
            whole, torn = jsonl.split_torn(self.path.read_bytes())
        jsonl.parse(whole, self.path, _FIX)
        if not torn:
            return
        if jsonl.parse_line(torn) is not None:
            self._write(b"\n")
            return
        with writing(self.path):
            os.ftruncate(self._descriptor, len(whole))
        text = torn.decode(errors="replace")
        self.append("journal_repaired", {"torn": text})
        self.note = (
            f"{self.path.name}: the last line was torn by a crash and was set aside ({len(torn)} bytes)"
        )
