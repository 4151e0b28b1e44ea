"""One tracing child, one toy world and one learned graph for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from replies import GOOD
from toy_runs import RunToy, ToyRun, toy_runner
from toy_world import ToyWorld

from flowrl.codegen.tracer import Tracer


@pytest.fixture(scope="session")
def tracer() -> Iterator[Tracer]:
    with Tracer() as shared:
        yield shared


@pytest.fixture(scope="session")
def toy_world() -> ToyWorld:
    return ToyWorld()


@pytest.fixture
def run_toy(tmp_path: Path, tracer: Tracer, toy_world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> RunToy:
    """See :func:`toy_runner`; graphs lie in the test's own folder."""
    return toy_runner(tmp_path, tracer, toy_world, monkeypatch)


@pytest.fixture(scope="session")
def learned(
    tmp_path_factory: pytest.TempPathFactory, tracer: Tracer, toy_world: ToyWorld
) -> Iterator[ToyRun]:
    """A run that learned the three good skills; to be looked at, not to be gone on with."""
    with pytest.MonkeyPatch.context() as patch:
        done = toy_runner(tmp_path_factory.mktemp("learned"), tracer, toy_world, patch)(GOOD)
    assert done.raised is None
    return done
