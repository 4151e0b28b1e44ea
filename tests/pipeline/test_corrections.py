"""A run corrects operators: what joins the graph says what its policy does, and was validated under that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from replies import GOOD, LIE, TABLE, WOOD, ThinkingSource
from toy_runs import TOY_CONFIG, RunToy, ToyRun

from flowrl.errors import FatalProviderError, RunStopped
from flowrl.llm.proposer import Analysis
from flowrl.pipeline.events import OperatorRefined, SkillRefused, StageStarted

REFINING = replace(TOY_CONFIG.validation, refine=True)

DEAR_TABLE = TABLE.replace('"inventory:wood": 1', '"inventory:wood": 3')
"""A table is said to use up three pieces of wood."""

WOOD_AND_DIAMOND = WOOD.replace('"achievement:gather": 1', '"achievement:gather": 1, "inventory:diamond": 1')
"""Ends as it should, but declares a diamond too: no episode ever succeeds."""


class WithAnalyst(ThinkingSource):
    """A model that is also asked about trajectories, and answers with ``analysis``."""

    reads_trajectories = True

    def __init__(self, script: tuple[str, ...], analysis: dict[str, Any] | Exception) -> None:
        super().__init__(script)
        self._analysis = analysis
        self.shown: list[tuple[str, str, str]] = []

    def analyse(self, _context: object, skill: str, operator: str, trajectories: str) -> Analysis:
        """The same answer every time."""
        self.shown.append((skill, operator, trajectories))
        if isinstance(self._analysis, Exception):
            raise self._analysis
        return Analysis("", self._analysis, (), {})


def refined(done: ToyRun, skill: str) -> list[OperatorRefined]:
    return [event for event in done.of(OperatorRefined) if event.skill == skill]


def stages(done: ToyRun, skill: str) -> list[str]:
    return [event.stage for event in done.of(StageStarted) if event.skill == skill]


def test_a_dear_table_is_found_to_be_cheap_and_plans_get_shorter(run_toy: RunToy) -> None:
    done = run_toy((WOOD, DEAR_TABLE), max_nodes=2, validation=REFINING)
    assert done.raised is None
    table = done.graph.node("place_table")
    assert table.operator.to_json()["consumes"] == {"inventory:wood": 1}
    assert table.plan == (("collect_wood", 1),)
    first, second = refined(done, "place_table")
    assert (first.before["consumes"], first.after["consumes"]) == (
        {"inventory:wood": 3},
        {"inventory:wood": 1},
    )
    assert first.changes[0]["evidence"]["successes"] >= 32
    assert (second.before, second.changes) == (first.after, ())
    # It was trained and validated again, from where the corrected plan leads.
    assert stages(done, "place_table").count("validate") >= 2
    plans = [e.detail for e in done.of(StageStarted) if (e.stage, e.skill) == ("prepare", "place_table")]
    assert plans == ["collect_wood x3", "collect_wood"]
    assert table.env_steps.refine > 0
    # The journal keeps it, also for the skill that was right.
    kept = [entry for entry in done.journal if entry["kind"] == "OperatorRefined"]
    assert [entry["skill"] for entry in kept] == ["collect_wood", "place_table", "place_table"]
    assert kept[0]["before"] == kept[0]["after"]


def test_who_only_gains_more_is_validated_once_more_but_not_refined(run_toy: RunToy) -> None:
    modest = WOOD.replace(', "achievement:gather": 1', "")
    done = run_toy((modest,), max_nodes=1, validation=REFINING)
    assert done.raised is None
    assert set(done.graph.node("collect_wood").operator.gains) == {"inventory:wood", "achievement:gather"}
    [once] = refined(done, "collect_wood")
    assert [change["fact"] for change in once.changes] == ["achievement:gather"]
    after = stages(done, "collect_wood")
    after = after[after.index("refine") + 1 :]
    assert (after.count("validate") >= 1, after.count("refine")) == (True, 0)


def test_a_gain_that_never_comes_is_noticed_long_before_the_budget_is_spent(run_toy: RunToy) -> None:
    done = run_toy((WOOD_AND_DIAMOND,), max_nodes=1, validation=REFINING, ppo={"total_timesteps": 80_000})
    assert done.raised is None
    node = done.graph.node("collect_wood")
    assert set(node.operator.gains) == {"inventory:wood", "achievement:gather"}
    assert node.env_steps.train < 60_000
    assert refined(done, "collect_wood")[0].before["gains"]["inventory:diamond"] == 1


def test_what_is_nothing_new_once_corrected_is_refused(run_toy: RunToy) -> None:
    done = run_toy(
        (WOOD, LIE), max_nodes=2, max_consecutive_failures=1, validation=REFINING,
        ppo={"total_timesteps": 20_000},
    )  # fmt: skip
    assert isinstance(done.raised, RunStopped)
    assert done.graph.names == ("collect_wood",)
    [failure] = done.graph.failures
    assert failure.name == "claim_diamond"
    assert failure.stage == "plan"
    assert "gains only what accepted skills already gain" in failure.reason
    assert done.of(SkillRefused)[-1].reason == failure.reason


def test_an_analyst_is_asked_while_others_train_and_believed_only_as_far_as_the_table_agrees(
    run_toy: RunToy,
) -> None:
    wrong = {"requires": {"inventory:glass": 1}, "consumes": {}, "gains": {"achievement:gather": 1}}
    source = WithAnalyst(GOOD, wrong)
    done = run_toy(source, slots=2, validation=REFINING)
    assert done.raised is None
    assert done.graph.node("collect_wood").operator.requires == {}
    assert {skill for skill, _, _ in source.shown} == set(done.graph.names)
    skill, operator, table = source.shown[0]
    assert skill == "collect_wood"
    assert '"inventory:wood": "1*n"' in operator
    assert "| `inventory:wood` | count |" in table
    assert "were taken" in refined(done, "collect_wood")[0].note
    assert {change["fact"] for change in refined(done, "collect_wood")[0].not_taken} >= {"inventory:glass"}


def test_an_analyst_that_cannot_answer_stops_nothing(run_toy: RunToy) -> None:
    done = run_toy(
        WithAnalyst((WOOD,), FatalProviderError("the key is wrong")), max_nodes=1, validation=REFINING
    )
    assert done.raised is None
    assert "The analyst gave no operator: the key is wrong" in refined(done, "collect_wood")[0].note


def test_a_mistake_of_the_program_in_an_analysis_ends_the_run(run_toy: RunToy) -> None:
    """It does not wait for ever for an answer that never comes."""
    done = run_toy(WithAnalyst((WOOD,), ZeroDivisionError("a bug")), max_nodes=1, validation=REFINING)
    assert isinstance(done.raised, ZeroDivisionError)


@pytest.mark.parametrize("refine", [True, False])
def test_refining_can_be_turned_off(run_toy: RunToy, refine: bool) -> None:
    done = run_toy((WOOD,), max_nodes=1, validation=replace(REFINING, refine=refine))
    assert bool(done.of(OperatorRefined)) is refine
    assert ("refine" in stages(done, "collect_wood")) is refine
    assert (done.graph.node("collect_wood").env_steps.refine > 0) is refine
