"""The folder of a flat-PPO run: one writer, nothing torn, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flowrl.errors import GraphError, UserError
from flowrl.pipeline.flat_checkpoint import FlatFolder, Kept

SETTINGS = {"env_name": "a world", "lr": 0.5}


def kept(env_steps: int) -> Kept:
    """A policy whose one weight says how long it was trained."""
    return Kept(env_steps, 1.5, {"weight": np.full(2, env_steps)}, [{"env_steps": env_steps}])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FlatFolder]:
    opened = FlatFolder(tmp_path / "flat")
    yield opened
    opened.close()


def test_the_last_policy_is_gone_on_with(folder: FlatFolder) -> None:
    assert folder.go_on(SETTINGS, 100) is None
    folder.keep(kept(9), SETTINGS)
    folder.keep(kept(10), SETTINGS)
    assert [path.name for path in folder.out.glob("policy_*")] == ["policy_10"]
    found = folder.go_on(SETTINGS, 10)
    assert found is not None
    assert (found.env_steps, found.wall_s, found.curves) == (10, 1.5, [{"env_steps": 10}])
    np.testing.assert_array_equal(found.params["weight"], [10, 10])


def test_a_kill_between_two_policies_leaves_the_later_one(
    folder: FlatFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9 is not removed; by name it would come after 10."""
    folder.keep(kept(9), SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("flowrl.pipeline.flat_checkpoint.remove_folder", lambda _: None)
        folder.keep(kept(10), SETTINGS)
    found = folder.go_on(SETTINGS, 100)
    assert found is not None
    assert found.env_steps == 10
    folder.keep(kept(11), SETTINGS)
    assert [path.name for path in folder.out.glob("policy_*")] == ["policy_11"]


def test_another_process_is_refused_and_removes_nothing(folder: FlatFolder) -> None:
    half_written = folder.out / ".tmp-policy_10-ab"
    half_written.mkdir()
    with pytest.raises(GraphError, match=r"is in use by another process: pid \d+ .* another --out"):
        FlatFolder(folder.out)
    assert half_written.is_dir()
    folder.close()
    FlatFolder(folder.out).close()
    assert not half_written.exists()


@pytest.mark.parametrize(
    ("settings", "budget", "said"),
    [
        ({**SETTINGS, "lr": 0.1}, 10, r"trained with --lr 0\.5, not 0\.1\. Give that .* or another --out"),
        (SETTINGS, 9, r"10 env steps, more than the 9 asked for\. Give another --out"),
    ],
)
def test_another_run_is_refused(
    folder: FlatFolder, settings: dict[str, object], budget: int, said: str
) -> None:
    folder.keep(kept(10), SETTINGS)
    with pytest.raises(UserError, match=said):
        folder.go_on(settings, budget)


@pytest.mark.parametrize("text", ["{", "[]", '{"env_steps": 10, "wall_s": 1, "settings": 3}'])
def test_a_damaged_record_is_named(folder: FlatFolder, text: str) -> None:
    folder.keep(kept(10), SETTINGS)
    (folder.out / "policy_10" / "run.json").write_text(text)
    with pytest.raises(GraphError, match=r"policy_10 is damaged .* Give another --out"):
        folder.go_on(SETTINGS, 10)
