"""A run of the toy world as a process of its own, to be killed: ``python toy_run.py GRAPH_PATH``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from replies import GOOD, ScriptedSource
from toy_runs import TOY_CONFIG
from toy_world import ToyWorld

from flowrl.llm.config import LlmConfig
from flowrl.pipeline import run as run_module


def main(path: Path) -> int:
    module: Any = run_module
    module.make_world = lambda _name: ToyWorld()
    module.open_proposer = lambda *_: ScriptedSource(GOOD)
    return run_module.run_bottomup(replace(TOY_CONFIG, graph_path=path), LlmConfig("script"), [])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
