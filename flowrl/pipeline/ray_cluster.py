"""The connection to a Ray cluster: found or started, quiet, and without the keys of language models.

Ray hands the environment of whoever starts it on to every process of the cluster. So a cluster that is
started here is started from an environment without keys; and since one that others started may hold theirs,
every worker begins with those that are known blank (:func:`worker_environment`) and removes what else looks
like one (:func:`forget_keys`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowrl.errors import UserError
from flowrl.llm.environment import KEY_ALIASES, looks_like_key
from flowrl.pipeline.parallel_config import ParallelConfig

PLACEMENT_S = 120.0
"""Seconds that a worker may wait for its place: nodes of a cluster that is starting may still be joining."""

_REACH_S = 10.0
_OBJECT_STORE_BYTES = 512 * 2**20
_XLA_SHARE = 0.75
"""JAX's own default of the share of a GPU that a process takes."""


@dataclass(frozen=True)
class RayCluster:
    """A cluster that this process is connected to.

    Attributes:
        worker_gpus: GPUs that one worker is given, 0 to 1.
        worker_cpus: CPU cores that one worker is given.
        local: whether it was started here, has this machine only and ends with this process.
    """

    worker_gpus: float
    worker_cpus: int
    local: bool

    @property
    def asked(self) -> str:
        """What one worker asks for, in words."""
        return f"{_count(self.worker_gpus, 'GPU')} and {_count(self.worker_cpus, 'CPU core')}"

    @property
    def has(self) -> str:
        """What there is now and how much of it is free, in words."""
        import ray

        nodes = Counter(_in_words(node["Resources"]) for node in ray.nodes() if node["Alive"])
        kinds = "; ".join(f"{count} with {kind}" for kind, count in sorted(nodes.items()))
        free = _in_words(ray.available_resources())
        return f"{_count(nodes.total(), 'node')} ({kinds}), of which {free} are free"

    @property
    def suits(self) -> bool:
        """Whether there is a node that could hold a worker if it were empty."""
        import ray

        return any(
            node["Resources"].get("GPU", 0) >= self.worker_gpus
            and node["Resources"].get("CPU", 0) >= self.worker_cpus
            for node in ray.nodes()
            if node["Alive"]
        )


@contextlib.contextmanager
def connected(config: ParallelConfig) -> Iterator[RayCluster]:
    """Connects to the cluster of ``--ray_address``, or starts a local one; ends that with the block.

    Raises:
        UserError: Ray is not installed, there is no cluster at that address, or no node of it could ever hold
            a worker.
    """
    ray = _import_ray()
    _say_no_more()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.ray_address is None:
        with _environment_without_keys():
            ray.init(
                # Without it Ray would join whatever cluster of this machine it finds.
                address="local",
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
    else:
        _knock(config.ray_address)
        try:
            ray.init(address=config.ray_address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(
                f"--ray_address {config.ray_address!r}: Ray refused the connection: {error}. Run the "
                "command on a node of the cluster, with the Ray and the Python that the cluster was started "
                "with, and with RAY_AUTH_MODE=token where it was started with a token."
            ) from None
    try:
        gpus = config.worker_gpus
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        cluster = RayCluster(gpus, config.worker_cpus, local=config.ray_address is None)
        _require_a_node(cluster)
        yield cluster
    finally:
        ray.shutdown()


def worker_environment(cluster: RayCluster) -> dict[str, str]:
    """What a worker's process finds in its environment beside, and instead of, what its node gives it."""
    environment = dict.fromkeys(_key_names(os.environ), "")
    # XLA on a CPU takes a thread for every core it sees, whatever Ray has granted; it asks NPROC first.
    environment["NPROC"] = str(cluster.worker_cpus)
    if cluster.worker_gpus == 0:
        environment["JAX_PLATFORMS"] = "cpu"
    elif cluster.worker_gpus < 1:
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{_XLA_SHARE * cluster.worker_gpus:g}"
    return environment


def forget_keys() -> None:
    """Removes everything that looks like a key from this process's environment: for workers."""
    for name in _key_names(os.environ):
        os.environ.pop(name, None)


def _key_names(environment: Mapping[str, str]) -> list[str]:
    """Names that hold keys, or that keys are known by. Ray's own token is Ray's."""
    names = {alias for group in KEY_ALIASES for alias in group}
    names |= {name for name in environment if looks_like_key(name)}
    return sorted(name for name in names if not name.startswith("RAY_"))


@contextlib.contextmanager
def _environment_without_keys() -> Iterator[None]:
    kept = {name: os.environ[name] for name in _key_names(os.environ) if name in os.environ}
    forget_keys()
    try:
        yield
    finally:
        os.environ.update(kept)


def _import_ray() -> Any:
    # Ray reads these when it is imported. The second: it need not hide GPUs from workers that have none.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError(
            '--executor ray: Ray is not installed. Install it, `pip install -e ".[cluster]"`, or use '
            "--executor slots."
        ) from None
    return ray


def _say_no_more() -> None:
    """Whatever ``log_to_driver`` is, Ray tells stdout of dead workers; the run says that in its own words."""
    from ray._private import worker

    worker.print_to_stdstream = lambda *_, **__: None


def _knock(address: str) -> None:
    """Whether somebody is there: Ray itself would knock for two minutes, and then end this process.

    Raises:
        UserError: nothing answers there.
    """
    from ray._private.services import get_ray_address_from_environment

    where = address
    try:
        if address == "auto":
            where = get_ray_address_from_environment("auto", None)
        host, _, port = where.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, ValueError):
        named = f" ({where})" if where != address else ""
        raise UserError(
            f"--ray_address {address!r}{named}: no Ray cluster answers there. Start one with "
            "`ray start --head --port=6379`, or leave the flag out: then one is started on this machine."
        ) from None


def _require_a_node(cluster: RayCluster) -> None:
    """Waits, where nodes may still join, for one that could hold a worker.

    Raises:
        UserError: there is none.
    """
    until = time.monotonic() + (0.0 if cluster.local else PLACEMENT_S)
    while not cluster.suits:
        if time.monotonic() >= until:
            raise UserError(
                f"--worker_gpus {cluster.worker_gpus:g} --worker_cpus {cluster.worker_cpus}: a worker asks "
                f"for {cluster.asked}, and no node of the cluster has that. It has {cluster.has}. "
                "Use smaller ones, or add nodes."
            )
        time.sleep(1.0)


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _in_words(resources: Mapping[str, float]) -> str:
    return f"{_count(resources.get('GPU', 0), 'GPU')}, {_count(resources.get('CPU', 0), 'CPU core')}"
