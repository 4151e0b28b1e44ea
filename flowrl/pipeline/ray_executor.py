"""The executor of a Ray cluster: jobs go to workers, of which any may die.

What is lost with a worker is its training, nothing else: its jobs are handed to others, and another worker is
asked for in its place. The driver's part is bookkeeping in one thread; it waits for news, never for a worker.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from flowrl.config import RunConfig
from flowrl.errors import FlowrlError, RunStopped, UserError
from flowrl.pipeline.events import Listener, RunNote
from flowrl.pipeline.jobs import JobFailed, Outcome, TrainedSkill, TrainingJob
from flowrl.pipeline.parallel_config import ParallelConfig
from flowrl.pipeline.ray_cluster import PLACEMENT_S, RayCluster, worker_environment
from flowrl.pipeline.ray_worker import RayWorker, Report, WorkerOrders, WorkerPlace

POLL_S = 0.5
"""Seconds that a poll waits for news of any worker."""

STILLBIRTHS = 3
"""So many workers in a row that die before they could train end the run: the next would die as well."""


@dataclass
class _Worker:
    """One place for a worker, and who holds it now.

    Attributes:
        number: of the place, from 0.
        actor: Ray's handle.
        exchange: the call that is under way.
        since: when it was asked for, in seconds of the monotonic clock.
        placed: whether its process has answered.
        place: where it is, once it can train.
        jobs: what it trains, by id.
        to_send: those of them that it has not been handed yet.
        env_steps: made by it, as it said last.
    """

    number: int
    actor: Any
    exchange: Any
    since: float
    placed: bool = False
    place: WorkerPlace | None = None
    jobs: dict[int, TrainingJob] = field(default_factory=dict)
    to_send: list[TrainingJob] = field(default_factory=list)
    env_steps: int = 0


class RayExecutor:
    """Trains jobs on the workers of a cluster. See :class:`~flowrl.pipeline.executor.TrainingExecutor`.

    Asks for workers at once; :meth:`start` says whether there will be any.

    Args:
        cluster: connected.
        parallel: how many workers, of which size, and how often a job may lose its worker.
        config: of the run, with all sizes filled in.
        emit: is told of stages and progress, in the thread that polls, and of workers that died.
    """

    def __init__(
        self, cluster: RayCluster, parallel: ParallelConfig, config: RunConfig, emit: Listener
    ) -> None:
        self._cluster = cluster
        self._parallel = parallel
        self._emit = emit
        self._actor_class: Any = ray.remote(RayWorker).options(
            num_cpus=cluster.worker_cpus,
            num_gpus=cluster.worker_gpus,
            max_restarts=0,
            runtime_env={"env_vars": worker_environment(cluster)},
        )
        # Where the graph is is no business of theirs.
        config = dataclasses.replace(config, graph_path=Path(os.devnull))
        self._orders = WorkerOrders(config, parallel.slots, cluster.worker_gpus)
        self._queue: deque[TrainingJob] = deque()
        self._retries: Counter[int] = Counter()
        self._stillbirths = 0
        self._env_steps_of_the_dead = 0
        self._told_of_waiting = False
        self._began = False
        self._none_since = time.monotonic()
        self._workers = [self._hire(number) for number in range(parallel.workers)]

    @property
    def free(self) -> int:
        """Jobs that can be submitted now. While there is no worker, one is hoped for: its jobs wait."""
        able = sum(self._parallel.slots for worker in self._workers if worker.place is not None)
        places = min(max(able, self._parallel.slots), self._parallel.max_parallel_skills)
        return max(places - len(self._queue) - sum(len(worker.jobs) for worker in self._workers), 0)

    @property
    def env_steps_elsewhere(self) -> int:
        """Made by all workers so far, as far as they have said."""
        return self._env_steps_of_the_dead + sum(worker.env_steps for worker in self._workers)

    def start(self) -> None:
        """Returns once a worker can train.

        Raises:
            UserError: none was placed in :data:`~flowrl.pipeline.ray_cluster.PLACEMENT_S` seconds.
            RunStopped: workers die as they start.
        """
        while not any(worker.place is not None for worker in self._workers):
            lost = self.poll()
            assert not lost, "nothing was submitted"

    def submit(self, job: TrainingJob) -> None:
        """Takes a job, for the worker with the least to do.

        Raises:
            RuntimeError: nothing is free.
        """
        if not self.free:
            raise RuntimeError(f"{job.name!r} was submitted while all places are taken")
        self._queue.append(job)

    def poll(self) -> list[Outcome]:
        """Waits for news at most half a second, and returns the jobs that ended, in the order of their ids.

        Raises:
            UserError: the sizes do not fit a worker, or a worker cannot use its GPU.
            RunStopped: there is no worker left, and no place for another.
            RuntimeError: a bug, with the worker's traceback.
        """
        self._assign()
        calls = [worker.exchange for worker in self._workers]
        ray.wait(calls, num_returns=1, timeout=POLL_S)
        answered, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        outcomes: list[Outcome] = []
        for worker in list(self._workers):
            if worker.exchange in answered:
                outcomes += self._hear(worker)
        self._look_for_workers()
        return sorted(outcomes, key=lambda outcome: outcome.id)

    def close(self) -> None:
        """Ends all workers; what they train is dropped."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers = []
        self._queue.clear()

    def _hire(self, number: int) -> _Worker:
        actor = self._actor_class.remote(self._orders)
        return _Worker(number, actor, actor.exchange.remote(()), time.monotonic())

    def _assign(self) -> None:
        """Jobs to workers, those with the least to do first."""
        while self._queue:
            able = [
                worker
                for worker in self._workers
                if worker.place is not None and len(worker.jobs) < self._parallel.slots
            ]
            if not able:
                return
            worker = min(able, key=lambda worker: (len(worker.jobs), worker.number))
            job = self._queue.popleft()
            worker.jobs[job.id] = job
            worker.to_send.append(job)

    def _hear(self, worker: _Worker) -> list[Outcome]:
        """Takes in a worker's answer and calls it again; what its death ended, when it died."""
        try:
            report: Report = ray.get(worker.exchange)
        except RayTaskError as error:
            raise RuntimeError(f"a worker of the cluster failed: {error}") from None
        except RayError as error:
            return self._bury(worker, error)
        if report.failure is not None:
            where = report.place.host if report.place else "a node of the cluster"
            if report.failure.bug:
                raise RuntimeError(f"training failed in a worker on {where}:\n{report.failure.text}")
            raise UserError(report.failure.text)
        worker.placed = True
        worker.env_steps = report.env_steps
        if report.place is not None:
            worker.place = report.place
            self._began, self._stillbirths = True, 0
        for event in report.events:
            self._emit(event)
        for outcome in report.outcomes:
            del worker.jobs[outcome.id]
        worker.exchange = worker.actor.exchange.remote(tuple(worker.to_send))
        worker.to_send = []
        return [self._located(outcome, worker) for outcome in report.outcomes]

    def _located(self, outcome: Outcome, worker: _Worker) -> Outcome:
        """The outcome with what only the driver knows of where it was trained."""
        retries = self._retries.pop(outcome.id, 0)
        if not isinstance(outcome, TrainedSkill):
            return outcome
        assert worker.place is not None
        place = {
            "executor": "ray",
            "node": worker.place.node,
            "worker": worker.number,
            "retries": retries,
        }
        return dataclasses.replace(outcome, where={**outcome.where, **place})

    def _bury(self, worker: _Worker, error: RayError) -> list[Outcome]:
        """Asks for another worker; its jobs are queued again, before all others, or given up."""
        ray.kill(worker.actor)  # should it live after all, cut off from us
        reason = _reason(error)
        self._env_steps_of_the_dead += worker.env_steps
        if worker.place is None:
            self._stillbirths += 1
            if self._stillbirths >= STILLBIRTHS:
                raise RunStopped(
                    f"{self._stillbirths} workers in a row died before they could train; the last: {reason} "
                    "Look into the logs of its node (/tmp/ray/session_latest/logs). The same command goes on "
                    "from the last accepted skill."
                )
        given_up: list[Outcome] = []
        again: list[TrainingJob] = []
        for job in worker.jobs.values():
            self._retries[job.id] += 1
            if self._retries[job.id] > self._parallel.max_retries:
                given_up.append(self._give_up(job, reason))
            else:
                again.append(job)
        self._queue.extendleft(reversed(again))
        where = f" on {worker.place.host}" if worker.place else ""
        names = ", ".join(repr(job.name) for job in again)
        note = f"Worker {worker.number}{where} died: {reason}"
        self._emit(RunNote(f"{note} To be trained anew: {names}." if names else note))
        self._workers[self._workers.index(worker)] = self._hire(worker.number)
        return given_up

    def _give_up(self, job: TrainingJob, reason: str) -> JobFailed:
        tries = self._retries.pop(job.id)
        return JobFailed(
            job.id,
            "train",
            f"{job.name!r} lost its worker {tries} times (--max_retries {self._parallel.max_retries}); "
            f"the last time: {reason}",
            "This says nothing about the skill: it was not trained to the end.",
            job.env_steps,
            (),
        )

    def _look_for_workers(self) -> None:
        """Says so when some workers find no place; ends when none does.

        Raises:
            FlowrlError: no worker was placed for too long.
        """
        now = time.monotonic()
        waiting = [worker for worker in self._workers if not worker.placed]
        if len(waiting) < len(self._workers):
            self._none_since = now
            if not self._told_of_waiting and waiting and now - waiting[0].since > PLACEMENT_S:
                self._told_of_waiting = True
                self._emit(
                    RunNote(
                        f"{len(waiting)} of {len(self._workers)} workers wait for a place. {self._situation}"
                    )
                )
        elif now - self._none_since > PLACEMENT_S:
            raise self._no_place()

    @property
    def _situation(self) -> str:
        return f"Each asks for {self._cluster.asked}. The cluster has {self._cluster.has}."

    def _no_place(self) -> FlowrlError:
        text = f"No worker found a place within {PLACEMENT_S:g} s. {self._situation}"
        if self._began:
            return RunStopped(f"{text} The same command goes on from the last accepted skill.")
        return UserError(f"{text} Free what others use, or use smaller --worker_gpus or --worker_cpus.")


def _reason(error: RayError) -> str:
    """Why an actor died, in a sentence or two: the last of Ray's lines, without its guesses at the causes."""
    lines = [line for line in str(error).splitlines() if line and not line[0].isspace()]
    return lines[-1].partition(" Some common causes")[0].strip() if lines else type(error).__name__
