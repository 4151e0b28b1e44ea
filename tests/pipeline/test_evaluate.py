"""Scores of whole episodes, worked by hand on made-up snapshots of the real Classic world."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flowrl.pipeline.evaluate import Episodes, deaths_by_cause, score_episodes
from flowrl.pipeline.skill_calls import calls_by_skill
from flowrl.rl.agent import Played
from flowrl.rl.calls import OUTCOMES, Calls
from flowrl.skills.graph import EnvSteps, Evidence, SkillGraph, SkillNode
from flowrl.skills.operator import Operator
from flowrl.worlds.registry import make_world

WORLD = make_world("Craftax-Classic-Symbolic-v1")
COLUMNS = WORLD.snapshot_spec.columns


def rows(count: int, **values: float) -> np.ndarray:
    """``count`` equal snapshots: full vitals, awake, nothing gained, and ``values`` by field path."""
    full = {f"vitals.{name}": 9 for name in ("health", "food", "drink", "energy")}
    full["closest_blocks.lava.distance"] = 99
    snapshot = np.zeros((count, len(WORLD.snapshot_spec)), np.float32)
    for path, value in {**full, **{k.replace("__", "."): v for k, v in values.items()}}.items():
        snapshot[:, COLUMNS[path]] = value
    return snapshot


def test_score_return_and_rates_by_hand() -> None:
    """Half of four episodes collect wood and end with 9 health, half do nothing and die.

    Return: (2 * 1 + 2 * (0 - 0.9)) / 4 = 0.05; of a maximum of 22. Crafter score: one rate of 50%, 21 of 0%:
    exp(ln(51) / 22) - 1.
    """
    end = np.concatenate([rows(2, achievements__collect_wood=1), rows(2, vitals__health=0)])
    ended = Episodes(rows(4), rows(4), end, np.array([10, 20, 30, 40]), np.array([False, False, True, True]))
    score = score_episodes(ended, WORLD)
    assert score["episodes"] == 4
    assert score["achievements"]["collect_wood"]["rate"] == 0.5
    assert score["achievements"]["collect_diamond"] == {
        "rate": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.49, abs=0.01),
    }
    assert score["return"] == pytest.approx(0.05)
    assert score["return_percent"] == pytest.approx(100 * 0.05 / 22)
    assert score["score"] == pytest.approx(math.exp(math.log(51) / 22) - 1)
    assert score["length"] == 25
    assert score["died"] == 0.5


@pytest.mark.parametrize(
    ("cause", "before"),
    [
        ("fight", {"vitals__health": 2}),
        ("fight", {"vitals__health": 7}),
        ("lava", {"vitals__health": 9, "closest_blocks__lava__distance": 0}),
        ("lava", {"vitals__health": 1, "vitals__food": 0, "closest_blocks__lava__distance": 0}),
        ("asleep", {"vitals__health": 7, "sleeping": 1}),
        ("hunger", {"vitals__health": 1, "vitals__food": 0}),
        ("thirst", {"vitals__health": 1, "vitals__drink": 0}),
        ("exhaustion", {"vitals__health": 1, "vitals__energy": 0}),
    ],
)
def test_causes_of_death(cause: str, before: dict[str, float]) -> None:
    """Each is told from what the last step took; an episode that did not end in death has none."""
    last = np.concatenate([rows(1, **before), rows(1)])
    end = np.concatenate([rows(1, **{**before, "vitals__health": 0}), rows(1)])
    ended = Episodes(rows(2), last, end, np.array([5, 5]), np.array([True, False]))
    causes = deaths_by_cause(ended, WORLD)
    assert causes[cause] == 0.5
    assert sum(causes.values()) == 0.5


def test_every_achievement_has_the_stock_games_value() -> None:
    """22 achievements of 1 each in Classic, 226 in all in full Craftax."""
    assert sum(WORLD.achievement_values.values()) == 22
    full = make_world("Craftax-Symbolic-v1")
    assert sum(full.achievement_values.values()) == 226
    assert set(full.achievement_values) <= set(full.vocabulary)


def test_success_inside_episodes_by_hand() -> None:
    """Ten calls in two episodes: 6 advanced, 2 interrupted, 1 died, 1 gave way; 6 of 8 not interrupted.

    Both episodes together have 200 steps, 80 of them in its charge.
    """
    assert OUTCOMES == ("died", "advanced", "interrupted", "gave_way")
    ended = np.array([[[1, 2, 0, 0], [0, 0, 0, 0]], [[0, 4, 2, 1], [0, 0, 0, 0]]])
    none = np.zeros(2)
    played = Played(
        length=np.array([40, 160]), died=none, before=none, end=none, reached=none, rested=none,
        charge=np.array([[30, 0], [50, 20]]),
        calls=Calls(ended, np.array([[30, 0], [40, 0]]), none),
    )  # fmt: skip
    graph = SkillGraph("Toy-v1")
    for index, name in enumerate(("called", "never_called")):
        evidence = Evidence(100, 90, {}, 0.0, 5.0)
        node = SkillNode(index, name, "", Operator({}, {}, {}), 10, 1, (), evidence, EnvSteps(), 1.0)
        graph = graph.with_node(node)
    skills = calls_by_skill(graph, played)
    assert skills["called"] == {
        "alone": 0.9, "alone_low": evidence.success_low, "calls": 10, "died": 0.1, "advanced": 0.6,
        "interrupted": 0.2, "gave_way": 0.1, "inside": 0.75, "mean_steps": 7.0, "charge": 0.4,
    }  # fmt: skip
    assert skills["never_called"]["calls"] == 0
    assert skills["never_called"]["inside"] is None
    assert skills["never_called"]["charge"] == 0.1
