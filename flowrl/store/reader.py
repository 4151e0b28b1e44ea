"""A skill graph for those who only look: no lock, so it works while a run is at work on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowrl.skills.graph import Failure, SkillGraph
from flowrl.store import checkpoint
from flowrl.store.arrays import Tree
from flowrl.store.checkpoint import LoadedNode
from flowrl.store.layout import GraphLayout
from flowrl.store.manifest import read_graph


class GraphReader:
    """The last committed graph and its nodes' files; nothing is ever written.

    Args:
        path: the folder given as ``--graph-path``.

    Raises:
        GraphError: there is no graph, or it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.layout = GraphLayout(Path(path))
        self.graph: SkillGraph = read_graph(path)

    def load_node(self, index: int) -> LoadedNode:
        """A node's proposal, artifact and policy, checked; see :func:`checkpoint.load_node`."""
        return checkpoint.load_node(self.layout, self.graph.nodes[index])

    def load_start_states(self, index: int) -> Tree | None:
        """A node's bank of start states, checked, or None when it has none."""
        return checkpoint.load_start_states(self.layout, self.graph.nodes[index])

    def load_curves(self, index: int) -> list[dict[str, Any]]:
        """A node's training curves, checked."""
        return checkpoint.load_curves(self.layout, self.graph.nodes[index])

    def load_practice(self) -> Tree:
        """The policies of the last practice, checked; see :func:`checkpoint.load_practice`."""
        return checkpoint.load_practice(self.layout, self.graph.practices[-1])

    def load_practice_curves(self, position: int) -> list[dict[str, Any]]:
        """The training curves of a practice, checked."""
        return checkpoint.load_practice_curves(self.layout, self.graph.practices[position])

    def load_refused_reply(self, failure: Failure) -> str | None:
        """The reply that was refused, or None when it was not kept."""
        return checkpoint.load_refused_reply(self.layout, failure)
