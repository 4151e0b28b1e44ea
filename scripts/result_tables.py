"""Prints the tables of experiments/README.md from the recipes' results, as Markdown.

    python scripts/result_tables.py achievements "seed 2=experiments/results/classic_seed_2.json" ...
    python scripts/result_tables.py skills experiments/results/classic_seed_2.json
    python scripts/result_tables.py practice exp/classic_playbook/graph --every 3e6

``achievements`` has one column a result (HEADING=FILE), ``skills`` compares each skill alone with what it
does inside whole episodes, ``practice`` shows the training episodes of a graph's last practice.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CAUSES = ("asleep", "lava", "hunger", "thirst", "exhaustion", "fight")
WATCHED = ("make_iron_sword", "make_iron_pickaxe", "collect_diamond", "eat_plant")


def achievements_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One column a result: success of every achievement with its 95% interval, scores, ends of episodes."""
    columns = list(results.values())
    rows = [
        [name, *(_interval(column["achievements"][name]) for column in columns)]
        for name in columns[0]["achievements"]
    ]
    rows.append(["return, of the maximum", *(f"{column['return_percent']:.1f}%" for column in columns)])
    rows.append(["Crafter score", *(f"{column['score']:.1f}%" for column in columns)])
    rows.append(["length of an episode", *(f"{column['length']:,.0f} steps" for column in columns)])
    for cause in CAUSES:
        rows.append([f"died: {cause}", *(f"{column['deaths'].get(cause, 0):.0%}" for column in columns)])
    rows.append(["alive at the end", *(f"{1 - column['died']:.0%}" for column in columns)])
    return _markdown(["achievement", *results], rows)


def skills_table(result: Mapping[str, Any]) -> str:
    """Each skill alone and inside whole episodes, by its share of all env steps."""
    rows = []
    for name, skill in sorted(result["skills"].items(), key=lambda item: -item[1]["charge"]):
        shares = (skill["inside"], skill["interrupted"], skill["died"])
        inside, interrupted, died = ("-" if share is None else f"{share:.0%}" for share in shares)
        calls = f"{skill['calls']:,}"
        rows.append(
            [name, f"{skill['alone']:.0%}", inside, calls, interrupted, died, f"{skill['charge']:.0%}"]
        )
    heading = (
        "skill",
        "alone",
        "inside",
        "calls",
        "interrupted by a rule",
        "ended by death",
        "share of all steps",
    )
    return _markdown(heading, rows)


def practice_table(points: Iterable[Mapping[str, Any]], every: float) -> str:
    """Training episodes from fresh worlds, by the policies of the moment, a row for ``every`` env steps."""
    windows: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for point in points:
        if point["episodes"]:
            windows[int((point["env_steps"] - 1) // every)].append(point)
    rows = []
    for window, inside in sorted(windows.items()):
        span = f"{window * every / 1e6:g} to {(window + 1) * every / 1e6:g} M"
        episodes = sum(point["episodes"] for point in inside)
        life = f"{_mean(inside, 'episode_length'):,.0f}"
        shares = [f"{_mean(inside, name):.1%}" for name in ("achieved", *WATCHED)]
        rows.append([span, f"{episodes:,.0f}", life, *shares])
    return _markdown(("env steps of practice", "episodes", "life", "achievements", *WATCHED), rows)


def _mean(points: Sequence[Mapping[str, Any]], column: str) -> float:
    """Over all their episodes."""
    total = sum(point["episodes"] * {**point, **point["achievements"]}[column] for point in points)
    return float(total / sum(point["episodes"] for point in points))


def _interval(share: Mapping[str, float]) -> str:
    return f"{share['rate']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = "|".join(["---"] * len(heading))
    return "\n".join([_row(heading), f"|{ruler}|", *map(_row, rows)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = parser.add_subparsers(dest="table", required=True)
    tables.add_parser("achievements").add_argument("results", nargs="+", metavar="HEADING=FILE")
    tables.add_parser("skills").add_argument("result", type=Path)
    practice = tables.add_parser("practice")
    practice.add_argument("graph_path", type=Path)
    practice.add_argument("--every", type=float, default=2e6, help="env steps of one row")
    flags = parser.parse_args()
    if flags.table == "achievements":
        named = (each.rpartition("=") for each in flags.results)
        print(achievements_table({heading: _read(Path(file)) for heading, _, file in named}))
    elif flags.table == "skills":
        print(skills_table(_read(flags.result)))
    else:
        from flowrl.store.reader import GraphReader

        reader = GraphReader(flags.graph_path)
        print(practice_table(reader.load_practice_curves(len(reader.graph.practices) - 1), flags.every))


if __name__ == "__main__":
    main()
