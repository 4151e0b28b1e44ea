"""``status``: the skill graph at a path, also while a run is at work on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flowrl.config import RunConfig
from flowrl.errors import GraphError
from flowrl.report.commands.flags import parse_flags
from flowrl.report.running import read_running
from flowrl.report.spending import read_spending
from flowrl.report.status import render_status, status_json
from flowrl.skills.graph import SkillGraph
from flowrl.store.layout import GraphLayout
from flowrl.store.manifest import read_graph


@dataclass(frozen=True)
class StatusFlags:
    """Shows a skill graph: every skill with its operator, plan, evidence and cost, and what was refused."""

    graph_path: Path = RunConfig.graph_path
    """Folder of the skill graph."""

    json: bool = False
    """Print JSON, for scripts."""

    plot: Path | None = None
    """Draw the graph and its training curves into this image file."""


def status(args: Sequence[str], prog: str) -> int:
    """``flowrl status``."""
    flags = parse_flags(StatusFlags, args, prog)
    running = read_running(flags.graph_path)
    try:
        graph = read_graph(flags.graph_path)
    except GraphError:
        # A run that has not accepted anything yet has no graph, but something to show.
        if running is None or GraphLayout(flags.graph_path).graph.exists():
            raise
        graph = SkillGraph(running.env_name)
    spending = read_spending(GraphLayout(flags.graph_path).llm)
    if flags.plot is not None:
        from flowrl.report.graph_plot import draw_graph
        from flowrl.report.output_file import PLOTS, check_output
        from flowrl.store.reader import GraphReader

        check_output("--plot", flags.plot, PLOTS)
        draw_graph(GraphReader(flags.graph_path), flags.plot)
    if flags.json:
        print(json.dumps(status_json(graph, spending, running), indent=2))
    else:
        render_status(graph, spending, Console(), running)
    return 0
