"""What whole episodes showed, as tables and as a picture."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from flowrl.errors import UserError


@contextlib.contextmanager
def counted(total: int, what: str, console: Console) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere; yields what is to be told how many are done."""
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def render_evaluation(measured: Mapping[str, Any], console: Console) -> None:
    """Achievements with their intervals, the episode's sums, where plans got stuck, and how skills fared."""
    table = Table(title=f"{measured['env_name']}: {measured['episodes']} episodes in fresh worlds")
    table.add_column("achievement", no_wrap=True)
    for column in ("rate", "95% interval", "gave up"):
        table.add_column(column, justify="right")
    table.add_column("ended without it at")
    targets = measured.get("targets", {})
    for name, entry in measured["achievements"].items():
        target = targets.get(f"achievement:{name}")
        gave_up = f"{target['gave_up']:.1%}" if target else "-"
        interval = f"{entry['low']:.1%} to {entry['high']:.1%}"
        table.add_row(name, f"{entry['rate']:.1%}", interval, gave_up, _most_stuck(target))
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
    skills = measured.get("skills", {})
    if skills:
        console.print(_skill_table(skills))
        console.print(
            "A call of a skill begins when it takes charge and ends when its step of the plan, or its rule, "
            "is left. Inside: calls that advanced, of those that no rule interrupted."
        )
        charge = sorted(((skill["charge"], name) for name, skill in skills.items()), reverse=True)
        shown = ", ".join(f"{name} {share:.0%}" for share, name in charge if share >= 0.01)
        console.print(f"in charge: {shown}; nothing was left to do: {measured['idle']:.0%}")
    if measured.get("maintenance"):
        console.print(f"rules that go before any target: {', '.join(measured['maintenance'])}")


def _most_stuck(target: Mapping[str, Any] | None) -> str:
    """The two steps of a target's plan at which most episodes ended that had not reached it."""
    stuck = list(target["stuck_at"].items())[:2] if target else []
    return ", ".join(f"{skill} {share:.0%}" for skill, share in stuck)


def _skill_table(skills: Mapping[str, Mapping[str, Any]]) -> Table:
    """Each skill's success alone and inside the episodes, and what its calls ended with; 80 columns wide."""
    title = "skills: success alone (validation) and inside these episodes"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    table.add_column("skill", no_wrap=True)
    for column in ("alone", "inside", "gap", "calls", "inter-\nrupted", "died", "gave\nway", "steps\na call"):
        table.add_column(column, justify="right")
    for name, skill in skills.items():
        inside, steps = skill["inside"], skill["mean_steps"]
        table.add_row(
            name,
            f"{skill['alone']:.0%}",
            _share(inside),
            "-" if inside is None else f"{100 * (skill['alone'] - inside):+.0f}",
            f"{skill['calls']:,}",
            *(_share(skill[outcome]) for outcome in ("interrupted", "died", "gave_way")),
            "-" if steps is None else f"{steps:.0f}",
        )
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def draw_evaluation(measured: Mapping[str, Any], path: Path) -> None:
    """Achievements' rates with intervals as horizontal bars, in an image file.

    Args:
        path: the file, checked by :func:`flowrl.report.output_file.check_output`; its ending chooses the
            format.

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
        raise UserError(f"--plot {str(path)!r} cannot be written: {error}. Name a file elsewhere.") from None
    finally:
        plt.close(figure)
