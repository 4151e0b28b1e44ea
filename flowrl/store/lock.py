"""One writer a folder: a second process is refused and told who the first one is."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock

from flowrl.errors import GraphError
from flowrl.store import atomic
from flowrl.store.faults import writing
from flowrl.store.layout import GraphLayout

WAIT_S = 3.0
"""How long to try: a killed run gives its lock back only after its gigabytes of memory are torn down."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a folder: its id, its host, and when it began (ISO 8601, UTC)."""

    pid: int
    host: str
    since: str


class FolderLock:
    """Holds a folder, a graph's or another run's, until :meth:`release` or until the process ends somehow.

    The kernel's lock on ``.lock`` decides, and it goes with its process: what a killed run leaves in
    ``.lock.json`` is only a name on an unlocked door, and the next run takes over.

    Attributes:
        previous: who left without releasing, when that happened.
    """

    def __init__(self, layout: GraphLayout, flag: str = "--graph-path") -> None:
        """Takes the lock.

        Args:
            flag: what the user names the folder with.

        Raises:
            GraphError: when another process has it (with its pid and host), or the folder is not writable.
        """
        self._owner_file = layout.lock_owner
        self._lock = filelock.FileLock(layout.lock, thread_local=False)
        with writing(layout.root):
            try:
                self._lock.acquire(timeout=WAIT_S)
            except filelock.Timeout:
                raise GraphError(_refusal(layout, flag, read_owner(layout.lock_owner))) from None
        try:
            self.previous = read_owner(self._owner_file)
            me = Owner(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))
            atomic.write_bytes(self._owner_file, json.dumps(asdict(me)).encode())
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Gives the path back. Doing it twice is harmless."""
        if self._lock.is_locked:
            # The name goes first: after the release it would be the next owner's.
            with suppress(OSError):
                self._owner_file.unlink()
            self._lock.release()


def read_owner(path: Path) -> Owner | None:
    """Who holds (or last held) the lock, or None when that is not on record."""
    try:
        record = json.loads(path.read_bytes())
        return Owner(int(record["pid"]), str(record["host"]), str(record["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refusal(layout: GraphLayout, flag: str, owner: Owner | None) -> str:
    if owner is None:
        who = "another process"
    else:
        who = f"another process: pid {owner.pid} on host {owner.host}, since {owner.since}"
    return f"{layout.root} is in use by {who}. Wait for it, stop it, or choose another {flag}."
