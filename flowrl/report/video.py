"""A film as a video file: .mp4 for players, .gif for web pages."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from flowrl.errors import UserError
from flowrl.report.output_file import check_output

if TYPE_CHECKING:
    # A path is checked before anything loads JAX.
    from flowrl.pipeline.film import Film

FRAMES_PER_S = 10
"""Env steps a second: slow enough to follow every move, 1,000 steps in under two minutes."""

ENCODERS: dict[str, tuple[str, ...]] = {
    # yuv420p is what browsers and phones play; crf 18 keeps small letters sharp.
    ".mp4": ("-codec:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"),
    # A palette for every frame by itself: one for all would need all frames in memory first.
    ".gif": (
        "-filter_complex",
        "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none",
    ),
}
"""ffmpeg's output options by the file's ending."""

_NEEDED = {"imageio_ffmpeg": "imageio-ffmpeg", "PIL": "pillow"}


def check_video_path(path: Path) -> None:
    """Whether a video can be written to ``path``: to be asked before the long work.

    Raises:
        UserError: unknown ending, no such folder, no right to write there, or a missing package.
    """
    check_output("--video", path, ENCODERS)
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"--video needs {' and '.join(missing)}: pip install 'flowrl[video]'.")


def write_video(film: Film, path: Path, console: Console) -> None:
    """Writes a film into a file, its progress and a closing line to ``console``.

    Args:
        path: checked by :func:`check_video_path`.

    Raises:
        UserError: the file cannot be written.
    """
    from flowrl.report.video_frame import FramePainter

    painter = FramePainter(film)
    scenes = iter(track(film.scenes, "video", film.steps + 1, console=console))
    first = painter.paint(next(scenes))
    with _encoder(path, first.shape[1], first.shape[0]) as frames:
        frames.write(first.tobytes())
        for scene in scenes:
            frames.write(painter.paint(scene).tobytes())
    ending = "ended by death" if film.died else "survived"
    shown = "" if film.steps == film.length else f"; its first {film.steps:,} steps are shown"
    console.print(f"{path}: episode {film.episode}, {film.length:,} steps, {ending}{shown}", highlight=False)


@contextlib.contextmanager
def _encoder(path: Path, width: int, height: int) -> Iterator[IO[bytes]]:
    """Takes frames, uint8 RGB rows one after the other, and has written the file when the context ends.

    imageio-ffmpeg brings the program; its own writer does not look at how the program ended.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [
        get_ffmpeg_exe(), "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FRAMES_PER_S), "-i", "-",
        *ENCODERS[path.suffix.lower()], str(path.absolute()),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as complaints:
        # A session of its own: Ctrl-C ends this program, and what was written until then is closed properly.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,
        )
        assert process.stdin is not None
        broken = False
        try:
            yield process.stdin
        except BrokenPipeError:
            broken = True
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            code = process.wait()
        if code or broken:
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"ffmpeg ended with exit code {code}"
            raise UserError(f"--video {str(path)!r} cannot be written: {why}")
