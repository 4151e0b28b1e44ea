"""``flowrl status``: the skill graph as a person, or a script, looks at it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowrl.llm.ledger import Total, summarize
from flowrl.report.progress import share
from flowrl.report.running import SILENT_AFTER_S, Running
from flowrl.report.spending import Spending, call_words, cost_words, token_words
from flowrl.skills.graph import Failure, Practice, SkillGraph, SkillNode


def status_json(graph: SkillGraph, spending: Spending, running: Running | None = None) -> dict[str, Any]:
    """What ``flowrl status --json`` prints. ``running`` is null when no run is at work."""
    return {
        **graph.summary(),
        "llm": spending.to_json(),
        "running": None if running is None else asdict(running),
    }


def render_status(
    graph: SkillGraph,
    spending: Spending,
    console: Console,
    running: Running | None = None,
    now: float | None = None,
) -> None:
    """Prints every node, every failure, what models cost, and what a live run is at.

    Args:
        graph: as it was read.
        spending: what was recorded of its calls.
        console: where to.
        running: what the run at work there last said.
        now: seconds since the epoch; left out: this moment.
    """
    console.print(_heading(graph))
    if running is not None:
        silent_s = (time.time() if now is None else now) - running.updated
        for part in _at_work(running, silent_s):
            console.print(part)
    if graph.nodes:
        console.print(_nodes(graph.nodes))
    for practice in graph.practices:
        console.print(_practised(practice))
    if graph.failures:
        console.print(_failures(graph.failures))
    for line in _spent(spending):
        console.print(line)


def _heading(graph: SkillGraph) -> Text:
    counts = f"{_plural(len(graph.nodes), 'skill')} accepted, {len(graph.failures)} refused"
    return Text.assemble(
        (_printable(graph.env_name), "bold"),
        f": {counts}, {_count(graph.env_steps)} env steps, {_duration(graph.wall_s)}",
    )


def _practised(practice: Practice) -> Text:
    skills, env_steps = _plural(len(practice.skills), "skill"), _count(practice.env_steps)
    return Text(f"Practised together: {skills}, {env_steps} env steps, {_duration(practice.wall_s)}")


def _at_work(running: Running, silent_s: float) -> list[Text | Table]:
    """All skills that a run is at, and how long ago it said so."""
    whose = _printable(f"{running.llm_name} on {running.host}, pid {running.pid}")
    if silent_s > SILENT_AFTER_S:
        ended = f"No news for {_duration(silent_s)} from the run ({whose}): it may have ended without a word."
        return [Text(ended, style="yellow")]
    title = f"At work ({whose}, {_duration(max(silent_s, 0))} ago)"
    if not running.skills:
        return [Text(title)]
    table = Table(title=title, title_justify="left")
    table.add_column("skill", overflow="fold")
    table.add_column("stage", overflow="fold")
    for column in ("success", "steps", "of", "steps/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for skill in running.skills:
        stage = skill.stage if skill.stage == "train" else f"{skill.stage} {skill.detail}".strip()
        table.add_row(
            Text(_printable(skill.skill or "(a proposal)")),
            Text(_printable(stage)),
            share(skill.success, skill.success_low),
            "-" if skill.env_steps is None else _count(skill.env_steps),
            "-" if skill.budget is None else _count(skill.budget),
            "-" if not skill.steps_per_s else _count(round(skill.steps_per_s)),
        )
    return [table]


def _nodes(nodes: tuple[SkillNode, ...]) -> Table:
    table = Table(show_lines=True, title="Accepted skills", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("skill, operator, plan", ratio=1, overflow="fold")
    table.add_column("success [95%]", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("LLM", overflow="fold", max_width=16)
    for node in nodes:
        evidence = node.evidence
        table.add_row(
            str(node.index),
            _claim(node),
            Text(f"{evidence.success:.3f}\n[{evidence.success_low:.3f}, {evidence.success_high:.3f}]"),
            _count(node.env_steps.total),
            _duration(node.wall_s),
            _models(node.llm),
        )
    return table


def _spent(spending: Spending) -> list[Text]:
    """What all recorded calls cost, by model where several served."""
    if spending.problem:
        return [Text(_printable(f"Language models: cost unknown. {spending.problem}"))]
    if not spending.calls:
        return []
    lines = [Text(f"Language models: {_bill(spending.total)}")]
    by_model = summarize(spending.calls, "model")
    if len(by_model) > 1:
        lines += [Text(_printable(f"  {model}: {_bill(total)}")) for model, total in by_model.items()]
    return lines


def _bill(total: Total) -> str:
    shown = total.to_json()
    return f"{call_words(shown)}, {token_words(shown)}, {cost_words(shown)}"


def _failures(failures: tuple[Failure, ...]) -> Table:
    table = Table(title="Refused", title_justify="left")
    table.add_column("skill", overflow="fold", max_width=24)
    table.add_column("stage", no_wrap=True)
    table.add_column("reason", ratio=1, overflow="fold")
    table.add_column("LLM", overflow="fold", max_width=12)
    for failure in failures:
        reason = f"{failure.reason} {failure.fix}".strip()
        table.add_row(
            Text(_printable(failure.name)),
            Text(_printable(failure.stage)),
            Text(_printable(reason)),
            Text(_printable(_cost(failure.llm))),
        )
    return table


def _claim(node: SkillNode) -> Text:
    text = Text(_printable(node.name), style="bold")
    for section, facts in node.operator.to_json().items():
        if facts:
            shown = ", ".join(f"{name} {count}" for name, count in facts.items())
            text.append(_printable(f"\n{section} {shown}"), style="not bold")
    steps = ", ".join(f"{skill} x{n}" for skill, n in node.plan)
    return text.append(
        _printable(f"\nplan {steps}" if steps else "\nstarts in a fresh world"), style="not bold dim"
    )


def _models(llm: Mapping[str, Any]) -> Text:
    """Who wrote it and what that cost."""
    lines = list(dict.fromkeys(str(value) for value in llm.values() if isinstance(value, str)))
    total = llm.get("total")
    if isinstance(total, Mapping):
        lines += [call_words(total), token_words(total), cost_words(total)]
    return Text(_printable("\n".join(lines)))


def _cost(llm: Mapping[str, Any]) -> str:
    total = llm.get("total")
    return cost_words(total) if isinstance(total, Mapping) else ""


def _printable(text: str) -> str:
    """A model's words, harmless to a terminal: control characters (escape sequences) become ``?``."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _count(number: int) -> str:
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
