"""What ``evaluate`` prints of skills: success alone beside success inside episodes."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from flowrl.report.evaluation import counted, render_evaluation

NEVER_CALLED: dict[str, Any] = {
    "alone": 0.9, "alone_low": 0.85, "calls": 0, "died": None, "advanced": None, "interrupted": None,
    "gave_way": None, "inside": None, "mean_steps": None, "charge": 0.0,
}  # fmt: skip
CALLED: dict[str, Any] = {
    "alone": 0.95, "alone_low": 0.9, "calls": 1200, "died": 0.1, "advanced": 0.6, "interrupted": 0.2,
    "gave_way": 0.1, "inside": 0.75, "mean_steps": 12.4, "charge": 0.3,
}  # fmt: skip


def printed(**more: Any) -> str:
    measured = {
        "env_name": "Toy-v1", "episodes": 4, "achievements": {"wood": {"rate": 0.5, "low": 0.2, "high": 0.8}},
        "return": 1.0, "return_percent": 5.0, "score": 2.0, "length": 30.0, "died": 0.0, "deaths": {},
    }  # fmt: skip
    out = io.StringIO()
    render_evaluation({**measured, **more}, Console(file=out, width=80))
    return out.getvalue()


def test_progress_is_drawn_on_a_terminal_and_nowhere_else() -> None:
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with counted(512, "playing", console) as ended:
            ended(128)
        assert ("128/512" in console.file.getvalue()) is terminal  # type: ignore[attr-defined]


def test_each_skill_has_its_gap() -> None:
    """95% alone, 75% inside: 20 points. Of what was never called, nothing is known."""
    skills = {"collect_wooden_logs": CALLED, "fight": NEVER_CALLED}
    rows = [
        line.split() for line in printed(skills=skills, idle=0.7, maintenance=["defend:zombie"]).splitlines()
    ]
    assert ["collect_wooden_logs", "95%", "75%", "+20", "1,200", "20%", "10%", "10%", "12"] in rows
    assert ["fight", "90%", "-", "-", "0", "-", "-", "-", "-"] in rows
    in_charge = "in charge: collect_wooden_logs 30%; nothing was left to do: 70%"
    assert in_charge.split() in rows
    assert ["rules", "that", "go", "before", "any", "target:", "defend:zombie"] in rows


def test_a_player_without_skills_has_no_such_table() -> None:
    """Flat PPO is scored by the same function."""
    assert "alone" not in printed()
