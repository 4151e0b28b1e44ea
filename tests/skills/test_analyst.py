"""An analyst is believed as far as the episodes agree, and told why not where they do not."""

from __future__ import annotations

from typing import Any

import pytest
from sampled_trajectories import VOCABULARY, Starts, operator, sampled

from flowrl.skills.analyst import believed
from flowrl.skills.operator import Operator
from flowrl.skills.refinement import Refinement

TRUTH: dict[str, Any] = {
    "requires": {"near:table": 1},
    "consumes": {"inventory:wood": 2},
    "gains": {"stat:pickaxe": 1, "achievement:build": 1},
}
STARTS = (
    Starts(120, {"near:table": 1, "inventory:wood": [2, 3], "inventory:stone": [0, 1]}),
    Starts(40, {"inventory:wood": [2, 3]}),
    Starts(40, {"near:table": 1, "inventory:wood": [0, 1]}),
)


def heard(current: dict[str, Any], proposed: dict[str, Any]) -> tuple[Operator, Refinement]:
    """``believed``, over the truth with some sections replaced."""
    episodes = sampled(operator(**TRUTH), STARTS, seed=5)
    suggestion = operator(**{**TRUTH, **proposed})
    return suggestion, believed(episodes, operator(**{**TRUTH, **current}), suggestion, VOCABULARY)


@pytest.mark.parametrize(
    "current",
    [
        {"gains": {"stat:pickaxe": 1}},
        {"gains": {"stat:pickaxe": 1, "achievement:build": 1, "inventory:stone": 1}},
        {"consumes": {"inventory:wood": 1}},
        {"consumes": {"inventory:wood": 2, "inventory:stone": 1}},
        {"requires": {}},
        {"requires": {"near:table": 1, "inventory:stone": 1}},
    ],
)
def test_the_truth_is_believed(current: dict[str, Any]) -> None:
    suggestion, result = heard(current, {})
    assert result.operator == suggestion
    assert result.changes
    assert not result.not_taken
    assert all(change.evidence for change in result.changes)


@pytest.mark.parametrize(
    ("proposed", "reason"),
    [
        ({"gains": {"stat:pickaxe": 1}}, "the declared gain was there"),
        ({"gains": {"stat:pickaxe": 2, "achievement:build": 1}}, "the proposed gain was often not there"),
        ({"gains": {**TRUTH["gains"], "near:water": 1}}, "the proposed gain was often not there"),
        ({"gains": {**TRUTH["gains"], "near:table": 1}}, "what was proposed was there before"),
        ({"consumes": {"inventory:wood": 1}}, "most successes used another amount"),
        ({"consumes": {"inventory:wood": 2, "inventory:stone": 1}}, "most successes used another amount"),
        ({"requires": {}}, "starts without it succeed less often"),
        ({"requires": {"near:table": 1, "inventory:stone": 1}}, "starts without it often succeed"),
        ({"requires": {"near:table": 1, "near:water": 1}}, "too few episodes start with it"),
        ({"requires": {"near:table": 1, "floor": [0, 1]}}, "too few episodes start without it"),
        ({"requires": {"near:table": 1, "achievement:dig": 1}}, "never what the game asks for"),
    ],
)
def test_what_the_episodes_do_not_bear_out_is_refused(proposed: dict[str, Any], reason: str) -> None:
    _, result = heard({}, proposed)
    assert result.operator == operator(**TRUTH)
    assert not result.changes
    assert [change for change in result.not_taken if reason in change.reason]


def test_a_consumption_taken_back_leaves_its_need() -> None:
    """Nothing is consumed that two wood were declared for, and starts with less fail: they stay required."""
    truth = operator({"near:table": 1, "inventory:wood": 2}, {}, TRUTH["gains"])
    declared, proposed = operator(**TRUTH), operator({"near:table": 1}, {}, TRUTH["gains"])
    result = believed(sampled(truth, STARTS, seed=5), declared, proposed, VOCABULARY)
    assert result.operator.to_json() == truth.to_json()


def test_the_last_gain_is_never_taken() -> None:
    only = operator({}, {}, {"inventory:stone": 1})
    episodes = sampled(operator({}, {}, {"achievement:dig": 1}), [Starts(64, {})])
    wrong = operator({}, {}, {"inventory:sapling": 3})
    result = believed(episodes, only, wrong, VOCABULARY)
    assert result.operator == only
