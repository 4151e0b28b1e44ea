"""How much memory the device that trains has left: the GPU's own, or the RAM that this process may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import jax


@dataclass(frozen=True)
class AvailableMemory:
    """What can still be taken.

    Attributes:
        of: whose memory it is, for messages.
        free: bytes.
    """

    of: str
    free: int


def available_memory() -> AvailableMemory | None:
    """The memory of JAX's first device; None where it cannot be told."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        free = free_ram()
        return None if free is None else AvailableMemory("this machine", free)
    # The limit is JAX's share of the GPU: XLA_PYTHON_CLIENT_MEM_FRACTION, three quarters by default.
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return AvailableMemory(device.device_kind, stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def free_ram(root: Path = Path("/")) -> int | None:
    """Bytes of RAM that this process may still take: the machine's, or less where a cgroup limits it.

    Args:
        root: of the file system that has ``proc`` and ``sys``.

    Returns:
        Without ``/proc/meminfo`` (macOS) all of the machine's RAM; None where not even that is known.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return _physical_ram()
    sizes = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    if "MemAvailable" not in sizes:
        return _physical_ram()
    return max(0, min([int(sizes["MemAvailable"][0]) * 1024, *_left_in_cgroups(root)]))


def _physical_ram() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


@dataclass(frozen=True)
class _Controller:
    """Where one version of cgroups keeps its numbers (cgroups(7))."""

    mount: str
    limit: str
    usage: str
    reclaimable: str


_V1 = _Controller(
    "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)
_V2 = _Controller("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def _left_in_cgroups(root: Path) -> Iterator[int]:
    """What each limit on the way up from this process's cgroup leaves; the tightest decides.

    A container often sees its own cgroup mounted as the root and another path in ``/proc/self/cgroup``:
    folders that are not there are passed over, the root is always read.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            controller = _V2
        elif "memory" in controllers.split(","):
            controller = _V1
        else:
            continue
        own = PurePosixPath(path)
        for folder in (own, *own.parents):
            left = _left(root / controller.mount / folder.relative_to("/"), controller)
            if left is not None:
                yield left


def _left(folder: Path, controller: _Controller) -> int | None:
    try:
        limit = (folder / controller.limit).read_text().strip()
        used = int((folder / controller.usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    # Cached files count as used, but the kernel gives them up when memory is asked for.
    return int(limit) - used + int(stat.get(controller.reclaimable, 0))
