"""What the driver asks of whoever trains: a number of places, jobs in, outcomes out."""

from __future__ import annotations

from typing import Protocol

from flowrl.pipeline.jobs import Outcome, TrainingJob


class TrainingExecutor(Protocol):
    """Trains and validates skills, several at a time. Writes nothing into the graph's folder.

    What happens on the way (stages, progress) goes to the run's listener from inside :meth:`poll`, in the
    thread that calls it.
    """

    def start(self) -> None:
        """Waits until something can be trained; before, nobody is asked for a skill.

        Raises:
            UserError: nothing will ever be.
        """

    @property
    def env_steps_elsewhere(self) -> int:
        """Env steps made so far with other programs than the driver's own."""

    @property
    def free(self) -> int:
        """Jobs that can be submitted now and will begin at the next :meth:`poll`."""

    def submit(self, job: TrainingJob) -> None:
        """Takes a job; returns at once.

        Raises:
            RuntimeError: nothing is free.
        """

    def poll(self) -> list[Outcome]:
        """Trains, or waits, for a short while (an update or so) and returns the jobs that ended meanwhile.

        A job that ends frees its place before its outcome is returned.
        """

    def close(self) -> None:
        """Drops what is in training; harmless when called twice."""
