"""``evaluate``: whole episodes of a skill graph, in fresh worlds of the stock game."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flowrl.config import Bounds, RunConfig, validate_bounds
from flowrl.report.commands.flags import parse_flags

_BOUNDS = {
    "episodes": Bounds(1, 1_000_000),
    "max_steps": Bounds(1, 100_000),
    "seed": Bounds(0, 2**31 - 1),
}


@dataclass(frozen=True)
class EvaluateFlags:
    """Plays whole episodes with the skills of a graph: its plans, its policies, the stock game's rules.

    No teleports and no banked start states; every episode begins in a fresh world that no training saw.
    """

    graph_path: Path = RunConfig.graph_path
    """Folder of the skill graph."""

    target: str | None = None
    """Skill or fact to pursue. Left out: every achievement that an accepted skill gains."""

    episodes: int = 512
    """Fresh worlds, one episode each."""

    max_steps: int = 10_000
    """Env steps after which an episode is cut off."""

    seed: int = 0
    """Seed of the worlds and of the actions."""

    practised: bool = True
    """Play the policies of the last practice, where there was one; else each skill's own."""

    json: bool = False
    """Print JSON, for scripts."""

    plot: Path | None = None
    """Draw the achievements' rates into this .png, .svg or .pdf file."""

    video: Path | None = None
    """Show the best of the episodes (by what its achievements are worth; the first of equals) in this .mp4 or
    .gif file: the game's picture, and beside it the skill in charge and its plan. At most the first 2,000
    steps; a .gif is many times larger than an .mp4. Needs pip install 'flowrl[video]'."""


def evaluate(args: Sequence[str], prog: str) -> int:
    """``flowrl evaluate``."""
    flags = parse_flags(EvaluateFlags, args, prog)
    validate_bounds(flags, _BOUNDS)
    if flags.plot is not None:
        from flowrl.report.output_file import PLOTS, check_output

        check_output("--plot", flags.plot, PLOTS)
    if flags.video is not None:
        from flowrl.report.video import check_video_path

        check_video_path(flags.video)
    from flowrl.pipeline.evaluate import measure_graph, play_graph
    from flowrl.report.evaluation import counted, draw_evaluation, render_evaluation

    with counted(flags.episodes, "playing", Console(stderr=True)) as ended:
        played = play_graph(
            flags.graph_path,
            flags.target,
            flags.episodes,
            flags.max_steps,
            flags.seed,
            ended,
            flags.practised,
        )
    measured = measure_graph(played)
    # What took so long comes first: a disk that is full by now costs only the pictures.
    if flags.json:
        print(json.dumps(measured, indent=2), flush=True)
    else:
        render_evaluation(measured, Console())
    if flags.plot is not None:
        draw_evaluation(measured, flags.plot)
    if flags.video is not None:
        from flowrl.pipeline.film import film_best
        from flowrl.report.video import write_video

        write_video(film_best(played), flags.video, Console(stderr=True))
    return 0
