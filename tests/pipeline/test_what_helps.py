"""What makes fights cheaper, told from made-up fights of which it is known."""

from __future__ import annotations

import numpy as np
import pytest
from test_plan_agent import SKILLS, node

from flowrl.pipeline.what_helps import LEAST_FIGHTS, fight_watch, helping, tools_of, what_is_spared
from flowrl.rl.fights import FightWatch
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.practice import Spared
from flowrl.worlds.registry import make_world

ONE = Linear(0, 1)


def sums(fights: np.ndarray, tools: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """As practice adds them up: which of two fights it is, what is in the bag, what it cost."""
    terms = np.concatenate([np.eye(2)[fights], tools, costs[:, None]], axis=1)
    return terms.T @ terms


def made_up(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fights 1 cost 2 more; the sword spares 1 point, the pickaxe that most with a sword have none."""
    rng = np.random.default_rng(seed)
    fights = rng.integers(0, 2, count)
    pickaxe = rng.random(count) < 0.5
    sword = np.where(rng.random(count) < 0.9, pickaxe, ~pickaxe)
    costs = 2 + 2 * fights - sword + rng.normal(0, 1.5, count)
    return fights, np.stack([sword, pickaxe], axis=1).astype(float), costs


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_at_the_same_time_is_told_apart(seed: int) -> None:
    """By those tenth of all fights in which one of the two is there and the other is not."""
    fights, tools, costs = made_up(seed)
    spared = what_is_spared(sums(fights, tools, costs), ["sword", "pickaxe"])
    # Three margins of 95%: four made-up games of two tools each must not fail by chance.
    assert abs(spared["sword"].points - 1) < 1.5 * spared["sword"].margin
    assert abs(spared["pickaxe"].points) < 1.5 * spared["pickaxe"].margin
    assert spared["sword"].margin < 0.3
    assert list(helping(spared)) == ["sword"]
    assert spared["sword"].fights_with == int(tools[:, 0].sum())
    assert spared["sword"].fights_without == int((1 - tools[:, 0]).sum())


def test_the_margin_is_what_other_samples_show() -> None:
    """Of 200 made-up games about one in twenty lies outside."""
    outside = 0
    for seed in range(200):
        spared = what_is_spared(sums(*made_up(seed, 1000)), ["sword", "pickaxe"])["sword"]
        outside += abs(spared.points - 1) > spared.margin
    assert 1 <= outside <= 22


def test_nothing_is_said_where_one_is_never_without_the_other() -> None:
    """The first of them stands for both."""
    fights, tools, costs = made_up(0)
    tools[:, 1] = tools[:, 0]
    assert list(what_is_spared(sums(fights, tools, costs), ["sword", "pickaxe"])) == ["sword"]


def test_nothing_is_said_from_few_fights() -> None:
    """With it or without it."""
    fights, tools, costs = made_up(0)
    tools[:, 0] = np.arange(len(tools)) < LEAST_FIGHTS - 1
    tools[:, 1] = np.arange(len(tools)) >= LEAST_FIGHTS - 1
    assert what_is_spared(sums(fights, tools, costs), ["sword", "pickaxe"]) == {}
    assert what_is_spared(np.zeros((5, 5)), ["sword", "pickaxe"]) == {}
    assert what_is_spared(np.zeros((1, 1)), []) == {}


def test_only_what_surely_spares_a_quarter_of_a_point_helps() -> None:
    """The lower end of the interval counts."""
    spared = {
        "surely": Spared(1.0, 0.7, 500, 500),
        "perhaps": Spared(1.0, 0.8, 120, 130),
        "little": Spared(0.3, 0.1, 9000, 9000),
        "costs": Spared(-2.0, 0.1, 500, 500),
    }
    assert helping(spared) == {"surely": 1.0}


def test_tools_are_what_stays_in_the_bag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Iron is used up; coal would be a tool if nobody used it up; achievements are none."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    monkeypatch.setitem(
        SKILLS,
        "burn",
        (Operator({"inventory:coal": ONE}, {"inventory:coal": ONE}, {"near:furnace": ONE}), 5.0),
    )
    nodes = [node(index, name) for index, name in enumerate(SKILLS)]
    assert tools_of(nodes, world) == {"forge_pickaxe": ("inventory:iron_pickaxe", 1)}
    assert tools_of(nodes[:-1], world) == {
        "forge_pickaxe": ("inventory:iron_pickaxe", 1),
        "dig_coal": ("inventory:coal", 1),
    }


def test_rules_that_beat_something_off_are_watched() -> None:
    """In their places among all rules."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    tools = {"forge": ("inventory:iron_sword", 1)}
    columns = world.snapshot_spec.fact_columns
    assert fight_watch(["vital:food", "defend:zombie", "vital:energy"], tools, world) == FightWatch(
        (1,), ((columns["inventory:iron_sword"], 1.0),), columns["vital:health"]
    )
