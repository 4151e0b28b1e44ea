"""Facts and the operator grammar."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrl.errors import ProposalRefused
from flowrl.skills.facts import Fact, FactKind, Vocabulary, kind_from_namespace
from flowrl.skills.operator import Linear, parse_operator

VOCABULARY = Vocabulary(
    [
        Fact("inventory:wood", FactKind.COUNT, 9),
        Fact("inventory:stone", FactKind.COUNT, 9),
        Fact("vital:food", FactKind.VITAL, 9),
        Fact("inventory:pickaxe", FactKind.TIER, 4),
        Fact("achievement:done", FactKind.FLAG),
        Fact("floor", FactKind.PLACE),
        Fact("near:table", FactKind.REACH),
    ]
)


@pytest.mark.parametrize(
    ("written", "slope", "offset"),
    [
        (0, 0, 0),
        (3, 0, 3),
        ("3", 0, 3),
        ("n", 1, 0),
        ("1*n", 1, 0),
        ("n*3", 3, 0),
        (" 2 * n + 1 ", 2, 1),
        ("2*n+1", 2, 1),
        ("1 + 2*n", 2, 1),
        ("n*3-1", 3, -1),
        ("n + n", 2, 0),
        ("3*n - 2*n", 1, 0),
        ("n - n", 0, 0),
        ("2 + 3", 0, 5),
    ],
)
def test_counts_that_are_read(written: int | str, slope: int, offset: int) -> None:
    linear = Linear.parse(written)
    assert linear == Linear(slope, offset)
    assert linear.at(4) == 4 * slope + offset


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", "m", "2n", "n n", "n**2", "n*n", "2*n + 1 + 1", "1.5", "2*n + 0.5", "-1", "-n", "+n"),
        *("5 - n", "n - 2", "1 - 2", "(n)", "n;n", "__import__('os')", "int('3')", "٣", "n\x00", "1_000"),
        *(-1, 1.5, 2.0, True, False, None, [], [1], {}, "9" * 5000),
    ],
)
def test_counts_that_are_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"count|negative|digits"):
        Linear.parse(written)


@given(st.integers(0, 50), st.integers(-50, 50))
def test_a_count_survives_being_written(slope: int, offset: int) -> None:
    linear = Linear(slope, offset)
    if linear.at(1) >= 0:
        assert Linear.parse(linear.to_json()) == linear


def test_an_operator_is_read_and_written() -> None:
    data = {
        "requires": {"near:table": 1, "floor": [0, 2], "inventory:pickaxe": 2},
        "consumes": {"inventory:wood": "2*n"},
        "gains": {"inventory:stone": "2*n + 1", "achievement:done": True, "floor": 1},
    }
    operator = parse_operator(data, VOCABULARY)
    assert operator.requires["floor"] == (0, 2)
    assert operator.gains["floor"] == (1,)
    assert operator.gains["achievement:done"] == Linear(0, 1)
    assert operator.consumes["inventory:wood"].at(3) == 6
    assert operator.scales
    assert parse_operator(operator.to_json(), VOCABULARY) == operator


def test_repeats_differ_only_when_a_gain_grows() -> None:
    consumes = {"inventory:wood": "n"}
    assert not parse_operator({"consumes": consumes, "gains": {"near:table": 1}}, VOCABULARY).scales


def test_an_operator_cannot_be_changed() -> None:
    operator = parse_operator({"gains": {"inventory:wood": 1}}, VOCABULARY)
    with pytest.raises(TypeError):
        operator.gains["inventory:stone"] = Linear(0, 1)  # type: ignore[index]


@pytest.mark.parametrize(
    ("sections", "parts"),
    [
        ({"gains": {}}, ["'gains' is empty"]),
        ({}, ["'gains' is empty"]),
        ({"gains": ["inventory:wood"]}, ["'gains'", "not an object"]),
        ({"gains": {"inventory:wod": 1}}, ["'inventory:wod'", "Did you mean 'inventory:wood'?"]),
        ({"requires": {"near:tabel": 1}}, ["'requires'", "'near:tabel'", "Did you mean 'near:table'?"]),
        ({"gains": {"inventory:wood": "n^2"}}, ["'gains'", "'inventory:wood'", "'n^2'"]),
        ({"gains": {"inventory:wood": 0}}, ["value 0", "Leave out"]),
        ({"gains": {"inventory:wood": "n - 1"}}, ["Leave out"]),
        ({"gains": {"inventory:wood": 10}}, ["beyond its capacity of 9"]),
        ({"requires": {"inventory:wood": 10}}, ["beyond its capacity of 9"]),
        ({"gains": {"inventory:pickaxe": 5}}, ["beyond its capacity of 4"]),
        ({"gains": {"achievement:done": 2}}, ["true or not: write 1"]),
        ({"gains": {"near:table": "n"}}, ["true or not: write 1"]),
        ({"requires": {"near:table": False}}, ["true or not: write 1"]),
        ({"gains": {"floor": [1]}}, ["'floor'", "one number"]),
        ({"gains": {"floor": "n"}}, ["'floor'", "one number"]),
        ({"requires": {"floor": []}}, ["'floor'"]),
        ({"requires": {"floor": [0, -1]}}, ["'floor'"]),
        ({"requires": {"floor": [True]}}, ["'floor'"]),
        ({"requires": {"inventory:wood": [1, 2]}}, ["'inventory:wood'", "[1, 2]"]),
        ({"requires": {"inventory:wood": True}}, ["'inventory:wood'", "True"]),
        ({"consumes": {"inventory:wood": 0}}, ["Leave out"]),
        ({"consumes": {"near:table": 1}}, ["'consumes'", "'near:table'", "reach"]),
        ({"consumes": {"inventory:pickaxe": 1}}, ["'consumes'", "tier"]),
        ({"consumes": {"vital:food": 1}}, ["'consumes'", "vital"]),
        ({"consumes": {"floor": 1}}, ["'consumes'", "place"]),
    ],
)
def test_bad_operators_name_what_is_wrong(sections: dict[str, Any], parts: list[str]) -> None:
    if sections and "gains" not in sections:
        sections = {**sections, "gains": {"inventory:stone": 1}}
    with pytest.raises(ProposalRefused) as caught:
        parse_operator(sections, VOCABULARY)
    assert caught.value.stage == "parse"
    for part in parts:
        assert part in str(caught.value)


def test_namespaces_tell_kinds() -> None:
    assert kind_from_namespace("inventory:wood") is FactKind.COUNT
    assert kind_from_namespace("near:table") is FactKind.REACH
    assert kind_from_namespace("floor") is FactKind.PLACE
    assert kind_from_namespace("stat:strength") is FactKind.TIER
    assert kind_from_namespace("mana") is None


def test_a_vocabulary_offers_the_nearest_name() -> None:
    with pytest.raises(KeyError, match="Did you mean 'inventory:wood'"):
        VOCABULARY["inventory:wod"]
    assert "inventory:wod" not in VOCABULARY
    assert [fact.name for fact in VOCABULARY.of_kind(FactKind.COUNT)] == ["inventory:wood", "inventory:stone"]
    assert len(VOCABULARY) == len(list(VOCABULARY)) == 7
