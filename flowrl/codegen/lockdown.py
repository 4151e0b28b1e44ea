"""What the tracing child gives up, in two steps: before JAX is imported, and before any model code runs.

Every step is tried and none is required: kernels, containers and users differ. What held is measured at
the end by trying what should now be impossible, and reported to the parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from flowrl.codegen import seccomp

EXTRA_MEMORY_BYTES = 1 << 30
CPU_SECONDS = 600

_NOBODY = 65534
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_F_SETSIG = 10


def die_with(lifeline: int) -> None:
    """Has the kernel kill this process when the last holder of ``lifeline``'s write end is gone.

    Unlike ``PR_SET_PDEATHSIG`` this does not fire when merely the thread that started us ends, and unlike
    reading for end-of-file it works while model code never returns to Python.
    """
    if sys.platform != "linux":
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        if os.read(lifeline, 1) == b"":
            os._exit(0)


def before_imports() -> None:
    """Leaves the network and forbids growing files and core dumps. Runs while there is one thread."""
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_NOFILE", 256)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def before_model_code() -> dict[str, bool]:
    """Gives up the rest and measures what holds.

    Returns:
        ``{"files", "network", "processes", "memory", "cpu", "root": held?}``, see
        :class:`flowrl.codegen.tracer.Containment`.
    """
    memory = _limit_memory()
    cpu = _limit("RLIMIT_CPU", int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + CPU_SECONDS)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Root ignores RLIMIT_NPROC and file modes. The ids change in all threads (glibc sees to that).
        with contextlib.suppress(OSError):
            os.setgroups([])
        with contextlib.suppress(OSError):
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _limit("RLIMIT_NPROC", 0)
    if sys.platform == "linux":
        seccomp.install()
    return {
        "files": _is_denied(_open_any_file),
        "network": _is_denied(_open_any_socket),
        "processes": _is_denied(_fork),
        "memory": memory,
        "cpu": cpu,
        "root": os.geteuid() != 0,
    }


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Ends this process when the block takes longer, even if the parent that should do it is gone."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(name: str, value: int) -> bool:
    try:
        resource.setrlimit(getattr(resource, name), (value, value))
    except (ValueError, OSError, AttributeError):
        return False
    return True


def _limit_memory() -> bool:
    """Address space: what the warmed-up process has, and some more."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
    except OSError:
        return False
    return _limit("RLIMIT_AS", pages * resource.getpagesize() + EXTRA_MEMORY_BYTES)


def _is_denied(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return True
    return False


def _open_any_file() -> None:
    os.close(os.open(os.devnull, os.O_RDONLY))


def _open_any_socket() -> None:
    # Without a network device a socket opens but reaches nobody: connecting to the loopback tells.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
