"""A skill graph as a picture: what builds on what, and how each skill was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowrl.errors import UserError
from flowrl.skills.graph import SkillGraph
from flowrl.store.reader import GraphReader

_PRACTICE_POINTS = 60
"""Points of a practice's curve, about."""

_BOX_INCHES = 1.9
"""Width that a skill's box needs."""

_INK, _LINE, _FILL = "#22303c", "#8aa0b0", "#dcebe2"


def draw_graph(reader: GraphReader, path: Path) -> None:
    """Draws the accepted skills and their training curves into an image file.

    Args:
        reader: of the graph.
        path: the file, checked by :func:`flowrl.report.output_file.check_output`; its ending chooses the
            format.

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
    widths = [max(7.0, _BOX_INCHES * len(_columns(graph))), 5.0, 6.5][: 3 if graph.practices else 2]
    figure, axes = plt.subplots(
        1, len(widths), figsize=(sum(widths), height), width_ratios=widths, layout="constrained"
    )
    for curves in axes[1:]:
        curves.set_prop_cycle(color=[plt.get_cmap("tab20")(shade) for shade in range(20)])
    _draw_skills(axes[0], graph)
    _draw_curves(axes[1], reader)
    if graph.practices:
        _draw_practices(axes[2], reader)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"--plot {str(path)!r} cannot be written: {error}. Name a file elsewhere.") from None
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
            ha="center", va="center", fontsize=9, color=_INK, bbox=look, zorder=3,
        )  # fmt: skip
        boxes[node.name] = text.get_bbox_patch()
    for skill, needed in graph.edges:
        arrow = {
            "arrowstyle": "-|>", "color": _LINE, "lw": 1.2, "connectionstyle": "arc3,rad=0.12",
            "patchA": boxes[needed], "patchB": boxes[skill], "shrinkA": 1, "shrinkB": 1,
        }  # fmt: skip
        axes.annotate("", xy=place[skill], xytext=place[needed], arrowprops=arrow, zorder=1)
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
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_practices(axes: Any, reader: GraphReader) -> None:
    """Each achievement's rate in episodes from fresh worlds, all practices one after the other."""
    env_steps: list[float] = []
    rates: dict[str, list[float]] = {}
    before = 0.0
    for position, practice in enumerate(reader.graph.practices):
        for points in _parts(reader.load_practice_curves(position)):
            env_steps.append((before + points[-1]["env_steps"]) / 1e6)
            for name in points[0]["achievements"]:
                rates.setdefault(name, []).append(100 * _rate(points, name))
        before += practice.env_steps
    order = sorted(rates, key=lambda name: -rates[name][-1])
    for name in order:
        axes.plot(env_steps, rates[name], lw=1.4, label=f"{name} {rates[name][-1]:.0f}%")
    axes.set_xlabel("env steps of practice (millions)", fontsize=9)
    axes.set_ylabel("episodes that achieved it (%)", fontsize=9)
    axes.set_ylim(0, 102)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)


def _parts(points: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Points of a curve in groups, so that each mean is of many episodes."""
    size = max(len(points) // _PRACTICE_POINTS, 1)
    return [points[first : first + size] for first in range(0, len(points), size)]


def _rate(points: list[dict[str, Any]], name: str) -> float:
    episodes = sum(point["episodes"] for point in points)
    achieved = sum(point["achievements"][name] * point["episodes"] for point in points)
    return float(achieved / max(episodes, 1))
