"""``bench parallel``: K skills in one process against K processes, and against one skill after another.

Every measurement is a process of its own (or several at once), from its start to its end: imports, the check
of the skills, compiling, training. This process never loads JAX: it would take a part of the GPU.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from flowrl.errors import FlowrlError

_CHILD = (
    # Ctrl-C reaches the children of a terminal, too: they end at once and without a traceback.
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "from flowrl.report.bench_slots import main; main()"
)

_GPU_SHARE = 0.75
"""Of a GPU's memory, what JAX takes by default; processes that run at once divide it."""

_CACHED_FROM_S = 0.5
"""Programs that took so long to compile are cached, as in a run: see flowrl.pipeline.compilation_cache."""


@dataclass(frozen=True)
class SlotsRequest:
    """What one process is to train.

    Attributes:
        env_name: the world.
        num_slots: K.
        skills: numbers of the skills; the same number is the same skill from the same parameters and worlds.
        env_steps: of each skill.
        num_envs, num_steps, layer_size: as the flags of a run, None where chosen from the device.
    """

    env_name: str
    num_slots: int
    skills: tuple[int, ...]
    env_steps: int
    num_envs: int | None = None
    num_steps: int | None = None
    layer_size: int | None = None


def bench_parallel(
    everything: SlotsRequest, slots: Sequence[int], cold: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measures every number of slots, and as many processes of one slot each.

    Args:
        everything: the skills to be learned, in one slot.
        slots: numbers of slots; 1, which all are compared with, is measured in any case.
        cold: begin every measurement with an empty compilation cache; else with one that an unmeasured run
            has filled.
        say: takes lines of progress.

    Returns:
        What ``flowrl bench parallel --json`` prints; see :func:`compared` for its rows.

    Raises:
        FlowrlError: a measurement failed.
    """
    load = os.getloadavg()[0]
    measured = {}
    with ExitStack() as stack:
        caches = _Caches(stack, cold, say)
        for count in sorted({1, *slots}):
            own = replace(everything, num_slots=count)
            say(f"{_count(count, 'slot')}: {_count(len(own.skills), 'skill')} in one process")
            wall_s, [run] = _timed([own], caches.ready(own))
            processes_s = None
            if count > 1:
                shares = [replace(everything, skills=everything.skills[part::count]) for part in range(count)]
                say(f"{_count(count, 'slot')}: the same skills in {count} processes at once")
                processes_s, _ = _timed(shares, caches.ready(everything))
            measured[count] = Measured(run, wall_s, processes_s)
    return {
        "env_name": everything.env_name,
        "device": measured[1].run["device"],
        "cpus": os.cpu_count(),
        "load_before": load,
        "cache": "cold" if cold else "warm",
        "skills": len(everything.skills),
        "rows": compared(measured),
    }


@dataclass(frozen=True)
class Measured:
    """One number of slots.

    Attributes:
        run: a :class:`~flowrl.report.bench_slots.SlotsRun` as JSON.
        wall_s: seconds of its process.
        processes_s: seconds of as many processes at once; None for one slot.
    """

    run: dict[str, Any]
    wall_s: float
    processes_s: float | None


def compared(measured: dict[int, Measured]) -> list[dict[str, Any]]:
    """One row a number of slots. The ratios say how many times as fast: above 1 the slots are faster.

    ``vs_k1_rate``: env steps a second of training against those of one slot, compiling excluded, refills
    included. ``vs_processes``: seconds of as many processes started together, against those of the slots, all
    included. ``vs_sequential``: seconds of one slot, one skill after another, against those of the slots, all
    included. ``refill_s`` is the median, None without refills; ``refill_compiles`` must be 0.
    """
    rates = {slots: one.run["timed_steps"] / one.run["timed_s"] for slots, one in measured.items()}
    rows = []
    for slots, one in measured.items():
        refills = one.run["refills_s"]
        rows.append(
            {
                "slots": slots,
                **{name: one.run[name] for name in ("num_envs", "num_steps", "layer_size", "env_steps")},
                "steps_per_s": rates[slots],
                "wall_s": one.wall_s,
                "processes_wall_s": one.processes_s,
                "vs_k1_rate": rates[slots] / rates[1],
                "vs_processes": None if one.processes_s is None else one.processes_s / one.wall_s,
                "vs_sequential": measured[1].wall_s / one.wall_s,
                "refills": len(refills),
                "refill_s": statistics.median(refills) if refills else None,
                "refill_compiles": one.run["refill_compiles"],
            }
        )
    return rows


class _Caches:
    """A compilation cache for each measurement: an empty one, or one that was filled for its programs."""

    def __init__(self, stack: ExitStack, cold: bool, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._cold = cold
        self._say = say
        self._filled: dict[int, str] = {}

    def ready(self, request: SlotsRequest) -> str:
        """A folder for processes with that number of slots."""
        slots = request.num_slots
        if self._cold:
            return self._folder()
        if slots not in self._filled:
            self._say(f"{_count(slots, 'slot')}: filling the compilation cache, not measured")
            folder = self._folder()
            _timed([replace(request, env_steps=1)], folder)
            self._filled[slots] = folder
        return self._filled[slots]

    def _folder(self) -> str:
        return self._stack.enter_context(tempfile.TemporaryDirectory(prefix="flowrl-bench-"))


def _timed(requests: Sequence[SlotsRequest], cache: str) -> tuple[float, list[dict[str, Any]]]:
    """Seconds that processes started together take until the last has ended, and what they measured.

    Raises:
        FlowrlError: one failed.
    """
    environment = {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{_GPU_SHARE / len(requests):.3f}",
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(_CACHED_FROM_S),
    }
    children: list[subprocess.Popen[str]] = []
    began = time.perf_counter()
    try:
        for request in requests:
            words = [sys.executable, "-c", _CHILD, json.dumps(asdict(request))]
            children.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True))
        said = [child.communicate()[0] for child in children]
    finally:
        for child in children:  # of which some still run where one was interrupted
            child.kill()
            child.wait()
    seconds = time.perf_counter() - began
    for child in children:
        if child.returncode:
            raise FlowrlError(
                f"a measurement with {_count(requests[0].num_slots, 'slot')} ended with exit code "
                f"{child.returncode}; what it said is above. Where memory ran out, use smaller --slots or "
                "--num_envs."
            )
    return seconds, [json.loads(output.splitlines()[-1]) for output in said]


def render_parallel(result: dict[str, Any], console: Console | None = None) -> None:
    """Prints one column a number of slots."""
    title = (
        f"{result['env_name']} on {result['device']}, {_count(result['cpus'], 'CPU core')}, load "
        f"{result['load_before']:.1f} before; {result['skills']} skills, {result['cache']} compilation cache"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("slots", no_wrap=True)
    for row in result["rows"]:
        table.add_column(str(row["slots"]), justify="right")
    for name, cell in _LINES.items():
        table.add_row(name, *(cell(row) for row in result["rows"]))
    (console or Console()).print(table)


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "envs a slot": lambda row: str(row["num_envs"]),
    "env steps": lambda row: f"{row['env_steps']:,}",
    "env steps a second, without compiling": lambda row: f"{row['steps_per_s']:,.0f}",
    "seconds in all": lambda row: _decimals(row["wall_s"], 1),
    "seconds of as many processes at once": lambda row: _decimals(row["processes_wall_s"], 1),
    "times as fast as one slot's rate": lambda row: _decimals(row["vs_k1_rate"], 2),
    "times as fast as the processes": lambda row: _decimals(row["vs_processes"], 2),
    "times as fast as one after another": lambda row: _decimals(row["vs_sequential"], 2),
    "seconds to refill a slot": lambda row: _decimals(row["refill_s"], 2),
    "step or update compiled by refills": lambda row: str(row["refill_compiles"]),
}


def _decimals(number: float | None, digits: int) -> str:
    return "-" if number is None else f"{number:.{digits}f}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
