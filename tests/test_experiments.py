"""The recipes in experiments/: every one can be asked for help, and what it would run passes every check."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from flowrl.config import validate
from flowrl.errors import RunStopped, UserError
from flowrl.llm.errors import NothingToPropose
from flowrl.llm.providers.playbook import load_playbook
from flowrl.pipeline.practice_left import PracticeLeft
from flowrl.report.commands.practice import PracticeFlags
from flowrl.skills.evidence import EnvSteps
from flowrl.skills.graph import Failure, Practice
from flowrl.store.graph_store import GraphStore

FOLDER = Path(__file__).parent.parent / "experiments"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.py"))
ENV = "Craftax-Classic-Symbolic-v1"


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RECIPES)
def test_help_is_there_before_jax_could_be_loaded(name: str) -> None:
    code = (
        f"import runpy, sys; sys.argv = ['{name}.py', '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--seed" in done.stdout


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_on_the_page(name: str) -> None:
    assert f"{name}.py" in (FOLDER / "README.md").read_text()


def test_the_playbook_run_is_valid_and_keeps_what_a_search_may_find() -> None:
    module = recipe("classic_playbook")
    config = module.run_config(module.Recipe(seed=3))
    validate(config)
    assert (config.seed, config.env_name) == (3, ENV)
    assert config.validation.success_state_rate < config.validation.train_until


def test_the_control_is_trained_as_the_graph_is_practised() -> None:
    control, graph = recipe("classic_ppo"), recipe("classic_playbook")
    ppo = control.ppo_config(control.Recipe())
    practised = PracticeFlags().ppo
    assert (ppo.lr, ppo.ent_coef, ppo.anneal_lr) == (practised.lr, practised.ent_coef, practised.anneal_lr)
    assert ppo.layer_size == graph.run_config(graph.Recipe()).ppo.layer_size


def test_planted_errors_are_errors_and_proposals_all_the_same(tmp_path: Path) -> None:
    """In the reply format, each of another kind; what is used up need not be required."""
    module = recipe("classic_planted_errors")
    validate(module.run_config(module.Recipe()))
    shipped = module.write_proposals(tmp_path)
    written = {proposal.name: proposal.operator for proposal in load_playbook(ENV, tmp_path)}
    assert list(written) == list(shipped)
    assert len({planted.kind for planted in module.PLANTED.values()}) == len(written) >= 8
    for name, operator in written.items():
        assert module.without_repetition(operator) != module.without_repetition(shipped[name]), name
    twice = {"requires": {"near:table": 1, "inventory:wood": 2}, "consumes": {"inventory:wood": 2}}
    assert module.without_repetition(twice)["requires"] == {"near:table": 1}


def graph_that_took(folder: Path, steps: EnvSteps) -> Path:
    failure = Failure(
        name="b",
        stage="train",
        reason="r",
        fix="",
        operator=None,
        env_steps=steps,
        wall_s=1.0,
        llm={},
        time="",
    )
    with GraphStore.open(folder, ENV) as store:
        store.record_failure(failure, "a reply", ())
    return folder


def test_the_control_trains_for_as_many_steps_as_a_graph_took_in_all(tmp_path: Path) -> None:
    """What was refused was paid for too."""
    module = recipe("classic_ppo")
    path = graph_that_took(tmp_path / "graph", EnvSteps(train=1000, prepare=200, validate=30, refine=4))
    config = module.ppo_config(module.Recipe(like=path))
    assert config.total_timesteps == 1234
    assert module.ppo_config(module.Recipe(total_timesteps=2e6)).total_timesteps == 2_000_000


def test_practice_that_was_cut_off_is_not_begun_anew(tmp_path: Path) -> None:
    """What was practised counts, in however many parts; more is asked for by a larger number."""
    module = recipe("classic_playbook")
    path = graph_that_took(tmp_path / "graph", EnvSteps(train=1000))
    wanted = module.Recipe(out=tmp_path, practice_timesteps=500)
    assert module.still_to_practise(wanted) == PracticeLeft(0)
    with GraphStore.open(path, ENV) as store:
        store.journal.append("RunStarted", {"llm_name": "practice"})
        for env_steps in (300, 100):
            store.commit_practice(Practice(("a",), 0, env_steps, 1.0), {}, ())
    assert module.still_to_practise(wanted) == PracticeLeft(400)
    done = replace(wanted, practice_timesteps=400)
    assert module.still_to_practise(done) == PracticeLeft(400, train=False)
    with GraphStore.open(path, ENV) as store:
        store.journal.append("RunFinished", {"reason": ""})
    assert module.still_to_practise(done) is None
    assert module.still_to_practise(wanted) == PracticeLeft(400)
    assert recipe("classic_ppo").steps_of(path) == 1400


@pytest.mark.parametrize(
    "ending", [RunStopped("five refusals in a row"), NothingToPropose("the playbook has nothing left")]
)
def test_what_was_not_learned_alone_is_practised(
    ending: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Learning ends without all the skills when the playbook is through, or after many refusals in a row."""

    class Practised(Exception):
        pass

    def run_bottomup(*_: object) -> None:
        raise ending

    def practise(*_: object, **__: object) -> None:
        raise Practised

    monkeypatch.setattr("flowrl.pipeline.run.run_bottomup", run_bottomup)
    monkeypatch.setattr("flowrl.pipeline.practice.practise", practise)
    graph_that_took(tmp_path / "graph", EnvSteps(train=400))
    module = recipe("classic_playbook")
    with pytest.raises(Practised):
        module.main(module.Recipe(out=tmp_path))
    assert str(ending) in capsys.readouterr().out


def test_a_graph_that_took_nothing_is_no_measure(tmp_path: Path) -> None:
    path = graph_that_took(tmp_path / "graph", EnvSteps())
    with pytest.raises(UserError, match="no skill yet"):
        recipe("classic_ppo").steps_of(path)
