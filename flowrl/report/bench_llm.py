"""The result of ``bench llm``, as a table and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowrl.pipeline.bench_llm import PREFIXES, Score
from flowrl.report.spending import cost_words, token_words


def scores_json(env_name: str, scores: Sequence[Score]) -> dict[str, Any]:
    """What ``flowrl bench llm --json`` prints."""
    return {
        "env_name": env_name,
        "states": list(PREFIXES),
        "models": [score.to_json() for score in scores],
    }


_ROWS = {
    "asked": "proposals asked for",
    "parse": "parse",
    "static": "pass the static check",
    "trace": "trace",
    "probe": "pass the probes",
    "feasible": "are feasible",
    "new": "are new",
    "usable": "pass all of these",
}


def render_scores(env_name: str, scores: Sequence[Score], console: Console | None = None) -> None:
    """Prints one column a model: how many of its replies passed each check, and what they cost."""
    table = Table(title=env_name, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("replies that", no_wrap=True)
    for score in scores:
        table.add_column(Text(score.llm_name), justify="right", overflow="fold")
    columns = [_column(score) for score in scores]
    names = [*_ROWS.values(), "tokens in + out", "cost", "seconds a reply"]
    for name, *cells in zip(names, *columns, strict=True):
        table.add_row(name, *cells)
    (console or Console()).print(table)


def _column(score: Score) -> list[str]:
    if not score.asked:
        return ["-"] * (len(_ROWS) + 3)
    own = {"asked": score.asked, "usable": score.usable}
    counts = [str(own[row] if row in own else score.count(row)) for row in _ROWS]
    total = score.total.to_json()
    seconds = "-" if score.latency_s is None else f"{score.latency_s:.1f}"
    return [*counts, token_words(total).removesuffix(" tokens"), cost_words(total), seconds]
