"""The toy world in workers of Ray: what their processes are told beside what flowrl tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RUNTIME_ENV: dict[str, Any] = {
    "worker_process_setup_hook": "toy_workers.install",
    "env_vars": {"PYTHONPATH": str(Path(__file__).parent)},
}
"""For ``ray.init``; workers inherit it."""


def install() -> None:
    """Every world is the toy world from now on."""
    from toy_world import ToyWorld

    from flowrl.worlds import registry

    module: Any = registry
    module.make_world = lambda _name: ToyWorld()
