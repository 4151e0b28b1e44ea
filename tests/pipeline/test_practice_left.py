"""A practice that was cut off goes on with the same command; other settings begin a new one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowrl.config import PPOConfig
from flowrl.pipeline.practice_left import ALL_OF_IT, PracticeLeft, cut_off_in, what_is_left
from flowrl.skills.graph import Practice
from flowrl.store.graph_store import GraphStore

WORLD = "Craftax-Classic-Symbolic-v1"
PPO = PPOConfig(total_timesteps=1000, lr=1e-3)
HAD = {**PPO.__dict__, "num_envs": 4, "num_steps": 8, "layer_size": 16}
STARTED = ("RunStarted", {"llm_name": "practice"})
TRAINED = ("Practised", {"skills": ["a"]})
ENDED = ("RunFinished", {"reason": ""})
INTERRUPTED = ("RunFinished", {"reason": "interrupted"})
LEARNING = ("RunStarted", {"llm_name": "playbook"})


def practised(path: Path, env_steps: int, *events: tuple[str, dict[str, Any]], **provenance: object) -> Path:
    """A graph with one practice more, of so many env steps with ``HAD``."""
    with GraphStore.open(path, WORLD) as store:
        for kind, data in events:
            store.journal.append(kind, data)
        record = Practice((), 0, env_steps, 1.0, {"ppo": HAD, "seed": 3, **provenance})
        store.commit_practice(record, {}, ())
    return path


def test_the_rest_of_what_was_cut_off_is_left(tmp_path: Path) -> None:
    """Killed, the journal knows nothing of its end; in several parts, all of them count."""
    with GraphStore.open(tmp_path, WORLD):
        pass
    assert what_is_left(tmp_path, PPO, 3) == ALL_OF_IT
    practised(tmp_path, 400, STARTED)
    assert what_is_left(tmp_path, PPO, 3) == PracticeLeft(400)
    practised(tmp_path, 250, INTERRUPTED, STARTED, before=400)
    assert what_is_left(tmp_path, PPO, 3) == PracticeLeft(650)
    practised(tmp_path, 350, INTERRUPTED, STARTED, TRAINED, before=650)
    assert what_is_left(tmp_path, PPO, 3) == PracticeLeft(1000, train=False)
    practised(tmp_path, 350, INTERRUPTED, STARTED, TRAINED, ENDED, before=650)
    assert what_is_left(tmp_path, PPO, 3) == ALL_OF_IT


@pytest.mark.parametrize(
    ("asked", "seed"),
    [
        (replace(PPO, total_timesteps=2000), 3),
        (replace(PPO, lr=2e-3), 3),
        (replace(PPO, num_envs=8), 3),
        (PPO, 4),
    ],
)
def test_other_settings_begin_a_new_practice(tmp_path: Path, asked: PPOConfig, seed: int) -> None:
    """Sizes that are not given are what they were."""
    practised(tmp_path, 400, STARTED)
    assert what_is_left(tmp_path, replace(PPO, num_envs=4), 3) == PracticeLeft(400)
    assert what_is_left(tmp_path, asked, seed) == ALL_OF_IT


def test_with_more_skills_than_then_it_begins_anew(tmp_path: Path) -> None:
    with GraphStore.open(tmp_path, WORLD) as store:
        store.commit_practice(Practice((), 1, 400, 1.0, {"ppo": HAD, "seed": 3}), {}, ())
    assert what_is_left(tmp_path, PPO, 3) == ALL_OF_IT


def test_a_second_practice_that_kept_nothing_begins_again(tmp_path: Path) -> None:
    """The one before it, with the same settings, came to its end: it is not validated again either."""
    practised(tmp_path, 1000, STARTED, TRAINED, ENDED, STARTED)
    assert what_is_left(tmp_path, PPO, 3) == ALL_OF_IT


@pytest.mark.parametrize(
    ("events", "stage"),
    [
        ([LEARNING, ENDED], None),
        ([LEARNING, INTERRUPTED, STARTED, TRAINED, ENDED], None),
        ([STARTED, INTERRUPTED, LEARNING, ENDED], "train"),
        ([STARTED, LEARNING, ENDED], "train"),
        ([STARTED, TRAINED, LEARNING, INTERRUPTED], "validate"),
        ([STARTED, INTERRUPTED, STARTED, TRAINED, ENDED, LEARNING, INTERRUPTED], None),
    ],
)
def test_a_practice_without_its_end_is_told_from_other_runs(
    tmp_path: Path, events: list[tuple[str, dict[str, Any]]], stage: str | None
) -> None:
    """Killed, a run says nothing of its end; learning may go on in between."""
    lines = (json.dumps({"kind": kind, **data}) + "\n" for kind, data in events)
    (tmp_path / "journal.jsonl").write_text("".join(lines))
    assert cut_off_in(tmp_path) == stage


def test_a_graph_without_a_journal_was_not_cut_off(tmp_path: Path) -> None:
    assert cut_off_in(tmp_path) is None
