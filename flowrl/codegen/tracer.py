"""The parent's side of tracing: one keep-alive child that turns skill code into an exported program.

    with Tracer() as tracer:
        payload = tracer.trace(source, spec, enums)

The child is disposable: it is killed at a time-out, whenever it misbehaves, after a number of requests,
and by the kernel when this process ends in whatever way. What comes back is untrusted bytes and text.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flowrl.codegen.frames import MAX_REPLY_BYTES, FrameError, FrameTimeout, read_frame, write_frame
from flowrl.errors import FlowrlError, ProposalRefused
from flowrl.worlds.snapshot import SnapshotSpec

TIMEOUT_S = 20.0
START_TIMEOUT_S = 180.0
MAX_REQUESTS = 200
MAX_TEXT_CHARS = 400

_BOOT = "import sys; sys.path[:0] = {roots!r}; from flowrl.codegen.worker import main; main({fds})"
_PATH = re.compile(r"(?<![\w.])(?:/[\w.+@-]+){2,}/?")
_FIX = "Write less code, without huge numbers or arrays."


@dataclass(frozen=True)
class Containment:
    """What the child measured after locking itself down, before it saw any model code.

    Attributes:
        files: no file can be opened, for reading or writing.
        network: no other machine can be reached.
        processes: no process can be started.
        memory: the address space is limited.
        cpu: the CPU time is limited.
        root: the child does not run as root.
    """

    files: bool
    network: bool
    processes: bool
    memory: bool
    cpu: bool
    root: bool


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[bytes]
    requests: int
    replies: int
    lifeline: int
    folder: tempfile.TemporaryDirectory[str]


class Tracer:
    """A pool of one tracing child. Thread-safe: requests queue up.

    The child starts with the first request, or at once with :meth:`start`, which does not wait for it.

    Args:
        timeout_s: seconds that one trace may take.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._child: _Child | None = None
        self._containment: Containment | None = None
        self._served = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while there is none."""
        return self._child.process.pid if self._child else None

    @property
    def containment(self) -> Containment:
        """What holds in the child; starts one if there is none.

        Raises:
            FlowrlError: when the child does not start.
        """
        with self._lock:
            self._ready()
            assert self._containment is not None
            return self._containment

    def start(self) -> None:
        """Starts the child without waiting until it is ready."""
        with self._lock:
            if self._child is None:
                self._child, self._containment, self._served = _spawn(), None, 0

    def close(self) -> None:
        """Ends the child. A later request starts another."""
        with self._lock:
            child, self._child, self._containment = self._child, None, None
            if child is None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.kill()
            child.process.wait()
            assert child.process.stderr is not None
            child.process.stderr.close()
            for fd in (child.requests, child.replies, child.lifeline):
                os.close(fd)
            child.folder.cleanup()

    def trace(self, source: str, spec: SnapshotSpec, enums: Mapping[str, Mapping[str, int]]) -> bytes:
        """Has the child trace and export ``source``.

        Args:
            source: skill code that passed :func:`flowrl.codegen.static.check_source`.
            spec: the snapshot fields, D of them.
            enums: enum name -> member name -> value.

        Returns:
            what ``jax.export`` serialized: untrusted until :mod:`flowrl.codegen.artifact` has read it.

        Raises:
            ProposalRefused: stage ``trace``: the code raised, took too long, or killed its process.
            FlowrlError: when the child does not start.
        """
        with self._lock:
            child = self._ready()
            nonce = secrets.token_hex(16)
            request: dict[str, Any] = {
                "id": nonce,
                "source": source,
                "fields": spec.to_json(),
                "enums": {name: dict(members) for name, members in enums.items()},
                "timeout_s": self._timeout_s,
            }
            try:
                write_frame(child.requests, request)
                reply = read_frame(child.replies, MAX_REPLY_BYTES, self._timeout_s)
                return _payload(reply, nonce)
            except FrameTimeout:
                self.close()
                raise ProposalRefused(
                    "trace", f"Tracing took more than {self._timeout_s:g} s.", _FIX
                ) from None
            except FrameError:
                self.close()
                raise ProposalRefused(
                    "trace", "The tracing process died (out of memory, or a crash).", _FIX
                ) from None

    def _ready(self) -> _Child:
        """The child, started and locked down."""
        # One that died between two requests, or has served many, is replaced: that is nobody's fault.
        if self._child is not None and (
            self._child.process.poll() is not None or self._served >= MAX_REQUESTS
        ):
            self.close()
        self.start()
        self._served += 1
        child = self._child
        assert child is not None
        if self._containment is None:
            try:
                hello = read_frame(child.replies, MAX_REPLY_BYTES, START_TIMEOUT_S)
                self._containment = Containment(**hello["containment"])
            except (FrameError, KeyError, TypeError) as error:
                said = _last_words(child)
                self.close()
                raise FlowrlError(
                    f"The tracing process did not start ({error}). {said} "
                    "Check that jax works: python -c 'import jax.numpy'."
                ) from None
        return child


def _spawn() -> _Child:
    child_requests, requests = os.pipe()
    replies, child_replies = os.pipe()
    child_lifeline, lifeline = os.pipe()
    folder: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory(prefix="flowrl-tracer-")
    own = (child_requests, child_replies, child_lifeline)
    roots = [str(Path(__file__).resolve().parents[2])]
    boot = _BOOT.format(roots=roots, fds=", ".join(map(str, own)))
    try:
        # -I: neither PYTHON* variables nor the user's site; -B: no .pyc files.
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder.name,
            env=_environment(folder.name),
            pass_fds=own,
            start_new_session=True,
        )
    finally:
        for fd in own:
            os.close(fd)
    return _Child(process, requests, replies, lifeline, folder)


def _environment(home: str) -> dict[str, str]:
    """Everything that the child sees of the environment: an allow-list, so that no key is among it."""
    # Some Pythons find their own libraries through it.
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return libraries | {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _payload(reply: dict[str, Any], nonce: str) -> bytes:
    """The artifact of a reply; the child's refusal as an exception."""
    if reply.get("id") != nonce:
        raise FrameError("a reply to another request")
    if "artifact" in reply:
        try:
            return base64.b64decode(reply["artifact"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise FrameError("an artifact that is not base64") from None
    raise ProposalRefused("trace", _clean(reply.get("reason")), _clean(reply.get("fix")))


def _clean(text: object) -> str:
    """The child's words, fit for a prompt and a terminal: printable, short, without paths of this machine."""
    printable = "".join(char if char.isprintable() else " " for char in str(text))
    shown = _PATH.sub("<path>", printable)
    return shown if len(shown) <= MAX_TEXT_CHARS else shown[: MAX_TEXT_CHARS - 3] + "..."


def _last_words(child: _Child) -> str:
    """The end of what a child that did not start wrote to stderr; no model code ran in it."""
    child.process.kill()
    _, stderr = child.process.communicate()
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"It said: {_clean(lines[-1])}." if lines else ""
