"""What is wrong with a proposal goes back to who made it, a bounded number of times, and is then kept."""

from __future__ import annotations

import pytest
from replies import (
    DIAMOND,
    DONE_AT_START,
    FORBIDDEN,
    LIE,
    MORE_WOOD,
    NO_BLOCKS,
    NO_SUCH_FIELD,
    PICKAXE,
    TABLE,
    UNKNOWN_FACT,
    UNTRACEABLE,
    WINDOW,
    WOOD,
    ScriptedSource,
)
from toy_runs import TOY_CONFIG, RunToy, ToyRun

from flowrl.errors import FatalProviderError, ProposalRefused, RunStopped
from flowrl.llm.proposer import ProposalUnusable, ProposedReply
from flowrl.pipeline.events import RunFinished, SkillRefused, StageStarted
from flowrl.skills.graph import Failure

BUDGET = 4096


def only_failure(done: ToyRun) -> Failure:
    [failure] = done.graph.failures
    return failure


@pytest.mark.parametrize(
    ("bad", "stage", "name", "said"),
    [
        (NO_BLOCKS, "parse", "unnamed", "block"),
        (UNKNOWN_FACT, "parse", "collect_wood", "inventory:wod"),
        (FORBIDDEN, "static", "collect_wood", "Import"),
        (NO_SUCH_FIELD, "static", "collect_wood", "gold"),
        (UNTRACEABLE, "trace", "collect_wood", "reward"),
        (DONE_AT_START, "probe", "collect_wood", "at the start"),
        (PICKAXE, "plan", "make_pickaxe", "near:table"),
    ],
)
def test_a_refusal_goes_back_twice_and_is_then_a_failure_that_later_contexts_see(
    run_toy: RunToy, bad: str, stage: str, name: str, said: str
) -> None:
    done = run_toy(ScriptedSource([bad, MORE_WOOD], patient=False), max_repairs=2, max_nodes=1)
    assert done.raised is None
    assert [attempt for _, _, attempt in done.source.refusals] == [1, 2]
    for text, refusal, _ in done.source.refusals:
        assert text == bad
        assert refusal.stage == stage
        assert said in refusal.reason
        assert refusal.fix
    failure = only_failure(done)
    assert (failure.name, failure.stage, failure.index) == (name, stage, 0)
    assert said in failure.reason
    assert failure.env_steps.total == 0
    assert failure.wall_s > 0
    assert (done.path / str(failure.folder) / "proposal.md").read_text() == bad
    seen = done.source.contexts[1].failures
    assert [(f.name, f.stage) for f in seen] == ([] if name == "unnamed" else [(name, stage)])
    assert [(event.skill, event.stage) for event in done.of(SkillRefused)] == [(name, stage)] * 3
    assert done.graph.names == ("gather_more",)


def test_no_repairs_means_none(run_toy: RunToy) -> None:
    done = run_toy([FORBIDDEN, MORE_WOOD], max_repairs=0, max_nodes=1)
    assert done.source.refusals == []
    assert only_failure(done).stage == "static"


def test_a_mended_reply_is_accepted_and_both_writers_are_named(run_toy: RunToy) -> None:
    done = run_toy([[FORBIDDEN, DONE_AT_START, WOOD]], max_nodes=1)
    assert done.raised is None
    assert [refusal.stage for _, refusal, _ in done.source.refusals] == ["static", "probe"]
    [node] = done.graph.nodes
    assert node.llm == {"proposer": "script", "repairer": "script"}
    assert (done.path / "nodes" / "0_collect_wood" / "proposal.md").read_text() == WOOD
    assert done.graph.failures == ()


def test_an_unreadable_repair_keeps_the_name_that_was_known(run_toy: RunToy) -> None:
    done = run_toy([[FORBIDDEN, NO_BLOCKS], MORE_WOOD], max_repairs=1, max_nodes=1)
    failure = only_failure(done)
    assert (failure.name, failure.stage, failure.operator) == ("collect_wood", "parse", None)


def test_what_the_graph_gains_already_or_has_by_name_is_refused(run_toy: RunToy) -> None:
    done = run_toy([WOOD, MORE_WOOD, [TABLE.replace("near.table", "near.tabel"), WOOD]], max_repairs=1)
    nothing_new, same_name = done.graph.failures
    assert (nothing_new.name, nothing_new.stage) == ("gather_more", "plan")
    assert "gains only what accepted skills already gain (inventory:wood)" in nothing_new.reason
    assert (same_name.name, same_name.stage) == ("collect_wood", "plan")
    assert "there already is a skill named 'collect_wood'" in same_name.reason
    assert done.graph.names == ("collect_wood",)


def test_a_skill_that_cannot_be_learned_is_refused_when_its_budget_is_spent(run_toy: RunToy) -> None:
    done = run_toy([DIAMOND], ppo={"total_timesteps": BUDGET}, max_consecutive_failures=1)
    assert isinstance(done.raised, RunStopped)
    failure = only_failure(done)
    assert (failure.name, failure.stage) == ("collect_diamond", "train")
    assert failure.env_steps.train == BUDGET
    assert "0% of its last episodes after 4,096 env steps" in failure.reason
    assert failure.operator is not None
    assert set(failure.operator.gains) == {"inventory:diamond"}
    curves = (done.path / str(failure.folder) / "curves.jsonl").read_text().splitlines()
    assert len(curves) == BUDGET // (32 * 16)


