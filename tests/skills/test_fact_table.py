"""The table of what trajectories showed, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sampled_trajectories import FACTS, VOCABULARY, operator

from flowrl.skills.fact_table import FactTable
from flowrl.skills.trajectories import Trajectories

WOOD, TABLE = FACTS.index("inventory:wood"), FACTS.index("near:table")
CRAFT = operator({"near:table": 1}, {"inventory:wood": 2}, {"inventory:stone": 1})
STONE = FACTS.index("inventory:stone")


def four_episodes() -> Trajectories:
    """Two of them next to a table: both done, the second without its stone. Each spends the wood it has."""
    start, end = np.zeros((4, len(FACTS)), np.int32), np.zeros((4, len(FACTS)), np.int32)
    start[:, WOOD] = [2, 3, 2, 1]
    start[:2, TABLE] = end[:2, TABLE] = 1
    end[0, STONE] = 1
    fell, rose = np.maximum(start - end, 0), np.maximum(end - start, 0)
    fell[3, WOOD], rose[3, WOOD] = 3, 2
    return Trajectories(
        FACTS, start, end, fell, rose,
        done=np.array([True, True, False, False]),
        died=np.array([False, False, False, True]),
        n=np.ones(4, np.int32),
        length=np.full(4, 7, np.int32),
    )  # fmt: skip


def test_counts_changes_and_levels() -> None:
    table = FactTable.of(CRAFT, four_episodes(), VOCABULARY)
    assert (table.successes, table.failures, table.deaths, table.done_without_gains) == (1, 3, 1, 1)
    rows = {row.fact: row for row in table.rows}
    assert set(rows) == {"inventory:wood", "inventory:stone", "near:table"}
    wood = rows["inventory:wood"]
    assert (wood.successes.mean, wood.successes.used, wood.successes.fell) == (-2, 2, 1)
    # Failures lose 3, 2 and 1 in the end; the last spent 3 and found 2: 8 / 3 on average on the way.
    assert wood.failures.mean == -2
    assert wood.failures.used == pytest.approx(8 / 3)
    levels = {level.value: (level.successes, level.episodes) for level in wood.by_start}
    assert levels == {1: (0, 1), 2: (1, 2), 3: (0, 1)}


def test_many_levels_share_a_row_and_count_everything() -> None:
    episodes = four_episodes().select(np.zeros(10, int))
    episodes.start[:, WOOD] = np.arange(10)
    levels = {row.fact: row for row in FactTable.of(CRAFT, episodes, VOCABULARY).rows}[
        "inventory:wood"
    ].by_start
    assert [level.episodes for level in levels] == [1, 1, 1, 1, 1, 5]
    assert levels[-1].or_more


def test_the_table_is_plain_data_and_readable() -> None:
    table = FactTable.of(CRAFT, four_episodes(), VOCABULARY)
    assert json.loads(json.dumps(table.to_json()))["rows"][0]["fact"] == "inventory:wood"
    text = table.markdown()
    assert "1 successes, 3 failures (1 deaths; 1 where is_done was true" in text
    assert "| `near:table` | reach |" in text
    assert "1: 1 of 2 (9% to 91%)" in text


def test_a_table_of_failures_alone_can_be_shown() -> None:
    episodes = four_episodes().select(np.array([2, 3]))
    assert "no episodes" in FactTable.of(CRAFT, episodes, VOCABULARY).markdown()


def test_episodes_of_different_worlds_are_not_joined() -> None:
    other = Trajectories(FACTS[:1], *(np.zeros((1, 1)),) * 4, *(np.zeros(1),) * 4)
    with pytest.raises(ValueError, match="2 sets of episodes cannot be joined"):
        Trajectories.joined([four_episodes(), other])


def test_what_hardly_ever_changes_has_no_row() -> None:
    """One sapling in 100 episodes is left out, three are shown."""
    episodes = four_episodes().select(np.zeros(100, int))
    sapling = FACTS.index("inventory:sapling")
    for many, shown in ((1, False), (3, True)):
        episodes.rose[:many, sapling] = 1
        table = FactTable.of(CRAFT, episodes, VOCABULARY)
        assert ("inventory:sapling" in {row.fact for row in table.rows}) is shown
