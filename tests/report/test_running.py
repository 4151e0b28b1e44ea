"""What ``status`` shows of a run at work: every skill, how far it is, and when that was said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from flowrl.cli import main
from flowrl.pipeline.events import (
    RunFinished,
    RunStarted,
    SkillAccepted,
    StageStarted,
    TrainingProgress,
)
from flowrl.report.running import SILENT_AFTER_S, Running, RunningFile, RunningSkill, read_running
from flowrl.report.spending import Spending
from flowrl.report.status import render_status, status_json
from flowrl.skills.graph import SkillGraph

ENV = "Craftax-Classic-Symbolic-v1"
STARTED = RunStarted(ENV, "exp/x", "gpt-5", 5, ())


def progress(skill: str, env_steps: int) -> TrainingProgress:
    return TrainingProgress(skill, env_steps, 1_000_000, 2000.0, 0.5, 0.4, {})


def test_all_skills_in_training_are_in_the_file(tmp_path: Path) -> None:
    now = [100.0]
    listen = RunningFile(tmp_path, lambda: now[0])
    assert read_running(tmp_path) is None
    for event in (STARTED, StageStarted("train", "one"), StageStarted("propose", "", "node 2")):
        listen(event)
    now[0] = 103.0
    listen(progress("one", 4096))
    listen(StageStarted("prepare", "two", "one x3"))
    running = read_running(tmp_path)
    assert running is not None
    assert (running.env_name, running.llm_name, running.max_nodes) == (ENV, "gpt-5", 5)
    assert running.updated == 103.0
    assert running.skills == (
        RunningSkill("one", "train", "", 4096, 1_000_000, 2000.0, 0.5, 0.4),
        RunningSkill("two", "prepare", "one x3"),
    )
    listen(SkillAccepted(0, "one", {}))
    listen(StageStarted("validate", "two"))
    assert [skill.skill for skill in read_running(tmp_path).skills] == ["two"]  # type: ignore[union-attr]
    listen(RunFinished(1, 4096, 9.0))
    assert read_running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_updates_are_written_every_other_second_and_stages_at_once(tmp_path: Path) -> None:
    now = [100.0]
    listen = RunningFile(tmp_path, lambda: now[0])
    listen(STARTED)
    seen = []
    for second in range(5):
        now[0] = 101.0 + second
        listen(progress("one", second))
        running = read_running(tmp_path)
        seen.append(running.skills[0].env_steps if running and running.skills else None)
    assert seen == [None, 1, 1, 3, 3]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    listen = RunningFile(tmp_path / "missing", lambda: 0.0)
    listen(STARTED)
    listen.close()


def test_what_another_version_wrote_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "running.json").write_text('{"version": 9}')
    assert read_running(tmp_path) is None


RUNNING = Running(
    1000.0, "node7", 42, ENV, "gpt-5", 9,
    (
        RunningSkill("collect_[red]iron", "train", "", 120_000, 2_000_000, 3021.0, 0.42, 0.31),
        RunningSkill("", "propose", "node 3"),
    ),
)  # fmt: skip


def shown(now: float) -> str:
    console = Console(file=io.StringIO(), width=120)
    render_status(SkillGraph(ENV), Spending((), ""), console, RUNNING, now)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_status_shows_every_skill_of_a_live_run() -> None:
    text = shown(1003.0)
    for part in ("node7, pid 42", "3s ago", "collect_[red]iron", "42% (at least 31%)", "120k", "2M", "3.02k"):
        assert part in text, part
    assert "(a proposal)" in text
    assert "propose node 3" in text
    data = json.loads(json.dumps(status_json(SkillGraph(ENV), Spending((), ""), RUNNING)))
    assert data["running"]["skills"][0]["env_steps"] == 120_000
    assert status_json(SkillGraph(ENV), Spending((), ""))["running"] is None


def test_a_run_that_fell_silent_is_not_shown_as_alive() -> None:
    text = shown(1001.0 + SILENT_AFTER_S)
    assert "may have ended without a word" in text
    assert "collect_" not in text


def test_a_run_without_an_accepted_skill_can_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunningFile(tmp_path)(STARTED)
    assert main(["status", "--graph-path", str(tmp_path)]) == 0
    assert "0 skills accepted" in capsys.readouterr().out
    (tmp_path / "running.json").unlink()
    assert main(["status", "--graph-path", str(tmp_path)]) == 2


def test_whoever_never_began_leaves_the_file_of_the_run_at_work(tmp_path: Path) -> None:
    at_work, refused = RunningFile(tmp_path), RunningFile(tmp_path)
    at_work(STARTED)
    refused.close()
    assert read_running(tmp_path) is not None
    at_work.close()
    assert read_running(tmp_path) is None
