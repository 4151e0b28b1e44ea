"""``flowrl check-skill FILE --json`` on the real Craftax-Classic: verdicts, shapes and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowrl import cli
from flowrl.llm.providers.playbook import load_playbook
from flowrl.llm.reply_text import whole_reply

CLASSIC = "Craftax-Classic-Symbolic-v1"


@pytest.fixture(scope="module")
def wood() -> str:
    """The playbook's first reply."""
    proposal = next(proposal for proposal in load_playbook(CLASSIC) if proposal.name == "collect_wood")
    return whole_reply(proposal.operator, proposal.source)


def check(capsys: pytest.CaptureFixture[str], file: Path, *flags: str) -> tuple[int, str, str]:
    code = cli.main(["check-skill", str(file), "--env_name", CLASSIC, *flags])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def verdict_on(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> tuple[int, dict[str, Any]]:
    file = tmp_path / "reply.md"
    file.write_text(text)
    code, out, err = check(capsys, file, "--json")
    assert err == ""
    verdict: dict[str, Any] = json.loads(out)
    assert {"accepted", "stage", "reason", "fix", "name"} == set(verdict)
    return code, verdict


def test_a_good_reply_is_accepted_with_exit_0(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, wood: str
) -> None:
    code, verdict = verdict_on(capsys, tmp_path, wood)
    assert code == 0
    assert verdict == {"accepted": True, "stage": None, "reason": None, "fix": None, "name": "collect_wood"}


@pytest.mark.parametrize(
    ("old", "new", "stage", "said"),
    [
        ('"inventory:wood"', '"inventory:wod"', "parse", "inventory:wod"),
        (
            "def is_done(start, prev, now, n):\n",
            "def is_done(start, prev, now, n):\n    import os\n",
            "static",
            "2",
        ),
        ("    return now.inventory.wood >= ", "    return jnp.stack([1.0, 2.0]) + ", "trace", "is_done"),
        ("    return now.inventory.wood >= ", "    return now.vitals.food >= ", "probe", "at the start"),
    ],
)
def test_a_refusal_says_where_why_and_how_to_mend_it_with_exit_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, wood: str, old: str, new: str, stage: str, said: str
) -> None:
    assert old in wood
    code, verdict = verdict_on(capsys, tmp_path, wood.replace(old, new))
    assert code == 1
    assert (verdict["accepted"], verdict["stage"]) == (False, stage), verdict
    assert said in verdict["reason"]
    assert verdict["fix"]
    assert verdict["name"] == (None if stage == "parse" else "collect_wood")


def test_what_is_refused_early_does_not_wait_for_the_game(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(*_: object) -> None:
        raise AssertionError("the game was played")

    monkeypatch.setattr("flowrl.pipeline.check_skill.random_play", play)
    assert verdict_on(capsys, tmp_path, "no blocks at all")[1]["stage"] == "parse"


def test_what_cannot_be_read_is_exit_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "reply.md"
    file.write_bytes(b"\xff\xfe\x00binary")
    code, out, err = check(capsys, file, "--json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert str(file) in err
    assert "cannot be read" in err
    assert check(capsys, tmp_path / "nowhere.md")[0] == 2
