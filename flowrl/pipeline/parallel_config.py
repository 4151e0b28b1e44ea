"""How skills are trained side by side: the flags of ``bottomup-parallel``. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from flowrl.config import Bounds, flags_of, validate_bounds
from flowrl.errors import UserError, nearest

EXECUTORS = ("slots", "ray")
"""Who can train, by ``--executor``."""

_SLOTS_PER_WORKER = 4
_GCS_PORT = 6379
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d+)", re.ASCII)


@dataclass(frozen=True)
class ParallelConfig:
    """How many skills train at a time, and who trains them."""

    max_parallel_skills: int = 4
    """Skills in training at a time, all workers together."""

    executor: str = "slots"
    """Who trains: slots (this process, on one device) or ray (workers in a Ray cluster; needs the extra
    'cluster'). See docs/cluster.md. The flags below are for ray."""

    ray_address: str | None = None
    """A running Ray cluster: auto (the one of this machine) or host:port. Left out: one is started on this
    machine and ends with the run."""

    slots_per_worker: int | None = None
    """Skills in training at a time in one worker, at most. Left out: max_parallel_skills, or 4 where that is
    less."""

    worker_gpus: float | None = None
    """GPUs that one worker is given: 1, 0 (it trains on its CPU cores), or a share such as 0.5. Left out: 1
    where the cluster has GPUs, else 0."""

    worker_cpus: int = 1
    """CPU cores that one worker is given."""

    max_retries: int = 3
    """How often a skill is trained anew because its worker or its node died, before it is refused."""

    @property
    def slots(self) -> int:
        """K of one trainer."""
        if self.executor == "slots":
            return self.max_parallel_skills
        return self.slots_per_worker or min(self.max_parallel_skills, _SLOTS_PER_WORKER)

    @property
    def workers(self) -> int:
        """Workers that are needed to train ``max_parallel_skills`` at a time."""
        return -(-self.max_parallel_skills // self.slots)


PARALLEL_BOUNDS: Mapping[str, Bounds] = {
    "max_parallel_skills": Bounds(1, 4096),
    "slots_per_worker": Bounds(1, 256),
    "worker_gpus": Bounds(0, 1, whole=False),
    "worker_cpus": Bounds(1, 1024),
    "max_retries": Bounds(0, 1000),
}

ONE_AT_A_TIME = ParallelConfig(max_parallel_skills=1)
"""Sequential training: K = 1 in this process."""


def validate_parallel(config: ParallelConfig) -> None:
    """Refuses values that cannot work, each by its flag.

    Raises:
        UserError: names the flag, the value, what was expected and the nearest fix.
    """
    if config.executor not in EXECUTORS:
        raise UserError(
            f"--executor {config.executor!r}: there is no such executor. "
            f"{nearest(config.executor, EXECUTORS)}"
        )
    validate_bounds(config, PARALLEL_BOUNDS)
    if config.executor == "ray":
        _validate_ray(config)
        return
    most = PARALLEL_BOUNDS["slots_per_worker"].high
    if config.max_parallel_skills > most:
        raise UserError(
            f"--max_parallel_skills {config.max_parallel_skills}: expected at most {most:g} in one process. "
            f"Use --max_parallel_skills {most:g}, or --executor ray for several workers."
        )
    defaults = dict(flags_of(ParallelConfig()))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name != "max_parallel_skills" and value != defaults[field.name]:
            raise UserError(
                f"--{field.name} {value}: expected --executor ray with it; --executor is slots, which trains "
                f"in this process. Use --executor ray, or leave --{field.name} out."
            )


def _validate_ray(config: ParallelConfig) -> None:
    if config.slots > config.max_parallel_skills:
        raise UserError(
            f"--slots_per_worker {config.slots}: expected at most --max_parallel_skills, which is "
            f"{config.max_parallel_skills}. Use --slots_per_worker {config.max_parallel_skills}, or "
            f"--max_parallel_skills {config.slots}."
        )
    if config.ray_address is not None:
        _validate_address(config.ray_address)


def _validate_address(address: str) -> None:
    if address == "auto":
        return
    expected = "expected auto or host:port"
    if address == "local":
        raise UserError(f"--ray_address 'local': {expected}. Leave it out: a local cluster is started.")
    found = _HOST_AND_PORT.fullmatch(address)
    if found and 1 <= int(found[2]) <= 65535:
        return
    scheme, _, rest = address.rpartition("://")
    host = (rest if rest.startswith("[") else rest.split(":")[0].split("/")[0]) or "HOST"
    # The port behind ray:// is that of Ray Client, which is another protocol.
    port = rest.rpartition(":")[2].strip("/")
    kept = port.isdigit() and 1 <= int(port) <= 65535 and scheme != "ray"
    raise UserError(
        f"--ray_address {address!r}: {expected}, as `ray start --head` prints it. "
        f"Use --ray_address {host}:{port if kept else _GCS_PORT}."
    )
