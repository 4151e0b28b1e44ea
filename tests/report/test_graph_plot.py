"""The picture of a graph: written for real graphs, refused with a reason otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowrl.errors import UserError
from flowrl.report.commands.evaluate import evaluate
from flowrl.report.commands.status import status
from flowrl.report.graph_plot import _rate, draw_graph
from flowrl.skills.graph import EnvSteps, Evidence, Practice, SkillNode
from flowrl.skills.operator import Linear, Operator
from flowrl.store.graph_store import GraphStore
from flowrl.store.reader import GraphReader

WORLD = "Craftax-Classic-Symbolic-v1"


def a_graph(path: Path, *plans: tuple[tuple[str, int], ...]) -> GraphReader:
    """Nodes ``skill_0``, ``skill_1``, ... with these plans, in one store."""
    with GraphStore.open(path, WORLD) as store:
        for index, plan in enumerate(plans):
            node = SkillNode(
                index=index,
                name=f"skill_{index}",
                description="",
                operator=Operator({}, {}, {"inventory:wood": Linear(1, 0)}),
                max_steps=100,
                max_repeat=1,
                plan=plan,
                evidence=Evidence(256, 250, {"inventory:wood": 1.0}, 0.0, 10.0),
                env_steps=EnvSteps(),
                wall_s=1.0,
            )
            curves = [{"env_steps": 1000, "success": -1.0}, {"env_steps": 2000, "success": 0.5}]
            store.commit_node(node, "reply", b"artifact", {}, None, curves)
    return GraphReader(path)


def test_a_graph_is_drawn(tmp_path: Path) -> None:
    """A chain and a lone skill; the file is a PNG."""
    reader = a_graph(tmp_path / "graph", (), (("skill_0", 2),), (("skill_0", 1), ("skill_1", 1)), ())
    draw_graph(reader, tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_practices_are_drawn_one_after_the_other(tmp_path: Path) -> None:
    """Rates weigh episodes, not points: 1 of 10 and 9 of 30 are 25%."""
    reader = a_graph(tmp_path / "graph", ())
    curves = [
        {"env_steps": 4096, "episodes": 10.0, "achievements": {"collect_wood": 0.1}},
        {"env_steps": 8192, "episodes": 30.0, "achievements": {"collect_wood": 0.3}},
    ]
    with GraphStore.open(tmp_path / "graph", WORLD) as store:
        for _ in range(2):
            store.commit_practice(Practice(("skill_0",), 1, 8192, 1.0), {}, curves)
    reader = GraphReader(tmp_path / "graph")
    assert reader.load_practice_curves(1) == curves
    assert _rate(curves, "collect_wood") == pytest.approx(0.25)
    draw_graph(reader, tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    """An empty graph; a folder that is not there; an ending that names no format, or none at all."""
    with pytest.raises(UserError, match="nothing to draw"):
        draw_graph(a_graph(tmp_path / "empty"), tmp_path / "x.png")
    reader = a_graph(tmp_path / "graph", ())
    with pytest.raises(UserError, match="--plot"):
        draw_graph(reader, tmp_path / "nowhere" / "x.png")
    (tmp_path / "folder.png").mkdir()
    for bad in ("nowhere/x.png", "x.what", "x", "folder.png"):
        arguments = ["--graph-path", str(tmp_path / "graph"), "--plot", str(tmp_path / bad)]
        for command in (status, evaluate):
            with pytest.raises(UserError, match="--plot"):
                command(arguments, "flowrl")
