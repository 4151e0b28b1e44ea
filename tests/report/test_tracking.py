"""The wandb listener: what it logs, and that nothing that happens there reaches the run."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from flowrl.config import RunConfig, flags_of
from flowrl.pipeline.events import (
    Event,
    RunFinished,
    SkillAccepted,
    SkillRefused,
    StageStarted,
    TrainingProgress,
)
from flowrl.report.tracking import WandbTracker, choose_mode


@dataclasses.dataclass
class FakeRun:
    described: dict[str, Any]
    logged: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    exit_code: int | None = None

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        assert self.exit_code is None, "finished twice"
        self.exit_code = exit_code


class FakeWandb(types.ModuleType):
    """Stands for the package; ``failing`` are the modes in which init raises."""

    def __init__(self, failing: tuple[str, ...] = ()) -> None:
        super().__init__("wandb")
        self.failing = failing
        self.runs: list[FakeRun] = []

    def Settings(self, **values: Any) -> types.SimpleNamespace:
        return types.SimpleNamespace(base_url="https://api.wandb.ai", **values)

    def init(self, **described: Any) -> FakeRun:
        if described["mode"] in self.failing:
            raise OSError("no route to host\nwith a second line")
        self.runs.append(FakeRun(described))
        return self.runs[-1]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def progress(skill: str, steps: int, success: float | None) -> TrainingProgress:
    return TrainingProgress(skill, steps, 100, 10.0, success, success, {"entropy": 1.5})


def tracker(tmp_path: Path, notices: list[str] | None = None, **config: Any) -> WandbTracker:
    said = notices if notices is not None else []
    return WandbTracker("exp/demo", config, tmp_path / "graph", said.append)


RUN: list[Event] = [
    StageStarted("propose", ""),
    StageStarted("train", "one"),
    progress("one", 10, None),
    progress("one", 20, 0.5),
    StageStarted("validate", "one"),
    SkillAccepted(0, "one", {"success": 0.9, "env_steps": 20, "name": "one", "requires": {}}),
    SkillRefused("", "parse", "no fenced block"),
    StageStarted("train", "two"),
    SkillRefused("two", "validate", "lower bound 0.4"),
    RunFinished(1, 20, 1.0),
]


def test_one_run_a_skill_grouped_by_graph(wandb: FakeWandb, tmp_path: Path) -> None:
    follow = tracker(tmp_path, seed=3)
    for event in RUN:
        follow(event)
    one, two = wandb.runs
    assert [run.described["name"] for run in wandb.runs] == ["one", "two"]
    assert {run.described["group"] for run in wandb.runs} == {"exp/demo"}
    assert {run.described["mode"] for run in wandb.runs} == {"offline"}
    assert one.described["config"] == {"seed": 3}
    assert one.described["settings"].console == "off"
    assert one.logged == [
        {"env_steps": 10, "steps_per_s": 10.0, "entropy": 1.5},
        {"env_steps": 20, "steps_per_s": 10.0, "entropy": 1.5, "success": 0.5, "success_low": 0.5},
    ]
    assert one.summary == {"success": 0.9, "env_steps": 20, "accepted": True}
    assert two.summary == {"accepted": False, "refused_at": "validate", "reason": "lower bound 0.4"}
    assert (one.exit_code, two.exit_code) == (0, 1)


LLM = {
    "proposer": "gpt-4o", "wrote": {"skill": "gpt-4o"},
    "total": {"calls": 3, "prompt_tokens": 300, "completion_tokens": 60, "usd": 0.00135, "cost": "$0.0014"},
}  # fmt: skip
UNKNOWN = {"proposer": "new", "total": {"calls": 3, "prompt_tokens": None, "usd": None, "cost": "unknown"}}


def test_what_a_skill_cost_is_in_its_runs_summary(wandb: FakeWandb, tmp_path: Path) -> None:
    follow = tracker(tmp_path)
    for event in (
        StageStarted("train", "one"),
        SkillAccepted(0, "one", {"success": 0.9, "llm": LLM}),
        StageStarted("train", "two"),
        SkillRefused("two", "validate", "lower bound 0.4", UNKNOWN),
    ):
        follow(event)
    one, two = wandb.runs
    assert one.summary == {
        "success": 0.9, "accepted": True, "llm/proposer": "gpt-4o", "llm/calls": 3, "llm/prompt_tokens": 300,
        "llm/completion_tokens": 60, "llm/usd": 0.00135, "llm/cost": "$0.0014",
    }  # fmt: skip
    # What is unknown is no number, least of all 0.
    assert {name: value for name, value in two.summary.items() if name.startswith("llm/")} == {
        "llm/proposer": "new", "llm/calls": 3, "llm/cost": "unknown",
    }  # fmt: skip


def test_training_on_after_a_validation_stays_in_the_same_run(wandb: FakeWandb, tmp_path: Path) -> None:
    follow = tracker(tmp_path)
    for stage in ("train", "validate", "train"):
        follow(StageStarted(stage, "one"))
    assert len(wandb.runs) == 1


def test_skills_side_by_side_have_their_own_runs(wandb: FakeWandb, tmp_path: Path) -> None:
    follow = tracker(tmp_path)
    for skill in ("one", "two"):
        follow(StageStarted("train", skill))
    follow(progress("two", 5, 0.1))
    follow(progress("unknown", 5, 0.1))
    assert [len(run.logged) for run in wandb.runs] == [0, 1]
    follow.close()
    follow.close()
    assert [run.exit_code for run in wandb.runs] == [1, 1]
    assert wandb.runs[0].summary["reason"] == "interrupted"


def test_without_a_network_it_goes_on_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeWandb(failing=("online",))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    notices: list[str] = []
    follow = tracker(tmp_path, notices)
    for event in RUN:
        follow(event)
    assert [run.described["mode"] for run in fake.runs] == ["offline", "offline"]
    assert notices == ["wandb: no route to host. Logging offline instead; wandb sync uploads it later."]


def test_a_wandb_that_fails_is_said_once_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(failing=("online", "offline")))
    notices: list[str] = []
    follow = tracker(tmp_path, notices)
    for event in RUN:
        follow(event)
    follow.close()
    assert len(notices) == 1
    assert "the run goes on" in notices[0]
    assert "\n" not in notices[0]


def test_a_missing_wandb_does_not_stop_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    notices: list[str] = []
    tracker(tmp_path, notices)(StageStarted("train", "one"))
    assert len(notices) == 1


def test_disabled_means_not_even_a_folder(
    wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    notices: list[str] = []
    follow = tracker(tmp_path, notices)
    for event in RUN:
        follow(event)
    assert (wandb.runs, notices, list(tmp_path.iterdir())) == ([], [], [])


def test_configuration_holds_plain_values_and_no_key(
    wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    follow = tracker(tmp_path, **dict(flags_of(RunConfig())))
    follow(StageStarted("train", "one"))
    config = wandb.runs[0].described["config"]
    assert all(value is None or isinstance(value, bool | int | float | str) for value in config.values())
    assert "sk-secret" not in repr(wandb.runs[0].described)


NETRC = "machine api.wandb.ai login user password secret\n"


@pytest.mark.parametrize(
    ("environment", "files", "mode", "notice"),
    [
        ({}, {}, "offline", True),
        ({"WANDB_API_KEY": "k"}, {}, "online", False),
        ({"WANDB_IDENTITY_TOKEN_FILE": "token"}, {}, "online", False),
        ({"WANDB_API_KEY": ""}, {}, "offline", True),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "k"}, {}, "offline", False),
        ({"WANDB_MODE": "dryrun"}, {}, "offline", False),
        ({"WANDB_MODE": "DISABLED"}, {}, "disabled", False),
        ({"WANDB_MODE": "online"}, {}, "offline", True),
        ({}, {".netrc": NETRC}, "online", False),
        ({}, {"_netrc": NETRC}, "online", False),
        ({}, {".netrc": "machine example.org login u password p\n"}, "offline", True),
        ({}, {".netrc": "not a netrc at all {"}, "offline", True),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, {".netrc": NETRC}, "offline", True),
        ({}, {".config/wandb/settings": "[default]\nmode = offline\n"}, "offline", False),
        (
            {},
            {".config/wandb/settings": "[default]\nbase_url = https://w.org\n", ".netrc": NETRC},
            "offline",
            True,
        ),
        ({}, {".config/wandb/settings": "no section"}, "offline", True),
    ],
)
def test_mode_is_chosen_without_asking_anybody(
    tmp_path: Path, environment: dict[str, str], files: dict[str, str], mode: str, notice: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    chosen, said = choose_mode({"HOME": str(tmp_path), **environment}, "https://api.wandb.ai")
    assert (chosen, bool(said)) == (mode, notice)
    assert not said or "--no-use_wandb" in said


def test_the_real_wandb_logs_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    notices: list[str] = []
    follow = tracker(tmp_path, notices)
    for event in RUN:
        follow(event)
    assert notices == []
    logs = list((tmp_path / "graph" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(logs) == 2
    assert capfd.readouterr().out == ""
