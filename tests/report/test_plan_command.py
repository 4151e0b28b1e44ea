"""``flowrl plan``: what it prints at each ending, for scripts and for people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from flowrl import cli

SKILLS: dict[str, Any] = {
    "chop": {"gains": {"inventory:wood": 1, "near:tree": 1}},
    "buy": {"consumes": {"inventory:coin": 1}, "gains": {"inventory:board": "n"}},
    "find": {"requires": {"inventory:board": 1}, "gains": {"inventory:coin": 1}},
    "saw": {"consumes": {"inventory:board": "4*n"}, "gains": {"inventory:plank": "n"}},
}
"""A skill that gives a constant amount, two that wait for each other, and one that comes after them."""


@pytest.fixture
def operators(tmp_path: Path) -> str:
    file = tmp_path / "operators.json"
    file.write_text(json.dumps({"skills": SKILLS}))
    return str(file)


def run(capsys: pytest.CaptureFixture[str], operators: str, *args: str) -> tuple[int, str, str]:
    """``(exit code, stdout, stderr)``."""
    code = cli.main(("plan", "--operators", operators, *args))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_how_often_is_not_limited_by_what_the_target_asks(
    capsys: pytest.CaptureFixture[str], operators: str
) -> None:
    args = ("--target", "inventory:plank=50", "--have", "inventory:coin=1")
    assert run(capsys, operators, *args) == (0, "buy x200 -> saw x50\n", "")
    code, out, _ = run(capsys, operators, *args, "--json")
    assert (code, json.loads(out)) == (0, {"plan": [["buy", 200], ["saw", 50]], "proved": True})


def test_giving_up_is_quick_and_says_so(capsys: pytest.CaptureFixture[str], operators: str) -> None:
    began = time.process_time()
    code, out, err = run(capsys, operators, "--target", "inventory:wood=1e5", "--json")
    assert time.process_time() - began < 1.0
    assert code == 1
    assert "every plan takes at least 100000 steps" in json.loads(out)["gave_up"]["reason"]
    assert json.loads(out)["gave_up"]["reason"] in err
    assert run(capsys, operators, "--target", "inventory:wood=1e5") == (1, "", err)


def test_what_is_impossible_names_who_could_have_provided_it(
    capsys: pytest.CaptureFixture[str], operators: str
) -> None:
    code, out, _ = run(capsys, operators, "--target", "inventory:plank", "--json")
    reason = json.loads(out)["impossible"]
    assert (code, set(reason)) == (1, {"missing", "providers", "cycle", "reason"})
    assert reason["providers"] == [{"inventory:board": "buy", "inventory:coin": "find"}[reason["missing"]]]
    code, out, err = run(capsys, operators, "--target", "inventory:plank")
    assert (code, out) == (1, "")
    assert f"{reason['missing']!r} is gained by {reason['providers'][0]}." in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            "--target inventory:wood --have near:tree=5",
            "'near:tree' is 5 at the start; a reach fact is true or not",
        ),
        ("--target inventory:wod", "Did you mean 'inventory:wood'?"),
        ("--target buy=0", "at least 1. Use 1."),
        ("--target chop --graph_path exp/x", "Give one of --operators"),
    ],
)
def test_bad_input_is_said_in_json_too(
    capsys: pytest.CaptureFixture[str], operators: str, args: str, said: str
) -> None:
    code, out, err = run(capsys, operators, "--json", *args.split())
    assert code == 2
    assert said in json.loads(out)["error"]["reason"]
    assert said in err
    assert run(capsys, operators, *args.split()) == (2, "", err)


def test_what_is_within_reach_may_be_given(capsys: pytest.CaptureFixture[str], operators: str) -> None:
    assert run(capsys, operators, "--target", "near:tree", "--have", "near:tree=1")[:2] == (
        0,
        "nothing to do\n",
    )
