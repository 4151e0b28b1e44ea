"""The prompt graph: what models are told, what happens to their answers, who answers for which role."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback import KEY, WORLD, LoopbackServer, says, status

from flowrl.errors import FatalProviderError, ProposalRefused
from flowrl.llm.client import RetryPolicy
from flowrl.llm.config import LlmConfig
from flowrl.llm.context import CUTS, AcceptedSkill, Failure, ProposalContext, shorten
from flowrl.llm.errors import BudgetExhausted, NothingToPropose, RetriesExhausted
from flowrl.llm.prompts import fill, load_prompt, render
from flowrl.llm.proposer import ProposalUnusable, SyncProposer, open_proposer
from flowrl.llm.providers.playbook import load_playbook, shipped_worlds
from flowrl.llm.recorder import recorded_calls
from flowrl.llm.reply_text import find_json, find_python, whole_reply

PLAYBOOK = LlmConfig(llm_name="playbook")
REFUSAL = ProposalRefused("probe", "the reward is constant.", "Pay for the change in wood.")
GOLDEN = Path(__file__).parent / "golden"


def records(graph_path: Path) -> list[dict[str, Any]]:
    """All recorded calls, in order."""
    return [json.loads(path.read_text()) for path in sorted((graph_path / "llm").glob("*.json"))]


def taken_by(proposer: SyncProposer, context: ProposalContext, count: int) -> list[str]:
    """Names of so many proposals, each accepted."""
    names: list[str] = []
    for index in range(count):
        accepted = tuple(AcceptedSkill(name, "", {}) for name in names)
        text = proposer.propose(
            replace(context, accepted=accepted, failures=(), in_training=(), index=index)
        ).text
        names.append(find_json(text)["name"])
    return names


# Prompts


def test_prompts_are_as_written_down(context: ProposalContext, tmp_path: Path) -> None:
    """Whole conversations, word for word. FLOWRL_UPDATE_GOLDEN=1 writes them anew."""
    with open_proposer(PLAYBOOK, WORLD, tmp_path) as proposer:
        reply = proposer.propose(context).text
        with pytest.raises(ProposalUnusable):
            proposer.repair(context, reply, REFUSAL, 1)
        with pytest.raises(FatalProviderError):
            proposer.analyse(context, "place_table", '{"gains": {}}', "wood: 5 -> 4 in 96 of 100 episodes")
    seen = {}
    for record in records(tmp_path):
        turns = [f"<<< {turn['role']} >>>\n{turn['content']}\n" for turn in record["messages"]]
        seen.setdefault(record["task"]["node"], "\n".join(turns))
    assert set(seen) == {"skill", "operator", "code", "repair", "trajectory"}
    for node, text in seen.items():
        path = GOLDEN / f"{node}.md"
        if os.environ.get("FLOWRL_UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{path} no longer is what the model is told"


def test_a_missing_or_unused_variable_raises() -> None:
    with pytest.raises(KeyError, match="'system' needs the variable 'fact_table'"):
        render("system", {"env_name": "e", "world": "w"})
    with pytest.raises(KeyError, match="'operator_rules' does not use the variable 'x'"):
        render("operator_rules", {"x": "1"})
    with pytest.raises(FileNotFoundError):
        load_prompt("no_such_prompt")


def test_values_are_never_filled_in_again() -> None:
    assert fill("$db.a$ $db.b$", {"a": "$db.b$", "b": "2"}) == "$db.b$ 2"


# The playbook


@pytest.mark.parametrize("world", shipped_worlds())
def test_every_shipped_proposal_is_in_the_reply_format(world: str) -> None:
    proposals = load_playbook(world)
    names = [proposal.name for proposal in proposals]
    assert len(set(names)) == len(names)
    for proposal in proposals:
        again = whole_reply(proposal.operator, proposal.source)
        assert (find_json(again), find_python(again)) == (proposal.operator, proposal.source)


def test_the_playbook_passes_through_the_whole_graph(context: ProposalContext, tmp_path: Path) -> None:
    with open_proposer(PLAYBOOK, WORLD, tmp_path) as proposer:
        reply = proposer.propose(context)
    proposal = next(p for p in load_playbook(WORLD) if p.name == "place_table")
    assert find_json(reply.text) == proposal.operator
    assert find_python(reply.text) == proposal.source
    assert reply.roles == {"proposer": "playbook", "coder": "playbook"}
    assert [call.node for call in reply.calls] == ["skill", "operator", "code"]
    assert [call.usd for call in reply.calls] == [0.0, 0.0, 0.0]
    assert [record["task"]["skill"] for record in records(tmp_path)] == ["", "place_table", "place_table"]
    assert {call.skill for call in recorded_calls(tmp_path / "llm")} == {"", "place_table"}


def test_the_playbook_goes_on_after_what_is_learned_or_given_up(context: ProposalContext) -> None:
    everything = [proposal.name for proposal in load_playbook(WORLD)]
    with open_proposer(PLAYBOOK, WORLD) as proposer:
        empty = replace(context, frontier={}, accepted=(), failures=(), in_training=())
        assert taken_by(proposer, empty, 3) == everything[:3]
        failed = replace(empty, failures=(Failure(everything[0], "train", "too hard"),))
        assert find_json(proposer.propose(failed).text)["name"] == everything[1]

        all_taken = replace(empty, accepted=tuple(AcceptedSkill(name, "", {}) for name in everything))
        with pytest.raises(NothingToPropose, match="has nothing left") as nothing:
            proposer.propose(all_taken)
        assert nothing.value.exit_code == 3
        assert not nothing.value.waiting


def test_a_playbook_of_ones_own_is_a_folder_of_files(context: ProposalContext, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    config = LlmConfig(llm_name=f"playbook_{folder}")
    for missing, complaint in ((folder, "has none"), (folder / "nowhere", "is no folder")):
        with pytest.raises(FatalProviderError, match=f"{missing.name}' {complaint}"):
            open_proposer(replace(config, llm_name=f"playbook_{missing}"), WORLD)
    shipped = load_playbook(WORLD)[0]
    (folder / "00_dig.md").write_text(
        whole_reply({**shipped.operator, "name": "dig"}, shipped.source), encoding="utf-8"
    )
    empty = replace(context, frontier={}, accepted=(), failures=(), in_training=())
    with open_proposer(config, WORLD) as proposer:
        reply = proposer.propose(empty)
        assert (find_json(reply.text)["name"], reply.roles["coder"]) == ("dig", config.llm_name)
        assert not proposer.reads_trajectories
        with pytest.raises(NothingToPropose, match="its 1 skills are all learned"):
            proposer.propose(replace(empty, accepted=(AcceptedSkill("dig", "", {}),)))
    (folder / "01_dig.md").write_text(
        whole_reply({**shipped.operator, "name": "dig"}, shipped.source), encoding="utf-8"
    )
    with pytest.raises(FatalProviderError, match=r"00_dig.md and 01_dig.md both propose 'dig'"):
        open_proposer(config, WORLD)


def test_the_playbook_waits_for_what_is_in_training(context: ProposalContext) -> None:
    start = {"floor": 0, "vital:health": 9, "vital:food": 9, "vital:drink": 9, "vital:energy": 9}
    needless = [p.name for p in load_playbook(WORLD) if p.needs <= set(start)]
    base = replace(context, frontier=start, accepted=(), failures=())
    with open_proposer(PLAYBOOK, WORLD) as proposer:
        waiting = replace(base, in_training=tuple(needless))
        with pytest.raises(NothingToPropose, match="waits for skills in training") as nothing:
            proposer.propose(waiting)
        assert nothing.value.waiting
        # With nothing in training, an infeasible one is served: the plan stage says which fact it misses.
        given_up = replace(base, in_training=(), failures=tuple(Failure(n, "train", "") for n in needless))
        assert find_json(proposer.propose(given_up).text)["name"] not in needless


def test_no_playbook_for_an_unknown_world() -> None:
    with pytest.raises(
        FatalProviderError, match=r"no playbook for 'Craftax-Clasic-Symbolic-v1'.* Did you mean"
    ):
        open_proposer(PLAYBOOK, "Craftax-Clasic-Symbolic-v1")


# Answers


def test_the_choice_is_told_before_the_reply_is_complete(
    server: LoopbackServer, context: ProposalContext
) -> None:
    asked_by_then: list[tuple[str, int]] = []

    def chosen(name: str) -> None:
        asked_by_then.append((name, len(server.requests)))

    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD) as proposer:
        reply = proposer.propose(context, chosen)
        assert not proposer.answers_at_once
    assert asked_by_then[0] == (find_json(reply.text)["name"], 1)
    assert len(reply.calls) == 3


@pytest.mark.parametrize(("roles", "at_once"), [((), True), (("coder=gpt-4o-mini",), False)])
def test_only_what_comes_out_of_files_comes_at_once(
    server: LoopbackServer,  # noqa: ARG001
    roles: tuple[str, ...],
    at_once: bool,
) -> None:
    with open_proposer(replace(PLAYBOOK, llm_role=roles), WORLD) as proposer:
        assert proposer.answers_at_once is at_once


BAD_CHOICES = [
    ("nothing of use", "There is no ```json block"),
    ("```json\n[1]\n```", "holds a list"),
    ("```json\n{'name': 1}\n```", "not valid JSON"),
    ('```json\n{"name": "Dig Deep", "description": "d"}\n```', "not snake_case"),
    ('```json\n{"name": "collect_diamond", "description": "d"}\n```', "is taken"),
    ('```json\n{"name": "dig_deep"}\n```', "no description"),
    ("```json\n" + "[" * 100_000 + "\n```", "not valid JSON"),
]


@pytest.mark.parametrize(("text", "words"), BAD_CHOICES)
def test_a_bad_answer_goes_back_with_what_is_wrong(
    server: LoopbackServer, context: ProposalContext, text: str, words: str
) -> None:
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD) as proposer:
        server.misbehave(says(text))
        reply = proposer.propose(context)
        assert find_json(reply.text)["name"] == "place_table"
        feedback = server.requests[1].body["messages"]
        assert words in feedback[-1]["content"]
        assert feedback[-2]["role"] == "assistant"
        assert len(reply.calls) == 4


def test_a_node_that_fails_for_good_raises(server: LoopbackServer, context: ProposalContext) -> None:
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD) as proposer:
        server.misbehave(*(says("I would rather not write JSON.") for _ in range(3)))
        with pytest.raises(ProposalUnusable, match="skill prompt got no usable answer") as failed:
            proposer.propose(context)
    assert failed.value.stage == "parse"
    assert failed.value.skill == ""
    assert len(failed.value.reply.calls) == 3
    assert "N/A" not in failed.value.reply.text


def test_a_bad_operator_names_the_skill_that_it_was_for(
    server: LoopbackServer, context: ProposalContext
) -> None:
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD) as proposer:
        good = says('```json\n{"name": "dig_deep", "description": "d"}\n```')
        server.misbehave(good, *(says('```json\n{"requires": {}}\n```') for _ in range(3)))
        with pytest.raises(ProposalUnusable, match="'gains' is missing or empty") as failed:
            proposer.propose(context)
    assert failed.value.skill == "dig_deep"


def test_unknown_keys_are_left_for_the_parser_to_refuse(
    server: LoopbackServer, context: ProposalContext
) -> None:
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD) as proposer:
        server.misbehave(
            says('{"name": "dig_deep", "description": "d"}'),
            says('```json\n{"gains": {"inventory:wood": 1}, "consume": {"inventory:stone": 1}}\n```'),
        )
        assert find_json(proposer.propose(context).text) == {
            "name": "dig_deep",
            "description": "d",
            "requires": {},
            "consumes": {},
            "gains": {"inventory:wood": 1},
            "consume": {"inventory:stone": 1},
        }


def test_repair_tells_stage_and_reason(server: LoopbackServer, context: ProposalContext) -> None:
    proposal = load_playbook(WORLD)[1]
    broken = whole_reply(proposal.operator, proposal.source.replace("return", "return 0 *"))
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD) as proposer:
        mended = proposer.repair(context, broken, REFUSAL, 2)
        assert find_python(mended.text) == proposal.source
        assert mended.roles == {"repairer": "gpt-4o-mini"}
        told = server.requests[0].body["messages"][-1]["content"]
        assert "Stage: probe. Reason: the reward is constant." in told
        assert "Pay for the change in wood." in told
        assert "(repair 2)" in told


def test_a_repair_that_changes_nothing_is_refused_for_the_first_reason(context: ProposalContext) -> None:
    with open_proposer(PLAYBOOK, WORLD) as proposer:
        text = proposer.propose(context).text
        with pytest.raises(ProposalUnusable, match=r"the reward is constant.*Nothing has changed") as failed:
            proposer.repair(context, text, REFUSAL, 1)
    assert failed.value.stage == "probe"
    assert failed.value.skill == "place_table"


def test_an_analyst_gives_an_operator(server: LoopbackServer, context: ProposalContext) -> None:
    config = LlmConfig(llm_name="gpt-4o-mini", llm_role=("analyst=gpt-4o",))
    with open_proposer(config, WORLD) as proposer:
        server.misbehave(says('It costs 9 wood.\n```json\n{"gains": {"near:crafting_table": 1}}\n```'))
        analysis = proposer.analyse(context, "place_table", "{}", "wood 9 -> 0")
    assert analysis.operator["gains"] == {"near:crafting_table": 1}
    assert analysis.roles == {"analyst": "gpt-4o"}


# Roles, fallbacks, budgets


def test_two_models_in_one_run_by_role(
    server: LoopbackServer, context: ProposalContext, tmp_path: Path
) -> None:
    config = LlmConfig(llm_name="gpt-4o", llm_role=("coder=gpt-4o-mini",))
    with open_proposer(config, WORLD, tmp_path) as proposer:
        reply = proposer.propose(context)
        assert proposer.roles["repairer"] == "gpt-4o"
        totals = proposer.ledger.by("model")
    assert reply.roles == {"proposer": "gpt-4o", "coder": "gpt-4o-mini"}
    assert [request.model for request in server.requests] == ["gpt-4o", "gpt-4o", "gpt-4o-mini"]
    assert [record["model"] for record in records(tmp_path)] == ["gpt-4o", "gpt-4o", "gpt-4o-mini"]
    assert totals["gpt-4o"].usd == pytest.approx(2 * (100 * 2.5 + 20 * 10) / 1e6)
    assert totals["gpt-4o-mini"].usd == pytest.approx((100 * 0.15 + 20 * 0.6) / 1e6)


def test_roles_mix_providers(server: LoopbackServer, context: ProposalContext) -> None:
    config = LlmConfig(llm_name="playbook", llm_role=("coder=gpt-4o-mini",))
    with open_proposer(config, WORLD) as proposer:
        reply = proposer.propose(context)
    assert reply.roles == {"proposer": "playbook", "coder": "gpt-4o-mini"}
    assert len(server.requests) == 1


def test_the_fallback_serves_when_the_first_is_down(
    server: LoopbackServer, context: ProposalContext, fast: RetryPolicy, tmp_path: Path
) -> None:
    server.by_model["gpt-4o"] = status(503)
    config = LlmConfig(llm_name="gpt-4o", llm_fallback=("gpt-4o-mini",))
    announced: list[str] = []
    with open_proposer(config, WORLD, tmp_path, announced.append, fast) as proposer:
        reply = proposer.propose(context)
    assert set(reply.roles.values()) == {"gpt-4o-mini"}
    assert len(announced) == 1
    assert "gpt-4o-mini answers instead" in announced[0]
    # Once down, the first is left alone for a while.
    assert [request.model for request in server.requests] == ["gpt-4o"] * 3 + ["gpt-4o-mini"] * 3
    first = records(tmp_path)[0]
    assert first["requests"] == 4
    assert [attempt["model"] for attempt in first["failed_attempts"]] == ["gpt-4o"] * 3


def test_the_fallback_does_not_serve_for_what_is_fatal(
    server: LoopbackServer, context: ProposalContext, fast: RetryPolicy
) -> None:
    server.by_model["gpt-4o"] = status(401)
    config = LlmConfig(llm_name="gpt-4o", llm_fallback=("gpt-4o-mini",))
    with open_proposer(config, WORLD, policy=fast) as proposer, pytest.raises(FatalProviderError):
        proposer.propose(context)
    assert [request.model for request in server.requests] == ["gpt-4o"]


def test_when_all_are_down_it_says_so(
    server: LoopbackServer, context: ProposalContext, fast: RetryPolicy
) -> None:
    server.by_model.update({"gpt-4o": status(503), "gpt-4o-mini": status(500)})
    config = LlmConfig(llm_name="gpt-4o", llm_fallback=("gpt-4o-mini",))
    with open_proposer(config, WORLD, announce=[].append, policy=fast) as proposer:
        with pytest.raises(RetriesExhausted, match="gpt-4o-mini: gave up"):
            proposer.propose(context)
        # The next proposal asks again rather than never.
        server.by_model.clear()
        assert proposer.propose(context).roles["proposer"] == "gpt-4o-mini"


def test_the_budget_ends_a_run_that_a_cheaper_model_takes_up(
    server: LoopbackServer, context: ProposalContext, tmp_path: Path
) -> None:
    config = LlmConfig(llm_name="gpt-5", max_llm_usd=0.0005)
    with open_proposer(config, WORLD, tmp_path) as proposer, pytest.raises(BudgetExhausted) as stopped:
        proposer.propose(context)
    assert stopped.value.exit_code == 3
    assert len(server.requests) == 2
    cheap = replace(config, llm_name="gpt-4o-mini")
    with open_proposer(cheap, WORLD, tmp_path) as proposer:
        assert proposer.propose(context).text
    written = records(tmp_path)
    assert [record["id"] for record in written] == [f"{number:06d}" for number in range(6)]
    assert [record["model"] for record in written] == ["gpt-5"] * 3 + ["gpt-4o-mini"] * 3
    assert written[2]["error"]["kind"] == "exhausted"
    assert len({record["run"] for record in written}) == 2


# Replay


def test_a_recorded_run_replays_without_a_network(
    server: LoopbackServer, context: ProposalContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = replace(context, accepted=(), failures=(), in_training=())
    proposal = load_playbook(WORLD)[0]
    broken = whole_reply(proposal.operator, proposal.source.replace("return", "return 0 *"))
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD, tmp_path / "first") as proposer:
        server.misbehave(says("not JSON"))
        names = taken_by(proposer, base, 3)
        mended = proposer.repair(base, broken, REFUSAL, 1).text
    asked = len(server.requests)
    monkeypatch.delenv("OPENAI_API_KEY")
    config = LlmConfig(llm_name=f"replay_{tmp_path / 'first'}", max_llm_usd=0.01)
    with open_proposer(config, WORLD, tmp_path / "second") as proposer:
        assert taken_by(proposer, base, 3) == names
        assert proposer.repair(base, broken, REFUSAL, 1).text == mended
        assert proposer.ledger.total().usd == 0.0
        with pytest.raises(NothingToPropose, match="the recording ends here"):
            proposer.propose(replace(base, index=9, frontier={"floor": 2}))
    assert len(server.requests) == asked
    first, second = records(tmp_path / "first"), records(tmp_path / "second")
    served = [(record["messages"], record["reply"]["text"]) for record in second if record["reply"]]
    assert served == [(record["messages"], record["reply"]["text"]) for record in first]


def test_a_replay_serves_where_only_measured_numbers_differ(
    server: LoopbackServer, context: ProposalContext, tmp_path: Path
) -> None:
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD, tmp_path) as proposer:
        text = proposer.propose(context).text
    asked = len(server.requests)
    other = replace(context, accepted=(context.accepted[0]._replace(success=0.93),))
    with open_proposer(LlmConfig(llm_name=f"replay_{tmp_path}"), WORLD) as proposer:
        assert proposer.propose(other).text == text
    assert len(server.requests) == asked


# Fitting


def long_context(context: ProposalContext) -> ProposalContext:
    """A context with far too much in it."""
    return replace(
        context,
        world="w" * 9000,
        accepted=tuple(
            AcceptedSkill(f"skill_{i}", "d" * 300, {"gains": {f"f:{i}": 1}}, 0.9) for i in range(40)
        ),
        failures=tuple(Failure(f"failed_{i}", "train", "r" * 900) for i in range(30)),
    )


def test_what_is_cut_first_is_fixed_and_names_stay_taken(context: ProposalContext) -> None:
    full = long_context(context)
    sizes = []
    for level in range(len(CUTS) + 1):
        shorter, cuts = shorten(full, level)
        assert cuts == tuple(label for label, _ in CUTS[:level])
        assert shorter.taken == full.taken
        sizes.append(len(repr(shorter)))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_prompts_fit_the_models_context_and_say_what_was_cut(
    server: LoopbackServer, context: ProposalContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(
        f"models:\n  small: {{base_url: '{server.url}', context_tokens: 12000, max_new_tokens: 1000}}\n"
        f"  tiny: {{base_url: '{server.url}', context_tokens: 3000, max_new_tokens: 1000}}\n"
    )
    monkeypatch.setenv("FLOWRL_MODELS", str(models))
    full = long_context(context)
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD, tmp_path / "all") as proposer:
        proposer.propose(full)
    with open_proposer(LlmConfig(llm_name="small"), WORLD, tmp_path / "cut") as proposer:
        proposer.propose(full)
    assert all(record["cuts"] == [] for record in records(tmp_path / "all"))
    for record in records(tmp_path / "cut"):
        assert record["cuts"][0] == CUTS[0][0]
        assert sum(len(turn["content"]) for turn in record["messages"]) < 12000 * 3
    with (
        open_proposer(LlmConfig(llm_name="tiny"), WORLD) as proposer,
        pytest.raises(FatalProviderError, match="the model has room for 2000"),
    ):
        proposer.propose(full)


# Threads


def test_several_threads_may_propose_at_once(
    server: LoopbackServer, context: ProposalContext, tmp_path: Path
) -> None:
    texts: list[str] = []
    with open_proposer(LlmConfig(llm_name="gpt-4o-mini"), WORLD, tmp_path) as proposer:
        threads = [
            threading.Thread(target=lambda: texts.append(proposer.propose(context).text)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
    assert len(texts) == 4
    assert len(server.requests) == 12
    assert [record["id"] for record in records(tmp_path)] == [f"{number:06d}" for number in range(12)]
    assert KEY not in "".join(path.read_text() for path in (tmp_path / "llm").iterdir())
    proposer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "flowrl-llm"]
