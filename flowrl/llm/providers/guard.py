"""Runs a server so that it never outlives flowrl: ``python guard.py GRACE_SECONDS COMMAND...``.

The guard holds the other end of flowrl's pipe as its standard input. When the pipe closes, or its parent is
another than at the start (flowrl was killed), it ends the server and all that the server started: first
politely, then, after the grace time, for good. It imports nothing of flowrl, to start fast and hold nothing.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

_POLL_S = 0.3


def main(grace_s: float, command: list[str]) -> int:
    """Runs the command to its end, or ends it when flowrl is gone; its exit status."""
    parent = os.getppid()
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    # A signal to the guard means the same as a closed pipe.
    wanted = {"stop": False}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: wanted.update(stop=True))
    while server.poll() is None:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        closed = bool(readable) and not os.read(0, 1024)
        if closed or wanted["stop"] or os.getppid() != parent:
            break
    return _end(server, grace_s)


def _end(server: subprocess.Popen[bytes], grace_s: float) -> int:
    """Ends the server's whole process group."""
    _signal_group(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and (server.poll() is None or _group_lives(server.pid)):
        time.sleep(0.05)
    _signal_group(server.pid, signal.SIGKILL)
    return server.wait()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
