"""What whole episodes showed, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flowrl.errors import UserError


def render_evaluation(measured: Mapping[str, Any], console: Console) -> None:
    """Achievements with their intervals, the episode's sums, and where plans got stuck."""
    table = Table(title=f"{measured['env_name']}: {measured['episodes']} episodes in fresh worlds")
    for column in ("achievement", "rate", "95% interval", "gave up"):
        table.add_column(column, justify="left" if column == "achievement" else "right")
    targets = measured.get("targets", {})
    for name, entry in measured["achievements"].items():
        target = targets.get(f"achievement:{name}")
        gave_up = f"{target['gave_up']:.1%}" if target else "-"
        interval = f"{entry['low']:.1%} to {entry['high']:.1%}"
        table.add_row(name, f"{entry['rate']:.1%}", interval, gave_up)
    console.print(table)
    for name, target in targets.items():
        if not name.startswith("achievement:"):
            console.print(f"target {name}: reached in {target['reached']:.1%}")
    console.print(
        f"return {measured['return']:.2f} ({measured['return_percent']:.1f}% of the maximum), "
        f"Crafter score {measured['score']:.1f}%, length {measured['length']:.0f} steps, "
        f"died {measured['died']:.1%}"
    )
    causes = ", ".join(f"{cause} {share:.1%}" for cause, share in measured["deaths"].items() if share)
    console.print(f"deaths (inferred from the last two steps): {causes or 'none'}")
    charge = sorted(measured.get("charge", {}).items(), key=lambda item: -item[1])
    if charge:
        console.print(
            "in charge: " + ", ".join(f"{name} {share:.0%}" for name, share in charge if share >= 0.01)
        )


def draw_evaluation(measured: Mapping[str, Any], path: Path) -> None:
    """Achievements' rates with intervals as horizontal bars, in a PNG file.

    Raises:
        UserError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(measured["achievements"])
    entries = [measured["achievements"][name] for name in names]
    rates = [100 * entry["rate"] for entry in entries]
    below = [100 * (entry["rate"] - entry["low"]) for entry in entries]
    above = [100 * (entry["high"] - entry["rate"]) for entry in entries]
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(names) + 1.4), layout="constrained")
    axes.barh(names, rates, xerr=[below, above], color="#4c9f70", ecolor="#555555", height=0.7)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of {measured['episodes']} episodes (%)")
    axes.set_title(f"{measured['env_name']}: {measured['return_percent']:.1f}% of the maximum return")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UserError(
            f"--plot {str(path)!r} cannot be written: {error}. Name a .png file in a folder that exists."
        ) from None
    finally:
        plt.close(figure)
