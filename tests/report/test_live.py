"""The live view and the plain lines, driven by a made-up run."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from flowrl.pipeline.events import (
    Event,
    OperatorRefined,
    RunFinished,
    RunStarted,
    SkillAccepted,
    SkillRefused,
    SkillValidated,
    StageStarted,
    TrainingProgress,
)
from flowrl.report.live import LiveView, terminal_view
from flowrl.report.plain import PlainLines
from flowrl.report.progress import RunState, duration, share, sparkline, time_left_s


def training(skill: str, steps: int, success: float | None = 0.5) -> TrainingProgress:
    return TrainingProgress(
        skill, steps, 100_000, 2_000.0, success, None if success is None else success - 0.1, {"loss": 1.0}
    )


def accepted(index: int, skill: str) -> SkillAccepted:
    return SkillAccepted(
        index, skill, {"success": 0.93, "success_low": 0.89, "env_steps": 60_000, "wall_s": 75.0}
    )


RUN: list[Event] = [
    RunStarted("Craftax-Classic-Symbolic-v1", "exp/demo", "playbook", 4, ("collect_wood",)),
    StageStarted("propose", ""),
    StageStarted("check", "place_table"),
    StageStarted("train", "place_table", "from 512 start states"),
    training("place_table", 20_000, None),
    training("place_table", 40_000, 0.1),
    training("place_table", 60_000, 0.9),
    accepted(1, "place_table"),
    StageStarted("propose", ""),
    SkillRefused("", "parse", "no fenced block"),
    StageStarted("train", "drink"),
    RunFinished(2, 60_000, 90.0, "five failures in a row"),
]


def terminal(width: int = 100, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"}
    )


def drawn(view: LiveView, console: Console) -> str:
    with console.capture() as captured:
        console.print(view._draw())
    return re.sub(r"\x1b\[[0-9;]*m", "", captured.get())


def test_the_view_follows_a_run() -> None:
    console = terminal()
    view = LiveView(console, clock=lambda: 0.0)
    assert "starting" in drawn(view, console)
    for event in RUN[:7]:
        view(event)
    picture = drawn(view, console)
    for shown in (
        "1/4 skills",
        "collect_wood",
        "train place_table",
        "60,000/100,000",
        "90% (at least 80%)",
        "2,000/s",
        "max 20s left",
        "▁█",
    ):
        assert shown in picture, shown
    view(RUN[7])
    picture = drawn(view, console)
    assert "train" not in picture
    assert "93% (at least 89%)" in picture
    assert "1m15s" in picture
    for event in RUN[8:]:
        view(event)
    picture = drawn(view, console)
    assert "1 refused; last: a reply [parse] no fenced block" in picture
    assert "stopped: five failures in a row" in picture


def test_a_long_graph_and_a_small_terminal_keep_to_the_screen() -> None:
    console = terminal(width=60, height=20)
    view = LiveView(console, clock=lambda: 0.0)
    view(RunStarted("Craftax-Symbolic-v1", "exp/" + "deep/" * 40, "gpt-5", 200, ()))
    for index in range(100):
        view(accepted(index, f"a_skill_with_quite_a_long_name_{index}"))
    view(StageStarted("train", "x" * 200, "y" * 200))
    view(training("x" * 200, 50_000))
    lines = drawn(view, console).splitlines()
    assert len(lines) <= 20
    assert any("before" in line for line in lines)


def test_a_corrected_operator_is_told_and_one_that_was_right_is_not() -> None:
    change = {"part": "consumes", "fact": "inventory:wood", "before": 3, "after": None}
    right = OperatorRefined("collect_wood", {}, {}, (), (), 99, 29, 4096)
    wrong = OperatorRefined("place_table", {}, {}, (change,), (), 99, 29, 4096)
    assert plain_lines([right, wrong]) == ["corrected place_table: consumes inventory:wood 3 -> none"]
    console = terminal()
    view = LiveView(console, clock=lambda: 0.0)
    view(right)
    assert "corrected" not in drawn(view, console)
    view(wrong)
    assert "1 corrected; last: place_table consumes inventory:wood 3 -> none" in drawn(view, console)


def test_a_validation_is_told_with_what_it_had_to_reach() -> None:
    event = SkillValidated("collect_coal", 256, 0.79, 0.736, 0.8)
    assert plain_lines([event]) == ["validated collect_coal: success 79% (at least 74%), wanted 80%"]


def test_several_skills_are_shown_side_by_side() -> None:
    console = terminal()
    view = LiveView(console, clock=lambda: 0.0)
    for skill in ("one", "two"):
        view(StageStarted("train", skill))
        view(training(skill, 50_000))
    assert drawn(view, console).count("50,000/100,000") == 2


def test_prints_and_log_lines_appear_above_the_view(capsys: pytest.CaptureFixture[str]) -> None:
    """A handler that holds the real stream must not write through the picture, and gets its stream back."""
    console = terminal()
    real = sys.stderr
    handler = logging.StreamHandler(real)
    logger = logging.getLogger("a.noisy.library")
    logger.addHandler(handler)
    try:
        with terminal_view(console) as listener:
            listener(RUN[0])
            logger.warning("a log line")
            print("a printed line")
            assert handler.stream is not real
        assert handler.stream is real
        assert sys.stderr is real
    finally:
        logger.removeHandler(handler)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a log line" in text
    assert "a printed line" in text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "console",
    [
        Console(file=io.StringIO()),
        Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}),
    ],
    ids=["a file", "a dumb terminal"],
)
def test_where_nothing_can_be_drawn_there_are_plain_lines(console: Console) -> None:
    with terminal_view(console) as listener:
        for event in RUN:
            listener(event)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in text
    assert "accepted 1 place_table" in text


def plain_lines(events: list[Event], clock: Callable[[], float] = lambda: 0.0) -> list[str]:
    lines: list[str] = []
    view = PlainLines(lines.append, clock)
    for event in events:
        view(event)
    return [line.split("] ", 1)[1] for line in lines]


def test_plain_lines_say_every_stage_once() -> None:
    assert plain_lines(RUN) == [
        "Craftax-Classic-Symbolic-v1, playbook: graph exp/demo (1 there), up to 4 skills",
        "propose",
        "check place_table",
        "train place_table from 512 start states",
        "train place_table: 20,000/100,000 env steps, success -, 2,000/s, max 40s left",
        "accepted 1 place_table: success 93% (at least 89%), 60,000 env steps",
        "propose",
        "refused a reply [parse] no fenced block",
        "train drink",
        "stopped: five failures in a row; 2 skills, 60,000 env steps, 1m30s",
    ]


def test_plain_lines_report_training_every_ten_seconds_for_each_skill() -> None:
    now = [0.0]
    lines: list[str] = []
    view = PlainLines(lines.append, lambda: now[0])
    for second in range(25):
        now[0] = float(second)
        view(training("one", second))
        view(training("two", second))
    # At 0, 10 and 20 s, for each of two skills.
    assert len(lines) == 6


def test_a_skill_may_train_on_after_a_validation() -> None:
    console = terminal()
    view = LiveView(console, clock=lambda: 0.0)
    for event in (StageStarted("train", "one"), StageStarted("validate", "one"), training("one", 50_000)):
        view(event)
    assert "train one" in drawn(view, console)


def test_a_refused_skill_leaves_the_others_underway() -> None:
    state = RunState()
    state.take(StageStarted("train", "one"))
    state.take(StageStarted("train", "two"))
    state.take(SkillRefused("one", "train", "budget spent"))
    assert list(state.underway) == ["two"]


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 5, ""),
        ([0.0, 1.0], 5, "▁█"),
        ([0.0, 0.0, 1.0, 1.0], 2, "▁█"),
        ([0.5] * 7, 3, "▅▅▅"),  # floor(0.5 * 8) = 4, the fifth of eight bars
        ([0.0, 1.0, 1.0], 2, "▁█"),  # parts of 1 and 2 values: mean 0 and 1
    ],
)
def test_sparkline(values: list[float], width: int, bars: str) -> None:
    assert sparkline(values, width) == bars


def test_small_formats() -> None:
    assert [duration(s) for s in (None, 0.4, 59.7, 61, 7505)] == ["-", "0s", "1m00s", "1m01s", "2h05m"]
    assert [share(None, None), share(0.5, None), share(0.934, 0.89)] == ["-", "50%", "93% (at least 89%)"]
    # 100,000 - 60,000 = 40,000 steps at 2,000 steps/s.
    assert time_left_s(training("x", 60_000)) == 20.0
    assert time_left_s(TrainingProgress("x", 0, 10, 0.0, None, None, {})) is None
