"""``bench llm``: what is counted, and that one model's trouble is not another's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback import KEY, WORLD, LoopbackServer, says, status

from flowrl import cli
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.llm.config import LlmConfig
from flowrl.llm.proposer import ProposedReply
from flowrl.llm.providers.playbook import load_playbook
from flowrl.llm.reply_text import whole_reply
from flowrl.pipeline import bench_llm as bench
from flowrl.pipeline.probing import random_play
from flowrl.worlds.registry import make_world

pytestmark = pytest.mark.xdist_group("bench_llm")  # one worker makes the bank of random play

NAMES = ("playbook", "gpt-4o-mini")


@pytest.fixture(scope="module")
def bank() -> ProbeBank:
    """Real random play, made once."""
    return random_play(make_world(WORLD))


def scores(bank: ProbeBank, *names: str, said: list[str] | None = None, **more: Any) -> list[bench.Score]:
    """What the bench measures for these models."""
    announce = said.append if said is not None else (lambda _: None)
    return bench.bench_llm(names, LlmConfig(), make_world(WORLD), bank, announce=announce, **more)


def test_states_are_prefixes_of_the_playbook_with_nominal_success() -> None:
    states = bench.frontier_states(make_world(WORLD))
    names = [proposal.name for proposal in load_playbook(WORLD)]
    assert [graph.names for graph in states] == [tuple(names[:count]) for count in (0, 3, 6, 10, 14)]
    assert all(0.9 < node.evidence.success_low < 1 for graph in states for node in graph.nodes)
    assert len(bench.frontier_states(make_world(WORLD), (0, 22, 99))) == 2


def test_the_playbook_passes_everything_for_nothing(
    bank: ProbeBank, server: LoopbackServer, tmp_path: Path
) -> None:
    said: list[str] = []
    playbook, hosted = scores(bank, *NAMES, record=tmp_path, said=said)
    for score in (playbook, hosted):
        assert (score.asked, score.usable, score.errors) == (5, 5, [])
        assert {check: score.count(check) for check in bench.CHECKS} == dict.fromkeys(bench.CHECKS, 5)
        assert [verdict.learned for verdict in score.verdicts] == [0, 3, 6, 10, 14]
        assert score.verdicts[0].name == "collect_wood"
    assert playbook.total.cost == "free"
    # 15 calls at (100 * 0.15 + 20 * 0.6) / 1e6 dollars
    assert hosted.total.usd == pytest.approx(15 * 27e-6)
    assert (hosted.total.prompt_tokens, hosted.total.completion_tokens) == (1500, 300)
    assert hosted.latency_s is not None
    assert hosted.latency_s > 0
    assert len(server.requests) == 15
    assert len(said) == 10
    assert len(list((tmp_path / "gpt-4o-mini" / "llm").glob("*.json"))) == 15


def test_one_models_errors_do_not_lose_anothers_results(bank: ProbeBank, server: LoopbackServer) -> None:
    server.by_model["gpt-4o"] = status(401)
    missing, broken, good = scores(bank, "openrouter_x/y", "gpt-4o", "gpt-4o-mini")
    assert (missing.asked, missing.verdicts, missing.latency_s) == (0, [], None)
    assert missing.errors[0].startswith("OPENROUTER_API_KEY")
    # It is asked once more, in case that only one prompt was refused, and then left alone.
    assert (broken.asked, len(broken.errors), broken.total.cost) == (2, 2, "no answer")
    assert "after 0 skills: gpt-4o: the server refused the key" in broken.errors[0]
    assert (good.asked, good.usable) == (5, 5)


def test_one_refused_prompt_is_not_the_end(bank: ProbeBank, server: LoopbackServer) -> None:
    server.misbehave(says(None, message={"refusal": "I can't help."}))
    [score] = scores(bank, "gpt-4o-mini")
    assert (score.asked, len(score.verdicts), len(score.errors)) == (5, 4, 1)


def test_a_budget_ends_a_model_and_keeps_its_results(bank: ProbeBank, server: LoopbackServer) -> None:
    config = LlmConfig(max_llm_calls=7)
    [score] = bench.bench_llm(["gpt-4o-mini"], config, make_world(WORLD), bank)
    assert (score.asked, score.usable, len(server.requests)) == (3, 2, 7)
    assert "--max_llm_calls" in score.errors[0]


def test_replies_without_the_asked_form_count_as_not_parsed(bank: ProbeBank, server: LoopbackServer) -> None:
    server.by_model["gpt-4o-mini"] = says("As a language model I would chop a tree.")
    [score] = scores(bank, "gpt-4o-mini")
    assert (score.asked, len(score.verdicts), score.count("parse"), score.errors) == (5, 5, 0, [])
    assert "There is no ```json block" in score.verdicts[0].refusals["parse"]
    # Asked three times each before it is given up; all of it is paid for.
    assert score.total.calls == 15


WOOD = load_playbook(WORLD)[0]
DIAMOND = next(proposal for proposal in load_playbook(WORLD) if proposal.name == "collect_diamond")
TABLE = load_playbook(WORLD)[1]


@pytest.mark.parametrize(
    ("operator", "source", "passed", "failed"),
    [
        pytest.param(WOOD.operator, WOOD.source, bench.CHECKS, [], id="usable"),
        pytest.param({**WOOD.operator, "gains": {"a:b": 1}}, WOOD.source, (), ["parse"], id="parse"),
        pytest.param(
            WOOD.operator, "import os\n" + WOOD.source, ("parse", "feasible", "new"), ["static"], id="static"
        ),
        pytest.param(
            WOOD.operator,
            "def is_done(start, prev, now, n):\n    return now.inventory.wood >= 0 * n\n\n\n"
            "def reward(start, prev, now, n):\n    return 1.0",
            ("parse", "static", "trace", "feasible", "new"),
            ["probe"],
            id="probe",
        ),
        pytest.param(
            DIAMOND.operator, DIAMOND.source, ("parse", "static", "trace", "probe", "new"), ["feasible"],
            id="infeasible",
        ),
    ],
)  # fmt: skip
def test_what_is_judged(
    bank: ProbeBank, operator: dict[str, Any], source: str, passed: tuple[str, ...], failed: list[str]
) -> None:
    world = make_world(WORLD)
    reply = ProposedReply(whole_reply(operator, source), (), {})
    with Tracer() as tracer:
        verdict = bench.judge(reply, bench.frontier_states(world, [0])[0], world, tracer, bank)
    assert (set(verdict.passed), list(verdict.refusals)) == (set(passed), failed)


def test_what_is_there_is_not_new(bank: ProbeBank) -> None:
    world = make_world(WORLD)
    after_three = bench.frontier_states(world, [3])[0]
    renamed = {**TABLE.operator, "name": "build_table"}
    with Tracer() as tracer:
        verdict = bench.judge(
            ProposedReply(whole_reply(renamed, TABLE.source), (), {}), after_three, world, tracer, bank
        )
    assert list(verdict.refusals) == ["new"]
    assert "gains only what accepted skills already gain" in verdict.refusals["new"]


def test_the_command_prints_a_table_or_json_and_fails_when_one_did_not_answer(
    bank: ProbeBank,
    server: LoopbackServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowrl.pipeline.probing.random_play", lambda _: bank)
    args = ["bench", "llm", "--env_name", WORLD, "--llm_name", "playbook"]
    assert cli.main([*args, "--llm_name", "gpt-4o-mini", "--json"]) == 0
    captured = capsys.readouterr()
    shown = json.loads(captured.out)
    assert (shown["env_name"], shown["states"]) == (WORLD, [0, 3, 6, 10, 14])
    assert [model["llm_name"] for model in shown["models"]] == list(NAMES)
    assert [model["usable"] for model in shown["models"]] == [5, 5]
    assert shown["models"][1]["total"]["usd"] == pytest.approx(15 * 27e-6)
    assert len(shown["models"][1]["proposals"]) == 5

    asked = len(server.requests)
    assert cli.main([*args, "--llm_name", "openrouter_x/y"]) == 1
    captured = capsys.readouterr()
    rows = {line[:22].strip(): line[22:].split() for line in captured.out.splitlines() if line}
    assert rows["pass all of these"] == ["5", "-"]
    assert rows["cost"] == ["free", "-"]
    assert "error: openrouter_x/y: OPENROUTER_API_KEY" in captured.err
    assert KEY not in captured.out + captured.err
    assert len(server.requests) == asked


def test_names_and_roles_of_the_settings_are_not_used(bank: ProbeBank, server: LoopbackServer) -> None:
    config = replace(LlmConfig(), llm_role=("coder=gpt-5",), llm_fallback=("gpt-4o",))
    [score] = bench.bench_llm(["gpt-4o-mini", "gpt-4o-mini"], config, make_world(WORLD), bank)
    assert {request.model for request in server.requests} == {"gpt-4o-mini"}
    assert score.asked == 5
