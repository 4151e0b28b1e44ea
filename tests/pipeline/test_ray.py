"""The executor of a Ray cluster, on a real one: nodes of this machine, each with room for one worker."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from replies import DIAMOND, FLAG_ONLY, TABLE, WOOD_ONLY
from toy_runs import TOY_CONFIG, RunToy, ToyRun
from toy_world import TOY

pytest.importorskip("ray")

import ray
from ray.cluster_utils import Cluster
from toy_workers import RUNTIME_ENV

from flowrl.errors import UserError
from flowrl.pipeline import ray_cluster, ray_executor
from flowrl.pipeline.events import Event, RunFinished, RunNote, StageStarted, TrainingProgress
from flowrl.pipeline.jobs import TrainingJob
from flowrl.pipeline.parallel_config import ParallelConfig
from flowrl.pipeline.probing import RANDOM_STEPS, SKILL_STEPS
from flowrl.pipeline.ray_cluster import RayCluster, connected, worker_environment
from flowrl.pipeline.ray_executor import RayExecutor
from flowrl.skills.plan import Plan
from flowrl.store.manifest import read_graph

pytestmark = pytest.mark.xdist_group("ray")
"""One cluster, on one worker."""

SCRIPT = (FLAG_ONLY, WOOD_ONLY, TABLE)
SECRETS = {"OPENAI_API_KEY": "sk-of-a-test", "MY_OWN_TOKEN": "of-a-test"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The head has no room for workers, and one node is to spare: any may leave. All of them know secrets."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SECRETS, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(3):
            started.add_node(num_cpus=1)
    yield started
    started.shutdown()


@pytest.fixture
def parallel(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> ParallelConfig:
    """Two workers with a slot each, on two nodes; they know the toy world."""
    monkeypatch.setattr(ray, "init", functools.partial(ray.init, runtime_env=RUNTIME_ENV))
    port = cluster.address.rpartition(":")[2]
    return ParallelConfig(2, "ray", f"127.0.0.1:{port}", slots_per_worker=1)


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> list[RayExecutor]:
    """Those that runs to come make."""
    made: list[RayExecutor] = []
    begin: Any = RayExecutor.__init__

    def noted(self: RayExecutor, *args: Any) -> None:
        made.append(self)
        begin(self, *args)

    monkeypatch.setattr(RayExecutor, "__init__", noted)
    return made


def learned(done: ToyRun) -> dict[str, object]:
    return {
        node.name: (node.operator, node.plan, node.max_steps, node.max_repeat) for node in done.graph.nodes
    }


@pytest.mark.slow
def test_one_after_another_in_slots_and_on_ray_the_same_is_learned(
    run_toy: RunToy, parallel: ParallelConfig
) -> None:
    one = run_toy(SCRIPT)
    slots = run_toy(SCRIPT, slots=2, path=one.path.with_name("slots"))
    on_ray = run_toy(SCRIPT, parallel=parallel, path=one.path.with_name("ray"))
    assert on_ray.raised is None
    assert learned(one) == learned(slots) == learned(on_ray)
    assert len(learned(on_ray)) == 3
    # Both workers trained, each said where, and what was told of a skill came in order.
    places = [node.provenance for node in on_ray.graph.nodes]
    assert {place["worker"] for place in places} == {0, 1}
    assert len({place["node"] for place in places}) == 2
    for place in places:
        assert (place["executor"], place["slot"], place["num_slots"], place["retries"]) == ("ray", 0, 1, 0)
        assert {"host", "device", "versions", "job"} <= place.keys()
    stages = [event.stage for event in on_ray.of(StageStarted) if event.skill == "place_table"]
    assert stages == ["check", "plan", "prepare", "train", "validate"]
    # Every env step is counted, those of the driver's probing and those of the workers.
    probing = 32 * (RANDOM_STEPS + 3 * SKILL_STEPS)
    [finished] = on_ray.of(RunFinished)
    assert finished.env_steps == probing + sum(node.env_steps.total for node in on_ray.graph.nodes)


@pytest.mark.slow
def test_dying_workers_and_nodes_cost_a_retry_each_and_too_many_the_skill(
    run_toy: RunToy,
    parallel: ParallelConfig,
    cluster: Cluster,
    executors: list[RayExecutor],
    capfd: pytest.CaptureFixture[str],
) -> None:
    killed: list[str] = []

    def trouble(event: Event) -> None:
        if not isinstance(event, TrainingProgress):
            return
        [trainer] = [
            worker
            for worker in executors[0]._workers
            if event.skill in {job.name for job in worker.jobs.values()}
        ]
        assert trainer.place is not None
        if event.skill == "collect_diamond" or (
            event.skill == "gather_once" and not killed.count("gather_once")
        ):
            killed.append(event.skill)
            os.kill(trainer.place.pid, signal.SIGKILL)
        elif event.skill == "collect_wood" and not killed.count("collect_wood"):
            killed.append(event.skill)
            [node] = [node for node in cluster.worker_nodes if node.node_id == trainer.place.node]
            cluster.remove_node(node, allow_graceful=False)
            # Ray ends a lost node's workers in its own time, and this one may be done before; a node that
            # really leaves takes them with it at once.
            with contextlib.suppress(ProcessLookupError):
                os.kill(trainer.place.pid, signal.SIGKILL)

    done = run_toy(
        [FLAG_ONLY, DIAMOND, WOOD_ONLY], parallel=replace(parallel, max_retries=1), max_nodes=2, on=trouble
    )
    assert done.raised is None
    assert sorted(killed) == ["collect_diamond"] * 2 + ["collect_wood", "gather_once"]
    retries = {node.name: node.provenance["retries"] for node in done.graph.nodes}
    assert retries == {"gather_once": 1, "collect_wood": 1}
    [failure] = done.graph.failures
    assert (failure.name, failure.stage) == ("collect_diamond", "train")
    assert failure.reason.startswith("'collect_diamond' lost its worker 2 times (--max_retries 1)")
    notes = [event.text for event in done.of(RunNote)]
    assert len(notes) == 4
    [note] = [note for note in notes if note.endswith("To be trained anew: 'gather_once'.")]
    assert re.match(r"Worker \d on \S+ died: The actor is dead because its worker process has died\.", note)
    assert len(note) < 300
    assert "raylet" not in "".join(capfd.readouterr()), "Ray is quiet"


def test_a_worker_has_no_keys_and_its_bugs_end_the_run(parallel: ParallelConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    with connected(parallel) as there:
        executor = RayExecutor(there, parallel, replace(TOY_CONFIG, graph_path=tmp_path), events.append)
        executor.start()
        actor = next(worker.actor for worker in executor._workers if worker.place is not None)
        environment = ray.get(actor.__ray_call__.remote(lambda _: dict(os.environ)))
        assert not SECRETS.keys() & environment.keys()
        assert not set(SECRETS.values()) & set(environment.values())
        knows = ray.get(actor.__ray_call__.remote(lambda worker: worker._orders.config.graph_path))
        assert knows == Path(os.devnull), "it could not write into the graph's folder if it would"
        assert (environment["NPROC"], environment["JAX_PLATFORMS"]) == ("1", "cpu")

        broken: Any = None
        executor.submit(TrainingJob(0, broken, b"", Plan((), ()), (), 1, 1))
        with pytest.raises(RuntimeError, match=r"(?s)training failed in a worker.*Traceback.*AttributeError"):
            poll_for_ever(executor)
        executor.close()
    assert not ray.is_initialized()
    assert list(tmp_path.iterdir()) == []


def poll_for_ever(executor: RayExecutor) -> None:
    while True:
        assert executor.poll() == []


def test_no_place_for_a_worker_says_what_was_asked_and_what_there_is(
    parallel: ParallelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "PLACEMENT_S", 0.0)
    monkeypatch.setattr(ray_executor, "PLACEMENT_S", 1.0)
    has = r"It has \d nodes \(1 with 0 GPUs, 0 CPU cores; \d with 0 GPUs, 1 CPU core\)"
    with (
        pytest.raises(UserError, match=rf"asks for 0 GPUs and 64 CPU cores, and no node .* {has}"),
        connected(replace(parallel, worker_cpus=64)),
    ):
        pass
    with connected(parallel) as there:
        cores = int(ray.available_resources()["CPU"])
        others = [ray.remote(num_cpus=1)(object).remote() for _ in range(cores)]
        executor = RayExecutor(there, parallel, TOY_CONFIG, lambda _: None)
        with pytest.raises(
            UserError, match=r"No worker found a place within 1 s.*of which 0 GPUs, 0 CPU cores"
        ):
            executor.start()
        executor.close()
        assert others


def test_no_cluster_and_no_ray_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ParallelConfig(2, "ray", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster answers.*ray start --head"), connected(nowhere):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed.*\[cluster\]"), connected(nowhere):
        pass


def test_what_a_worker_is_told_suits_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "x")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the cluster's own")
    shared = worker_environment(RayCluster(0.5, 3, local=True))
    assert (shared["SOME_SECRET"], shared["ANTHROPIC_API_KEY"]) == ("", "")
    assert "RAY_AUTH_TOKEN" not in shared
    assert (shared["XLA_PYTHON_CLIENT_MEM_FRACTION"], shared["NPROC"]) == ("0.375", "3")
    assert "JAX_PLATFORMS" not in shared
    assert worker_environment(RayCluster(0, 1, local=True))["JAX_PLATFORMS"] == "cpu"


@pytest.mark.slow
def test_a_killed_driver_leaves_no_cluster_behind_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    command = [sys.executable, str(Path(__file__).with_name("toy_ray_run.py")), str(path)]
    # Given a token, Ray makes none in the home folder.
    environment = {**os.environ, **SECRETS, "RAY_AUTH_TOKEN": "of-a-test" * 4}
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        wait_until(lambda: (path / "graph.json").exists() and read_graph(path, TOY).names != ())
        cluster = psutil.Process(driver.pid).children(recursive=True)
        names = " ".join(process.name() for process in cluster)
        assert "raylet" in names
        assert "gcs_server" in names
        assert any(process.name().startswith("ray::RayWorker") for process in cluster)
        for process in cluster:
            assert not set(SECRETS.values()) & set(process.environ().values()), process
        driver.kill()
        driver.wait()
    # Two of Ray's helpers try for a minute to tell the dead head so. They hold no device and no work.
    last_words = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    workers = [process for process in cluster if process.name() not in last_words]
    _, alive = psutil.wait_procs(workers, timeout=30)
    for process in cluster:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert not alive, (tmp_path / "log").read_text()
    before = read_graph(path, TOY)
    assert before.names == ("collect_wood",)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    after = read_graph(path, TOY)
    assert after.names == ("collect_wood", "place_table")
    assert after.nodes[0] == before.nodes[0]
    # Ray is quiet, but for one remark of its C++ part on a machine without a network.
    said = [line for line in (again.stdout + again.stderr).splitlines() if "network_util.cc" not in line]
    assert said == []


def wait_until(holds: Callable[[], bool], timeout_s: float = 300.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)
