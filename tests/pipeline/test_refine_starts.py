"""Which starts a refinement looks for first: env steps often end before the list does."""

from __future__ import annotations

import numpy as np
import pytest
from pebble_world import PebbleWorld

from flowrl.pipeline.refine_starts import telling_variants, variants_to_decide
from flowrl.skills.operator import parse_operator
from flowrl.skills.trajectories import Trajectories

VOCABULARY = PebbleWorld().vocabulary
PICKAXE = parse_operator(
    {"requires": {"near:table": 1}, "consumes": {"inventory:wood": 1}, "gains": {"inventory:pickaxe": 1}},
    VOCABULARY,
)
LEARNED = {"pick_up": parse_operator({"gains": {"inventory:pebble": 1}}, VOCABULARY)}

MORE = ["with 2 inventory:wood", "with 4 inventory:wood", "with inventory:pebble of pick_up"]
LESS = ["without near:table"]


def crafting(successes: int, episodes: int) -> Trajectories:
    """Episodes that began where ``PICKAXE`` says; so many of them made one."""
    facts = ("near:table", "inventory:wood", "inventory:pickaxe", "inventory:pebble")
    done = np.arange(episodes) < successes
    start = np.tile(np.array([1, 1, 0, 0], np.int32), (episodes, 1))
    end = start.copy()
    end[done] = [1, 0, 1, 0]
    one = np.ones(episodes, np.int32)
    fell, rose = np.maximum(start - end, 0), np.maximum(end - start, 0)
    return Trajectories(
        facts, start, end, fell, rose, done=done, died=np.zeros(episodes, bool), n=one, length=one
    )


@pytest.mark.parametrize(
    ("successes", "labels"),
    [
        # It hardly fails: there is nothing that it could lack.
        (128, LESS),
        # It works, and fails now and then: first what is declared is doubted, then what is not.
        (114, [*LESS, *MORE]),
        # It hardly works: what one need less does to it would tell nothing.
        (20, [*MORE, *LESS]),
    ],
)
def test_what_tells_most_comes_first(successes: int, labels: list[str]) -> None:
    variants = telling_variants(PICKAXE, crafting(successes, 128), LEARNED, 1, VOCABULARY)
    assert [variant.label for variant in variants] == [*labels, "once more"]


def without_table(successes: int, episodes: int) -> Trajectories:
    """As ``crafting``, from starts with no table near."""
    made = crafting(successes, episodes)
    made.start[:, 0] = 0
    return made


@pytest.mark.parametrize(
    ("successes", "episodes", "labels"),
    [
        # 95% is usual; as good is from 76% on, with 95% confidence: 60 of 64 are at least 85%.
        (60, 64, []),
        # 53 of 64 are 72% to 90%: it may be as good.
        (53, 64, LESS),
        # 40 of 64 are at most 73%: it is worse.
        (40, 64, []),
        # Nothing is known of starts that there were none of: another round would bring none either.
        (0, 0, []),
    ],
)
def test_what_may_be_as_good_without_is_played_again(
    successes: int, episodes: int, labels: list[str]
) -> None:
    both = Trajectories.joined([crafting(122, 128), without_table(successes, episodes)])
    assert [variant.label for variant in variants_to_decide(PICKAXE, both, VOCABULARY)] == labels


def test_nothing_is_doubted_of_a_skill_that_hardly_works() -> None:
    both = Trajectories.joined([crafting(40, 128), without_table(18, 64)])
    assert not list(variants_to_decide(PICKAXE, both, VOCABULARY))
