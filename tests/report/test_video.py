"""Video files: what is refused before the long work, what is written, and what a frame shows."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from flowrl.errors import UserError
from flowrl.pipeline.film import Film, Scene
from flowrl.report.commands.evaluate import evaluate
from flowrl.report.video import check_video_path, write_video
from flowrl.report.video_frame import MIN_HEIGHT, PANEL_WIDTH, PICTURE_SCALE, FramePainter
from flowrl.skills.plan import PlanStep
from flowrl.worlds.classic import ACHIEVEMENTS, INVENTORY, VITALS

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

SCENE = Scene(
    picture=np.full((40, 60, 3), 200, np.uint8),
    step=0,
    skill="collect_wood",
    rule=None,
    target="achievement:place_table",
    reached=False,
    plan=(PlanStep("collect_wood", 4), PlanStep("place_table")),
    inventory={"wood": 3},
    vitals={"health": (9.0, 9), "food": (2.0, 9)},
    achievements=("collect_wood",),
)


def film(steps: int, **more: Any) -> Film:
    """Of a picture that grows darker."""
    scenes = [replace(SCENE, picture=SCENE.picture - np.uint8(step), step=step) for step in range(steps + 1)]
    return replace(Film("Toy-v1", 3, steps, steps, False, 22, iter(scenes)), **more)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out.avi", "'.avi'"),
        ("out", "Choose one of '.gif', '.mp4'"),
        ("missing/out.mp4", "no folder"),
        ("folder.mp4", "cannot be written"),
    ],
)
def test_a_path_that_cannot_work_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """With the value and what to do."""
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError) as refused:
        check_video_path(tmp_path / name)
    assert said in str(refused.value)
    assert repr(str(tmp_path / name)) in str(refused.value)


def test_a_missing_package_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine where the extra was not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "imageio_ffmpeg" else find(name)
    )
    with pytest.raises(UserError, match=r"^--video needs imageio-ffmpeg: pip install 'flowrl\[video\]'\.$"):
        check_video_path(tmp_path / "out.mp4")


def test_the_command_refuses_before_it_looks_at_the_graph(tmp_path: Path) -> None:
    """There is no graph either; the video is what is said first."""
    with pytest.raises(UserError, match=r"--video 'film\.mov'"):
        evaluate(["--graph-path", str(tmp_path / "none"), "--video", "film.mov"], "flowrl evaluate")


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_every_scene_becomes_a_frame(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back by ffmpeg: the number of frames, their size, and the picture's own brightness."""
    path, said = tmp_path / f"out{ending}", io.StringIO()
    write_video(film(12), path, Console(file=said, width=200))
    # Its own way of starting programs forks, which JAX warns of.
    monkeypatch.setenv("IMAGEIO_FFMPEG_NO_PREVENT_SIGINT", "1")
    read = imageio_ffmpeg.read_frames(str(path))
    width, height = next(read)["source_size"]
    assert (width, height) == (60 * PICTURE_SCALE + PANEL_WIDTH, MIN_HEIGHT)
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in read]
    assert len(frames) == 13
    centre = (height // 2, 30 * PICTURE_SCALE)
    assert frames[0][centre].mean() == pytest.approx(200, abs=4)
    assert frames[12][centre].mean() == pytest.approx(188, abs=4)
    assert said.getvalue().splitlines()[-1].endswith("episode 3, 12 steps, survived")


def test_a_cut_film_says_so(tmp_path: Path) -> None:
    """What is missing was played all the same."""
    said = io.StringIO()
    write_video(film(2, length=5000, died=True), tmp_path / "out.mp4", Console(file=said, width=200))
    assert "5,000 steps, ended by death; its first 2 steps are shown" in said.getvalue()


def test_what_the_encoder_says_is_the_reason(tmp_path: Path) -> None:
    """The folder goes away while the agent plays."""
    folder = tmp_path / "gone"
    folder.mkdir()
    check_video_path(folder / "out.mp4")
    folder.rmdir()
    with pytest.raises(UserError, match=r"out\.mp4' cannot be written: .*No such file"):
        write_video(film(3), folder / "out.mp4", Console(file=io.StringIO()))


def test_a_frame_shows_what_changed() -> None:
    """Next step of the plan, a rule, a vital, the bag, an achievement: each changes the panel only."""
    painter = FramePainter(film(9))
    plain, left = painter.paint(SCENE), 60 * PICTURE_SCALE
    for change in (
        {"plan": SCENE.plan[1:], "skill": "place_table"},
        {"rule": "vital:food"},
        {"reached": True},
        {"vitals": {"health": (9.0, 9), "food": (8.0, 9)}},
        {"inventory": {"wood": 4}},
        {"achievements": ("collect_wood", "place_table")},
    ):
        changed = painter.paint(replace(SCENE, **change))
        assert (changed != plain)[:, left:].any()
        np.testing.assert_array_equal(changed[:, :left], plain[:, :left])


def test_of_a_long_plan_its_beginning_and_its_end_are_shown() -> None:
    """The steps in between are not."""
    painter = FramePainter(film(9))
    steps = [PlanStep(f"skill_{index}") for index in range(12)]
    plain = painter.paint(replace(SCENE, plan=tuple(steps)))
    for index, shown in ((0, True), (2, True), (5, False), (11, True)):
        changed = [*steps[:index], PlanStep("another"), *steps[index + 1 :]]
        assert (painter.paint(replace(SCENE, plan=tuple(changed))) != plain).any() == shown


def test_the_fullest_panel_of_a_game_fits() -> None:
    """Everything in Classic's bag, all achievements, a long plan: nothing is drawn below the last line."""
    full = replace(
        SCENE,
        plan=tuple(PlanStep(f"skill_{index}") for index in range(12)),
        vitals=dict.fromkeys(VITALS, (9.0, 9)),
        inventory=dict.fromkeys(INVENTORY, 9),
        achievements=ACHIEVEMENTS,
    )
    panel = FramePainter(film(9)).paint(full)[:, 60 * PICTURE_SCALE :]
    np.testing.assert_array_equal(panel[-4:], np.broadcast_to(panel[-1, 0], panel[-4:].shape))
