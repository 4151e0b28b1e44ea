"""What makes fights cheaper, told from made-up fights of which it is known."""

from __future__ import annotations

import numpy as np
import pytest
from test_plan_agent import SKILLS

from flowrl.pipeline.what_helps import (
    LEAST_FIGHTS,
    fight_watch,
    gains_one_of,
    helping,
    more_is_known,
    tools_of,
    what_is_spared,
)
from flowrl.rl.fights import FightWatch
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.practice import Spared
from flowrl.worlds.registry import make_world

ONE = Linear(0, 1)
TOOLS = ["sword", "pickaxe"]


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
    """By that tenth of all fights in which one of the two is there and the other is not.

    Within one and a half margins, three standard errors: eight made-up figures must not fail by chance.
    """
    fights, tools, costs = made_up(seed)
    spared = what_is_spared([sums(fights, tools, costs)], TOOLS)
    assert abs(spared["sword"].points - 1) < 1.5 * spared["sword"].margin
    assert abs(spared["pickaxe"].points) < 1.5 * spared["pickaxe"].margin
    assert spared["sword"].margin < 0.3
    assert helping(spared) == {"sword"}
    assert spared["sword"].fights_with == int(tools[:, 0].sum())
    assert spared["sword"].fights_without == int((1 - tools[:, 0]).sum())


def test_the_margin_is_what_other_samples_show() -> None:
    """Of 200 made-up games about one in twenty lies outside."""
    outside = 0
    for seed in range(200):
        spared = what_is_spared([sums(*made_up(seed, 1000))], TOOLS)["sword"]
        outside += abs(spared.points - 1) > spared.margin
    assert 1 <= outside <= 22


def test_what_policies_learn_meanwhile_is_no_tools_doing() -> None:
    """Fights get cheaper from look to look, and a tool that does nothing more common."""
    rng = np.random.default_rng(0)
    looks = []
    for look in range(10):
        fights = rng.integers(0, 2, 2000)
        useless = (rng.random(2000) < 0.05 + 0.07 * look).astype(float)
        costs = 3.0 - 0.2 * look + rng.normal(0, 1.5, 2000)
        looks.append(sums(fights, np.stack([np.zeros(2000), useless], axis=1), costs))
    told = what_is_spared(looks, TOOLS)
    assert list(told) == ["pickaxe"]
    assert abs(told["pickaxe"].points) < 1.5 * told["pickaxe"].margin < 0.12
    assert what_is_spared([sum(looks)], TOOLS)["pickaxe"].points > 0.3


def test_looks_add_up() -> None:
    """Halves of the same fights tell about the same, as surely; a look without fights tells nothing."""
    fights, tools, costs = made_up(0)
    halves = [sums(fights[part], tools[part], costs[part]) for part in (slice(2000), slice(2000, None))]
    whole = what_is_spared([sums(fights, tools, costs)], TOOLS)["sword"]
    added = what_is_spared([*halves, np.zeros((5, 5))], TOOLS)["sword"]
    assert added.points == pytest.approx(whole.points, abs=0.02)
    assert added.margin == pytest.approx(whole.margin, rel=0.02)
    assert (added.fights_with, added.fights_without) == (whole.fights_with, whole.fights_without)


def test_nothing_is_said_of_those_that_are_never_without_each_other() -> None:
    """Not of the first of them either."""
    fights, tools, costs = made_up(0)
    tools[:, 1] = tools[:, 0]
    assert what_is_spared([sums(fights, tools, costs)], TOOLS) == {}


def test_nothing_is_said_from_few_fights() -> None:
    """With it or without it."""
    fights, tools, costs = made_up(0)
    tools[:, 0] = np.arange(len(tools)) < LEAST_FIGHTS - 1
    tools[:, 1] = np.arange(len(tools)) >= LEAST_FIGHTS - 1
    assert what_is_spared([sums(fights, tools, costs)], TOOLS) == {}
    tools[:, 0] = np.arange(len(tools)) < LEAST_FIGHTS
    assert list(what_is_spared([sums(fights, tools, costs)], TOOLS)) == ["sword"]
    assert what_is_spared([np.zeros((5, 5))], TOOLS) == {}
    assert what_is_spared([np.zeros((1, 1))], []) == {}
    assert what_is_spared([np.zeros((3, 3))], TOOLS) == {}


def test_only_what_surely_spares_a_quarter_of_a_point_helps() -> None:
    """The lower end of the interval counts."""
    spared = {
        "surely": Spared(1.0, 0.7, 500, 500),
        "perhaps": Spared(1.0, 0.8, 120, 130),
        "little": Spared(0.3, 0.1, 9000, 9000),
        "costs": Spared(-2.0, 0.1, 500, 500),
    }
    assert helping(spared) == {"surely"}


def test_what_is_less_sure_takes_nothings_place() -> None:
    """A short practice does not put out what a long one has found."""
    long, short = Spared(1.0, 0.1, 9000, 9000), Spared(0.2, 0.5, 150, 150)
    surer = Spared(0.8, 0.05, 20_000, 20_000)
    assert more_is_known({"sword": long}, {"sword": short, "axe": short}) == {"sword": long, "axe": short}
    assert more_is_known({"sword": long}, {"sword": surer}) == {"sword": surer}


def test_tools_are_what_stays_in_the_bag() -> None:
    """Iron is used up; coal would be a tool if nobody used it up; achievements are none."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    operators = [operator for operator, _ in SKILLS.values()]
    burn = Operator({"inventory:coal": ONE}, {"inventory:coal": ONE}, {"near:furnace": ONE})
    pickaxe = {"inventory:iron_pickaxe": ("inventory:iron_pickaxe", 1)}
    assert tools_of([*operators, burn], world) == pickaxe
    assert tools_of(operators, world) == {**pickaxe, "inventory:coal": ("inventory:coal", 1)}
    assert gains_one_of(SKILLS["forge_pickaxe"][0], pickaxe.keys(), world)
    assert not gains_one_of(SKILLS["forge_sword"][0], pickaxe.keys(), world)


def test_tools_have_tiers() -> None:
    """A stone sword of full Craftax is another tool than a wooden one; one skill may gain two things."""
    world = make_world("Craftax-Symbolic-v1")
    wooden = Operator({}, {}, {"inventory:sword": ONE})
    stone = Operator({}, {}, {"inventory:sword": Linear(0, 2), "inventory:pickaxe": Linear(0, 2)})
    tools = tools_of([wooden, stone], world)
    assert tools == {
        "inventory:sword": ("inventory:sword", 1),
        "inventory:sword>=2": ("inventory:sword", 2),
        "inventory:pickaxe>=2": ("inventory:pickaxe", 2),
    }
    assert gains_one_of(stone, {"inventory:sword>=2"}, world)
    assert not gains_one_of(wooden, {"inventory:sword>=2"}, world)


def test_what_is_watched() -> None:
    """The rules that beat something off, and health."""
    world = make_world("Craftax-Classic-Symbolic-v1")
    tools = {"inventory:iron_sword": ("inventory:iron_sword", 1)}
    columns = world.snapshot_spec.fact_columns
    assert fight_watch([1], tools, world) == FightWatch(
        (1,), ((columns["inventory:iron_sword"], 1.0),), columns["vital:health"]
    )
