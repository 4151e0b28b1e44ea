"""What fights cost, added up by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from flowrl.rl.fights import Fights, FightWatch, note_fights
from flowrl.rl.pursuit import Pursuit

SWORD, HEALTH = 0, 1
EAT, DEFEND = 0, 1
WATCH = FightWatch(rules=(DEFEND,), tools=((SWORD, 1.0),), health=HEALTH)


def doing(*rules: int) -> Pursuit:
    """Of nothing but rules is anything read."""
    nothing = jnp.zeros(len(rules), jnp.int32)
    rule = jnp.array(rules, jnp.int32)
    return Pursuit(
        nothing, nothing, rule, nothing, nothing, nothing, nothing, nothing[:, None], nothing[:, None]
    )


def fought(*steps: tuple[list[int], list[tuple[int, int]], list[bool]]) -> Fights:
    """Steps of (rules in force, ``(sword, health)`` after, episodes ended); all begin with (0, 9)."""
    fights = Fights.none(len(steps[0][0]), WATCH)
    before = jnp.array([(0, 9)] * len(steps[0][0]), jnp.float32)
    following = [*(rules for rules, _, _ in steps[1:]), [-1] * len(steps[0][0])]
    for (rules, snapshots, ended), then in zip(steps, following, strict=True):
        after = jnp.array(snapshots, jnp.float32)
        fights = note_fights(
            WATCH, fights, doing(*rules), doing(*then), before, after, jnp.array(ended, bool)
        )
        before = after
    return fights


def test_what_was_lost_from_a_fights_first_step_to_its_last() -> None:
    """Two points bare-handed in three steps, then one with a sword that was there when the fight began."""
    fights = fought(
        ([DEFEND], [(0, 9)], [False]),
        ([DEFEND], [(0, 8)], [False]),
        ([DEFEND], [(0, 7)], [False]),
        ([EAT], [(1, 9)], [False]),
        ([DEFEND], [(1, 8)], [False]),
    )
    costs = np.array([[1, 0, 2], [1, 1, 1]])
    np.testing.assert_allclose(fights.sums, costs.T @ costs)


def test_a_sword_that_is_found_in_a_fight_counts_from_the_next_one() -> None:
    """And what is no fight does not count at all."""
    fights = fought(
        ([EAT], [(0, 8)], [False]),
        ([DEFEND], [(1, 5)], [False]),
        ([-1], [(1, 5)], [False]),
    )
    np.testing.assert_allclose(fights.sums, np.outer([1, 0, 3], [1, 0, 3]))


def test_death_ends_a_fight_and_the_next_episode_begins_another() -> None:
    """Of two envs; in the first, two fights of one step follow each other under the same rule."""
    fights = fought(
        ([DEFEND, DEFEND], [(0, 0), (0, 8)], [True, False]),
        ([DEFEND, DEFEND], [(0, -2), (0, 8)], [False, False]),
    )
    costs = np.array([[1, 0, 9], [1, 0, 2], [1, 0, 1]])
    np.testing.assert_allclose(fights.sums, costs.T @ costs)


def test_a_fatal_fight_is_over_when_the_next_episode_begins_without_one() -> None:
    """Nothing is in force at first there, then hunger: neither is a fight, whatever came before."""
    fights = fought(
        ([DEFEND], [(0, 0)], [True]),
        ([-1], [(0, 9)], [False]),
        ([EAT], [(0, 9)], [False]),
    )
    np.testing.assert_allclose(fights.sums, np.outer([1, 0, 9], [1, 0, 9]))


def test_those_under_way_go_on_when_the_sums_are_emptied() -> None:
    """What a rollout ends in the middle of is told with the next one."""
    first = fought(([DEFEND], [(0, 8)], [False]), ([DEFEND], [(0, 7)], [False]))._replace(
        sums=jnp.ones((3, 3))
    )
    emptied = first.emptied()
    assert not emptied.sums.any()
    assert int(emptied.rule[0]) == DEFEND
    np.testing.assert_array_equal(emptied.at_first, first.at_first)


def test_nothing_is_watched_where_nothing_fights() -> None:
    """A world without health, or a graph without rules."""
    watch = FightWatch()
    fights = Fights.none(2, watch)
    step = jnp.zeros((2, 3))
    fights = note_fights(watch, fights, doing(-1, 0), doing(0, -1), step, step, jnp.array([True, False]))
    np.testing.assert_array_equal(fights.sums, [[0]])
