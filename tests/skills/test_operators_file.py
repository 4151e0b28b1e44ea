"""The operators file: what it may say, and that every mistake names file, skill, field, value and fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowrl.errors import UserError
from flowrl.skills.facts import FactKind
from flowrl.skills.operator import Linear
from flowrl.skills.operators_file import load_operators_file, parse_operators_file
from flowrl.skills.plan import FactGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import prove

GOOD: dict[str, Any] = {
    "capacity": 9,
    "kinds": {"inventory:pickaxe": "tier", "mana": "vital"},
    "initial": {"inventory:wood": 1, "near:table": True},
    "skills": {
        "chop": {"gains": {"inventory:wood": "n"}},
        "build": {"requires": {}, "consumes": {"inventory:wood": 2}, "gains": {"near:table": 1}},
        "craft": {
            "requires": {"near:table": 1, "floor": [0, 1], "mana": 2},
            "consumes": {"inventory:wood": 1},
            "gains": {"inventory:pickaxe": 2, "achievement:craft": 1},
        },
        "rest": {"gains": {"mana": 5}},
    },
}


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "operators.json"
    path.write_text(json.dumps(GOOD))
    read = load_operators_file(path)
    assert list(read.operators) == ["chop", "build", "craft", "rest"]
    assert read.initial == {"inventory:wood": 1, "near:table": 1}
    assert read.operators["chop"].gains["inventory:wood"] == Linear(1, 0)
    facts = read.vocabulary
    assert (facts["inventory:wood"].kind, facts["inventory:wood"].capacity) == (FactKind.COUNT, 9)
    assert (facts["inventory:pickaxe"].kind, facts["inventory:pickaxe"].capacity) == (FactKind.TIER, None)
    assert (facts["mana"].kind, facts["mana"].capacity) == (FactKind.VITAL, 9)
    assert facts["floor"].kind is FactKind.PLACE
    goal = FactGoal({"inventory:pickaxe": 1})
    made = plan(read.initial, read.operators, goal, facts)
    prove(made, read.initial, read.operators, goal, facts)
    # The table that is within reach at first is out of reach again after the rest.
    assert sorted(step.skill for step in made.steps) == ["build", "chop", "craft", "rest"]


def test_only_skills_must_be_there() -> None:
    read = parse_operators_file('{"skills": {"chop": {"gains": {"inventory:wood": 1}}}}', "it")
    assert read.vocabulary["inventory:wood"].capacity is None
    assert read.initial == {}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """The good file with one value replaced."""
    data = json.loads(json.dumps(GOOD))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return data


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ([], ["not an object"]),
        ({}, ["'skills' is missing"]),
        ({"skills": {}}, ["'skills' is empty"]),
        (changed("skills", to=[]), ["'skills'", "[]", "not an object"]),
        (changed("capasity", to=9), ["'capasity'", "Did you mean 'capacity'?"]),
        (changed("capacity", to=0), ["'capacity' is 0", "at least 1"]),
        (changed("capacity", to="9"), ["'capacity' is '9'"]),
        (changed("capacity", to=True), ["'capacity' is True"]),
        (changed("kinds", to=["tier"]), ["'kinds'", "not an object"]),
        (changed("kinds", "mana", to="vitl"), ["'mana'", "'vitl'", "Did you mean 'vital'?"]),
        (changed("kinds", "mana", to=3), ["'mana'", "unknown kind 3"]),
        (changed("kinds", "manna", to="vital"), ["'manna'", "Did you mean 'mana'?"]),
        (changed("kinds", to={}), ["skill 'craft'", "'requires'", "'mana'", '"kinds"']),
        (changed("initial", to=1), ["'initial'", "not an object"]),
        (changed("initial", "luck", to=1), ["'initial' names 'luck'", '"kinds"']),
        (changed("initial", "inventory:wood", to=10), ["'initial'", "'inventory:wood'", "10", "0 to 9"]),
        (changed("initial", "inventory:wood", to=-1), ["-1"]),
        (changed("initial", "inventory:wood", to="1"), ["'1'"]),
        (changed("initial", "inventory:wood", to=True), ["True"]),
        (changed("initial", "near:table", to=2), ["'near:table'", "0 to 1"]),
        (changed("skills", "chop", to=3), ["skill 'chop'", "3", "not an object"]),
        (changed("skills", "chop", "gain", to={}), ["skill 'chop'", "'gain'", "Did you mean 'gains'?"]),
        (changed("skills", "chop", "gains", to=[]), ["skill 'chop'", "'gains'", "[]"]),
        (changed("skills", "chop", "gains", to={}), ["skill 'chop'", "'gains' is empty"]),
        (changed("skills", "chop", "gains", "inventory:wood", to="n*n"), ["'chop'", "'gains'", "'n*n'"]),
        (changed("skills", "build", "consumes", "floor", to=1), ["'build'", "'consumes'", "'floor'"]),
        (changed("skills", "craft", "requires", "floor", to="up"), ["'craft'", "'floor'", "'up'"]),
    ],
)
def test_mistakes_are_named(data: Any, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_operators_file(json.dumps(data), "my_operators.json")
    for part in ["my_operators.json", *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not JSON"),
        ('{"skills": {', "line 1"),
        ('{"skills": {}, "skills": {}}', "'skills' occurs twice"),
        ('{"capacity": ' + "9" * 5000 + "}", "not JSON that can be read"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_text_that_is_no_json(text: str, part: str) -> None:
    with pytest.raises(UserError, match=r"^it: ") as caught:
        parse_operators_file(text, "it")
    assert part in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json: there is no such file"):
        load_operators_file(tmp_path / "absent.json")
    with pytest.raises(UserError, match="cannot be read"):
        load_operators_file(tmp_path)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.json: cannot be read"):
        load_operators_file(binary)
