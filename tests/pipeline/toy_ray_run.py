"""A run of the toy world on a local Ray cluster, to be killed: ``python toy_ray_run.py GRAPH_PATH``."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from replies import TABLE, WOOD, ScriptedSource
from toy_runs import TOY_CONFIG
from toy_workers import RUNTIME_ENV
from toy_world import ToyWorld

from flowrl.llm.config import LlmConfig
from flowrl.pipeline import run as run_module
from flowrl.pipeline.parallel_config import ParallelConfig


def main(path: Path) -> int:
    module: Any = run_module
    module.make_world = lambda _name: ToyWorld()
    module.open_proposer = lambda *_: ScriptedSource([WOOD, TABLE])
    ray.init = functools.partial(ray.init, runtime_env=RUNTIME_ENV)
    config = replace(TOY_CONFIG, graph_path=path, max_nodes=2)
    return run_module.run_bottomup(config, LlmConfig("script"), [], ParallelConfig(1, "ray"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