def test_a_skill_that_claims_what_it_did_not_gain_is_refused(run_toy: RunToy) -> None:
    done = run_toy([LIE], ppo={"total_timesteps": BUDGET}, max_consecutive_failures=1)
    failure = only_failure(done)
    assert (failure.name, failure.stage) == ("claim_diamond", "train")
    assert "0% of its last episodes" in failure.reason


def test_what_cannot_be_proved_in_unseen_worlds_is_refused_with_what_was_measured(run_toy: RunToy) -> None:
    # 64 successes of 64 prove 94%, never 97%.
    strict = dict(TOY_CONFIG.validation.__dict__, success_state_rate=0.97)
    done = run_toy(
        [WOOD],
        max_nodes=1,
        ppo={"total_timesteps": 3 * BUDGET},
        max_consecutive_failures=1,
        validation=type(TOY_CONFIG.validation)(**strict),
    )
    failure = only_failure(done)
    assert failure.stage == "validate"
    assert "97% are needed" in failure.reason
    assert "Measured gains: inventory:wood" in failure.reason
    assert failure.env_steps.validate > 0


def test_start_states_that_the_plan_never_reaches_are_a_refusal_with_its_cost(run_toy: RunToy) -> None:
    done = run_toy([WOOD, WINDOW], max_nodes=2, max_consecutive_failures=1)
    failure = only_failure(done)
    assert (failure.name, failure.stage) == ("make_window", "prepare")
    assert "the plan [collect_wood] reached a start state of 'make_window' in only 0 of" in failure.reason
    assert failure.env_steps.train == failure.env_steps.validate == 0
    assert failure.env_steps.prepare > 0
    [finished] = done.of(RunFinished)
    node = done.graph.nodes[0]
    probing = 32 * (48 + 24)
    assert finished.env_steps == node.env_steps.total + failure.env_steps.total + probing


def test_too_many_failures_in_a_row_stop_the_run_with_exit_3(run_toy: RunToy) -> None:
    script = [WOOD, MORE_WOOD, FORBIDDEN, NO_BLOCKS, PICKAXE]
    done = run_toy(script, max_repairs=0, max_consecutive_failures=3)
    assert isinstance(done.raised, RunStopped)
    assert done.raised.exit_code == 3
    assert "3 skills in a row were refused (--max_consecutive_failures 3)" in str(done.raised)
    assert "'make_pickaxe', at stage plan" in str(done.raised)
    [finished] = done.of(RunFinished)
    assert finished.reason == str(done.raised)
    # It goes on from there, told of what failed.
    again = run_toy([TABLE], max_nodes=2)
    assert again.raised is None
    assert again.graph.names == ("collect_wood", "place_table")
    assert [f.name for f in again.source.contexts[0].failures] == ["gather_more", "make_pickaxe"]


def test_a_success_between_failures_starts_the_count_anew(run_toy: RunToy) -> None:
    script = [NO_BLOCKS, UNKNOWN_FACT.replace("collect_wood", "a"), WOOD, MORE_WOOD, FORBIDDEN, TABLE]
    done = run_toy(script, max_repairs=0, max_nodes=2, max_consecutive_failures=3)
    assert done.raised is None
    assert len(done.graph.failures) == 3


def test_answers_without_the_asked_form_are_a_failure(run_toy: RunToy) -> None:
    unusable = ProposalUnusable("parse", "no block.", "", "", ProposedReply("hm", (), {"proposer": "script"}))
    done = run_toy(ScriptedSource([WOOD], asks={0: unusable}), max_nodes=1)
    assert done.raised is None
    failure = only_failure(done)
    assert (failure.name, failure.stage, failure.reason) == ("unnamed", "parse", "no block.")
    assert (done.path / str(failure.folder) / "proposal.md").read_text() == "hm"


def test_a_provider_s_error_ends_the_run_and_nothing_is_lost(run_toy: RunToy) -> None:
    refused = FatalProviderError("The key was refused.")
    done = run_toy(ScriptedSource([WOOD, TABLE], asks={1: refused}))
    assert done.raised is refused
    [finished] = done.of(RunFinished)
    assert (finished.accepted, finished.reason) == (1, "The key was refused.")
    assert run_toy([TABLE], max_nodes=2).raised is None


def test_reasons_are_not_said_twice(run_toy: RunToy) -> None:
    done = run_toy([FORBIDDEN, MORE_WOOD], max_repairs=0, max_nodes=1)
    [refused] = done.of(SkillRefused)
    assert not refused.reason.startswith("[")
    assert str(ProposalRefused(refused.stage, refused.reason)).startswith("[static] ")
    checks = [event.skill for event in done.of(StageStarted) if event.stage == "check"]
    assert checks == ["collect_wood", "gather_more"]
