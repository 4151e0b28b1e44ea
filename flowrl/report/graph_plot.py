"""A skill graph as a picture: what builds on what, and how each skill was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowrl.errors import UserError
from flowrl.skills.graph import SkillGraph
from flowrl.store.reader import GraphReader

_INK, _LINE, _FILL = "#22303c", "#8aa0b0", "#dcebe2"


def draw_graph(reader: GraphReader, path: Path) -> None:
    """Draws the accepted skills and their training curves into an image file.

    Args:
        reader: of the graph.
        path: the file; its ending chooses the format (``.png``, ``.svg``, ``.pdf``).

    Raises:
        UserError: the graph is empty, or the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    graph = reader.graph
    if not graph.nodes:
        raise UserError("the graph has no accepted skill yet: there is nothing to draw")
    height = max(3.2, 0.75 * max(map(len, _columns(graph))) + 1.2)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, height), width_ratios=(1.5, 1), layout="constrained"
    )
    _draw_skills(left, graph)
    _draw_curves(right, reader)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--plot {str(path)!r} cannot be written: {error}. Name a .png file in a folder that exists."
        ) from None
    finally:
        plt.close(figure)


def _columns(graph: SkillGraph) -> list[list[str]]:
    """Skill names by depth: a skill stands one column right of the deepest skill in its plan."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        depth[node.name] = max((depth[skill] + 1 for skill, _ in node.plan), default=0)
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, column in depth.items():
        columns[column].append(name)
    return columns


def _draw_skills(axes: Any, graph: SkillGraph) -> None:
    place = {
        name: (column, -(row - (len(names) - 1) / 2))
        for column, names in enumerate(_columns(graph))
        for row, name in enumerate(names)
    }
    boxes = {}
    for node in graph.nodes:
        evidence = node.evidence
        interval = f"[{evidence.success_low:.0%}, {evidence.success_high:.0%}]"
        look = {"boxstyle": "round,pad=0.45", "facecolor": _FILL, "edgecolor": _LINE}
        text = axes.text(
            *place[node.name], f"{node.name}\n{evidence.success:.0%}  {interval}",
            ha="center", va="center", fontsize=9, color=_INK, bbox=look,
        )  # fmt: skip
        boxes[node.name] = text.get_bbox_patch()
    for skill, needed in graph.edges:
        arrow = {
            "arrowstyle": "-|>", "color": _LINE, "lw": 1.2, "connectionstyle": "arc3,rad=0.12",
            "patchA": boxes[needed], "patchB": boxes[skill], "shrinkA": 1, "shrinkB": 1,
        }  # fmt: skip
        axes.annotate("", xy=place[skill], xytext=place[needed], arrowprops=arrow)
    x = [column for column, _ in place.values()]
    y = [row for _, row in place.values()]
    axes.set_xlim(min(x) - 0.5, max(x) + 0.5)
    axes.set_ylim(min(y) - 0.6, max(y) + 0.6)
    axes.set_axis_off()
    axes.set_title(f"{graph.env_name}: success on unseen worlds, 95% interval", fontsize=10, color=_INK)


def _draw_curves(axes: Any, reader: GraphReader) -> None:
    for node in reader.graph.nodes:
        points = [point for point in reader.load_curves(node.index) if point["success"] >= 0]
        steps = [point["env_steps"] / 1000 for point in points]
        axes.plot(steps, [100 * point["success"] for point in points], label=node.name, lw=1.4)
    axes.set_xlabel("env steps of training (thousands)", fontsize=9)
    axes.set_ylabel("success in training (%)", fontsize=9)
    axes.set_ylim(0, 102)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
