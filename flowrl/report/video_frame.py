"""One frame of a video: the game's picture, and beside it what the agent is doing and why."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowrl.pipeline.film import Film, Scene

PICTURE_SCALE = 4
"""Pixels of a frame to one of the game's picture, each way: its tiles are drawn in 16."""

PANEL_WIDTH, MIN_HEIGHT = 512, 576
"""Pixels. Multiples of 16, like the games' pictures at their scale: video codecs work in such blocks.
All of Classic's bag and achievements fit."""

_LEFT, _RIGHT = 22, PANEL_WIDTH - 22
_LINE, _DENSE_LINE = 21, 17
_PLAN_LINES = 5
"""Steps of a plan shown at a time."""

_GROUND, _INK, _DIM, _FAINT = "#14181d", "#e8edf2", "#8b98a5", "#2a323b"
_NOW, _RULE, _GOOD, _BAD = "#4c9f70", "#d98e32", "#4c9f70", "#c8504b"
_LOW_SHARE = 0.35
"""A vital at or below this share of its start value is drawn in red."""


class FramePainter:
    """Paints the scenes of one film; all frames have the same size."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._small, self._text = _font("DejaVuSans", 13), _font("DejaVuSans", 14)
        self._bold, self._title = _font("DejaVuSans-Bold", 14), _font("DejaVuSans-Bold", 22)

    def paint(self, scene: Scene) -> np.ndarray:
        """uint8 ``[H, W, 3]``, both multiples of 16 for the games' pictures."""
        height, width = (PICTURE_SCALE * size for size in scene.picture.shape[:2])
        frame = Image.new("RGB", (width + PANEL_WIDTH, max(height, MIN_HEIGHT)), _GROUND)
        picture = Image.fromarray(scene.picture).resize((width, height), Image.Resampling.NEAREST)
        frame.paste(picture, (0, (frame.height - height) // 2))
        panel = Image.new("RGB", (PANEL_WIDTH, frame.height), _GROUND)
        self._panel(ImageDraw.Draw(panel), scene)
        frame.paste(panel, (width, 0))
        return np.asarray(frame)

    def _panel(self, draw: ImageDraw.ImageDraw, scene: Scene) -> None:
        film = self._film
        draw.text((_LEFT, 14), film.env_name, _DIM, self._small)
        draw.text((_RIGHT, 14), f"episode {film.episode}", _DIM, self._small, anchor="ra")
        draw.text((_LEFT, 34), f"step {scene.step:,} of {film.length:,}", _INK, self._bold)
        self._bar(draw, (_LEFT, 57, _RIGHT, 60), scene.step / max(film.length, 1), _DIM)
        self._in_charge(draw, scene, 76)
        y = self._plan(draw, scene, 134)
        y = self._vitals(draw, scene, y + 10)
        y = self._listed(draw, "bag", [f"{n} {count}" for n, count in scene.inventory.items()], y + 10)
        heading = f"achievements {len(scene.achievements)} of {film.possible_achievements}"
        self._listed(draw, heading, list(scene.achievements), y + 10)

    def _in_charge(self, draw: ImageDraw.ImageDraw, scene: Scene, y: int) -> None:
        """The skill in charge and what called it: a maintenance rule, or a step of the plan."""
        colour = _RULE if scene.rule else _NOW
        draw.rectangle((_LEFT, y, _LEFT + 4, y + 46), colour)
        draw.text((_LEFT + 14, y - 3), scene.skill, _INK, self._title)
        left = len(scene.plan) - 1
        by_plan = f"the plan: then {left} more" if left > 0 else "the plan's last step"
        why = f"rule {scene.rule}" if scene.rule else "all targets are reached" if scene.reached else by_plan
        draw.text((_LEFT + 14, y + 29), why, colour if scene.rule else _DIM, self._text)

    def _plan(self, draw: ImageDraw.ImageDraw, scene: Scene, y: int) -> int:
        """The target and what is left to do for it; its end, too, where that is long."""
        y = self._heading(draw, f"target {scene.target}", y)
        labels = [step.skill if step.n == 1 else f"{step.skill} ×{step.n}" for step in scene.plan]
        if len(labels) > _PLAN_LINES:
            labels = [*labels[: _PLAN_LINES - 2], "...", labels[-1]]
        for row, label in enumerate(labels):
            current = row == 0 and not scene.reached
            if current:
                # While a rule is in force, the plan waits.
                box = (_LEFT - 6, y - 2, _RIGHT, y + _LINE - 4)
                draw.rounded_rectangle(box, 4, _FAINT if scene.rule else _NOW)
            mark = "✓" if scene.reached else "▸" if current else "·"
            draw.text((_LEFT, y), mark, _INK if current else _DIM, self._text)
            draw.text(
                (_LEFT + 22, y), label, _INK if current else _DIM, self._bold if current else self._text
            )
            y += _LINE
        return y

    def _vitals(self, draw: ImageDraw.ImageDraw, scene: Scene, y: int) -> int:
        """Bars in two columns."""
        y = self._heading(draw, "vitals", y)
        half = (_RIGHT - _LEFT) // 2 + 10
        for index, (name, (level, start)) in enumerate(scene.vitals.items()):
            left, top = _LEFT + index % 2 * half, y + index // 2 * _LINE
            right = left + half - 20
            draw.text((left, top), name, _INK, self._text)
            colour = _BAD if level <= _LOW_SHARE * start else _GOOD
            self._bar(draw, (left + 62, top + 4, right - 24, top + 13), level / start, colour)
            draw.text((right, top), f"{level:.0f}", _INK, self._text, anchor="ra")
        return y + -(-len(scene.vitals) // 2) * _LINE

    def _listed(self, draw: ImageDraw.ImageDraw, heading: str, words: list[str], y: int) -> int:
        """Words side by side under a heading, on as many lines as they take."""
        y, x = self._heading(draw, heading, y), _LEFT
        for word in words or ["nothing yet"]:
            width = int(draw.textlength(word, self._small))
            if x > _LEFT and x + width > _RIGHT:
                x, y = _LEFT, y + _DENSE_LINE
            draw.text((x, y), word, _INK if words else _DIM, self._small)
            x += width + 14
        return y + _DENSE_LINE

    def _heading(self, draw: ImageDraw.ImageDraw, text: str, y: int) -> int:
        draw.text((_LEFT, y), text, _DIM, self._small)
        draw.line((_LEFT, y + 19, _RIGHT, y + 19), _FAINT)
        return y + 26

    @staticmethod
    def _bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], share: float, colour: str) -> None:
        left, top, right, bottom = box
        draw.rectangle(box, _FAINT)
        if share > 0:
            draw.rectangle((left, top, left + round((right - left) * min(share, 1.0)), bottom), colour)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that matplotlib ships: the same on every machine, with the marks that are drawn here."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)
