"""What the person at the terminal sees while a run goes on: a live view, or plain lines where it is none."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flowrl.pipeline.events import Event, Listener
from flowrl.report.plain import PlainLines
from flowrl.report.progress import RunState, Underway, corrections, duration, share, sparkline, training_line

_REFRESHES_PER_S = 4
_LINES_AROUND_NODES = 13


@contextlib.contextmanager
def terminal_view(console: Console | None = None) -> Iterator[Listener]:
    """A listener that shows the run on this terminal for as long as the context lasts.

    A live view on a terminal that can draw; plain lines where output is a file or a pipe, or ``TERM=dumb``.
    """
    console = console or Console()
    can_draw = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    if not can_draw:
        yield PlainLines(write=lambda line: print(line, file=console.file, flush=True))
        return
    view = LiveView(console)
    with view.shown():
        yield view


class LiveView:
    """Draws :class:`RunState` in place. Events may come from several threads."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._state = RunState()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Takes one event; see :data:`flowrl.pipeline.events.Listener`."""
        with self._lock:
            self._state.take(event)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Keeps the view on the terminal. Prints and log lines of others appear above it."""
        live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESHES_PER_S,
            vertical_overflow="crop",
        )
        before = (sys.stdout, sys.stderr)
        with live, _log_handlers_moved(before):
            yield

    def _draw(self) -> RenderableType:
        with self._lock:
            parts: list[RenderableType] = [self._heading(), self._nodes()]
            parts += [_underway(skill, self._console.width) for skill in self._state.underway.values()]
            if self._state.corrected:
                refined, count = self._state.corrected[-1], len(self._state.corrected)
                line = f"{count} corrected; last: {refined.skill} {corrections(refined)}"
                parts.append(Text(line, style="cyan", no_wrap=True, overflow="ellipsis"))
            if self._state.refused:
                last = self._state.refused[-1]
                count = len(self._state.refused)
                line = f"{count} refused; last: {last.skill or 'a reply'} [{last.stage}] {last.reason}"
                parts.append(Text(line, style="yellow", no_wrap=True, overflow="ellipsis"))
            if self._state.finished is not None:
                reason = self._state.finished.reason
                parts.append(
                    Text(f"stopped: {reason}" if reason else "done", style="red" if reason else "green")
                )
        return Group(*parts)

    def _heading(self) -> Text:
        started = self._state.started
        elapsed = duration(self._clock() - self._began)
        if started is None:
            return Text(f"flowrl  starting  {elapsed}", style="bold")
        line = (
            f"{started.env_name}  {started.llm_name}  {started.graph_path}  "
            f"{len(self._state.nodes)}/{started.max_nodes} skills  {elapsed}"
        )
        return Text(line, style="bold", no_wrap=True, overflow="ellipsis")

    def _nodes(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("#", justify="right")
        table.add_column("skill")
        for column in ("success", "env steps", "time"):
            table.add_column(column, justify="right")
        room = max(3, self._console.height - _LINES_AROUND_NODES)
        nodes = self._state.nodes
        if len(nodes) > room:
            table.add_row("", f"... {len(nodes) - room} before", "", "", "", style="dim")
        for node in nodes[-room:]:
            steps = "-" if node.env_steps is None else f"{node.env_steps:,}"
            success = share(node.success, node.success_low)
            table.add_row(str(node.index), node.name, success, steps, duration(node.wall_s))
        return table


def _underway(skill: Underway, width: int) -> RenderableType:
    """One skill in the making: its stage, and once it trains its curve, budget, speed and time left."""
    title = Text.assemble((f"{skill.stage} ", "cyan"), (skill.skill, "bold"), f"  {skill.detail}")
    title.no_wrap, title.overflow = True, "ellipsis"
    if skill.latest is None or skill.stage != "train":
        return title
    bar_width = min(30, width // 3)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=skill.latest.budget, completed=skill.latest.env_steps, width=bar_width),
        Text(sparkline(skill.curve, max(10, width - bar_width - 2)), style="green", no_wrap=True),
    )
    numbers = Text(training_line(skill.latest), no_wrap=True, overflow="ellipsis")
    return Group(title, bar, numbers)


@contextlib.contextmanager
def _log_handlers_moved(before: tuple[TextIO, TextIO]) -> Iterator[None]:
    """Points log handlers that hold the terminal's real streams at the ones that the live view watches.

    A handler keeps the stream that it was made with, and would write through the middle of the picture.
    """
    moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.StreamHandler) and handler.stream in before:
            moved.append((handler, handler.stream))
            handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
