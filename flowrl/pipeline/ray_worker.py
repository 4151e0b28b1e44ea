"""One worker of a Ray cluster: an actor that trains jobs in the slots of a trainer of its own.

A thread trains without a pause; :meth:`RayWorker.exchange` hands it jobs and returns what happened meanwhile.
Only data crosses: text, numbers, bytes and numpy arrays. A worker has no keys, asks no models and writes
nothing but JAX's compilation cache.
"""

from __future__ import annotations

import os
import platform
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from flowrl.config import RunConfig
from flowrl.errors import FlowrlError, UserError
from flowrl.pipeline.available_memory import available_memory
from flowrl.pipeline.compilation_cache import use_compilation_cache
from flowrl.pipeline.events import Event
from flowrl.pipeline.jobs import Outcome, TrainingJob
from flowrl.pipeline.memory import require_memory
from flowrl.pipeline.ray_cluster import forget_keys
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.slot_executor import SlotExecutor
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.worlds.registry import make_world

WAIT_S = 0.25
"""Seconds that an exchange waits for news: as long may a job wait to be handed over."""


@dataclass(frozen=True)
class WorkerOrders:
    """What a worker is made with.

    Attributes:
        config: of the run, with all sizes filled in, but without the path of its graph.
        slots: K of its trainer.
        gpus: what it was given, 0 to 1.
    """

    config: RunConfig
    slots: int
    gpus: float


@dataclass(frozen=True)
class WorkerPlace:
    """Where a worker is that has built what it trains with."""

    host: str
    pid: int
    node: str


@dataclass(frozen=True)
class WorkerFailure:
    """Why a worker cannot go on, and no other could.

    Attributes:
        text: for the user where it is bad input (sizes, damaged code); the whole traceback where it is a bug.
        bug: which of the two.
    """

    text: str
    bug: bool


@dataclass(frozen=True)
class Report:
    """What happened since the last one, in order.

    Attributes:
        events: stages and progress.
        outcomes: of jobs that ended.
        env_steps: made by this worker since it began.
        place: None while it is still being built.
        failure: None unless it has ended.
    """

    events: tuple[Event, ...]
    outcomes: tuple[Outcome, ...]
    env_steps: int
    place: WorkerPlace | None
    failure: WorkerFailure | None


class RayWorker:
    """The actor. Builds its workbench in the background, then trains whatever it is handed."""

    def __init__(self, orders: WorkerOrders) -> None:
        forget_keys()
        self._orders = orders
        self._news = threading.Condition()
        self._jobs: deque[TrainingJob] = deque()
        self._events: list[Event] = []
        self._outcomes: list[Outcome] = []
        self._env_steps = 0
        self._place: WorkerPlace | None = None
        self._place_told = False
        self._failure: WorkerFailure | None = None
        threading.Thread(target=self._work, name="flowrl-training", daemon=True).start()

    def exchange(self, jobs: Sequence[TrainingJob]) -> Report:
        """Takes jobs, as many as slots are free; waits at most :data:`WAIT_S` for something to report."""
        with self._news:
            self._jobs.extend(jobs)
            self._news.notify_all()
            self._news.wait_for(self._has_news, WAIT_S)
            report = Report(
                tuple(self._events), tuple(self._outcomes), self._env_steps, self._place, self._failure
            )
            self._events, self._outcomes = [], []
            self._place_told = self._place is not None
            return report

    def _has_news(self) -> bool:
        just_built = self._place is not None and not self._place_told
        return bool(self._events or self._outcomes or self._failure) or just_built

    def _tell_event(self, event: Event) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify_all()

    def _work(self) -> None:
        try:
            bench = self._build()
            executor = SlotExecutor(bench, self._orders.config, self._tell_event)
            while True:
                for job in self._take_jobs(wait=executor.free == self._orders.slots):
                    executor.submit(job)
                outcomes = executor.poll()
                with self._news:
                    self._outcomes.extend(outcomes)
                    self._env_steps = bench.programs.env_steps
                    self._news.notify_all()
        except FlowrlError as error:
            self._fail(WorkerFailure(str(error), bug=False))
        except Exception:
            self._fail(WorkerFailure(traceback.format_exc(), bug=True))

    def _build(self) -> Workbench:
        use_compilation_cache()
        orders = self._orders
        if orders.gpus and jax.default_backend() == "cpu":
            raise UserError(
                f"--worker_gpus {orders.gpus:g}: a worker on {platform.node()} was given a GPU, but JAX sees "
                "none. Install the extra 'cuda' on every node, or use --worker_gpus 0."
            )
        world = make_world(orders.config.env_name)
        require_memory(world, orders.config, orders.slots, available_memory(), "slots_per_worker")
        ppo, shape = resolve_sizes(orders.config.ppo, orders.slots, orders.config.start_states)
        bench = build_workbench(world, ppo, shape, orders.config.seed)
        bench.compile_ahead()
        with self._news:
            self._place = WorkerPlace(platform.node(), os.getpid(), _node_id())
            self._news.notify_all()
        return bench

    def _take_jobs(self, wait: bool) -> list[TrainingJob]:
        with self._news:
            if wait:
                self._news.wait_for(lambda: bool(self._jobs))
            jobs = list(self._jobs)
            self._jobs.clear()
            return jobs

    def _fail(self, failure: WorkerFailure) -> None:
        with self._news:
            self._failure = failure
            self._news.notify_all()


def _node_id() -> str:
    import ray

    node: str = ray.get_runtime_context().get_node_id()
    return node
