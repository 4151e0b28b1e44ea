"""``flowrl status``: everything in the graph is shown, whatever a model wrote, and it starts fast."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flowrl.llm.interface import Usage
from flowrl.llm.ledger import Call, summarize
from flowrl.report.spending import Spending, read_spending
from flowrl.report.status import render_status, status_json
from flowrl.skills.graph import EnvSteps, Evidence, Failure, Practice, SkillGraph, SkillNode
from flowrl.skills.operator import Linear, Operator


def graph() -> SkillGraph:
    first = SkillNode(
        index=0,
        name="collect_wood",
        description="Chop a tree.",
        operator=Operator({}, {}, {"inventory:wood": Linear(1, 0)}),
        max_steps=100,
        max_repeat=5,
        plan=(),
        evidence=Evidence(256, 250, {"inventory:wood": 0.98}, 0.01, 42.0),
        env_steps=EnvSteps(1_500_000, 0, 20_000),
        wall_s=75.0,
        llm={"propose": "playbook"},
    )
    second = SkillNode(
        index=1,
        name="place_table",
        description="Place a table.",
        operator=Operator({}, {"inventory:wood": Linear(0, 1)}, {"near:crafting_table": Linear(0, 1)}),
        max_steps=50,
        max_repeat=1,
        plan=(("collect_wood", 4),),
        evidence=Evidence(512, 512, {}, 0.0, 9.0),
        env_steps=EnvSteps(900),
        wall_s=4000.0,
        llm={"proposer": "gpt-4o-mini", "total": summarize(CALLS[:2])["all"].to_json()},
    )
    start = SkillGraph("Craftax-Classic-Symbolic-v1").with_node(first).with_node(second)
    return start.with_failure(
        Failure(
            "[red]evil\x1b[2J",
            "probe",
            "reward is [bold]constant",
            fix="Let it move.",
            llm={"proposer": "new", "total": summarize(CALLS[2:3])["all"].to_json()},
        )
    )


def call(model: str, usd: float | None, tokens: int | None = 600, **more: object) -> Call:
    """One call, as a run records it."""
    usage = Usage(tokens, tokens if tokens is None else tokens // 6)
    return Call("0", "", "r", "proposer", "skill", "s", "p", model, usage, usd, 1.0, 1, **more)  # type: ignore[arg-type]


CALLS = (
    call("gpt-4o-mini", 0.0015),
    call("gpt-4o-mini", 0.0015),
    call("new", None, None),
    call("gpt-4o-mini", None, None, failed=True),
)
SPENDING = Spending(CALLS)


def rendered(shown: SkillGraph, width: int, spending: Spending = SPENDING) -> str:
    out = io.StringIO()
    render_status(shown, spending, Console(file=out, width=width))
    return out.getvalue()


def test_every_node_and_failure_is_shown() -> None:
    text = rendered(graph(), 160)
    for part in (
        "Craftax-Classic-Symbolic-v1: 2 skills accepted, 1 refused, 1.52M env steps, 1h07m",
        "collect_wood", "gains inventory:wood 1*n", "starts in a fresh world", "0.977", "[0.950, 0.989]",
        "1.52M", "1m15s", "playbook", "place_table", "consumes inventory:wood 1", "plan collect_wood x4",
        "[0.993, 1.000]", "900", "gpt-4o-mini", "probe", "reward is [bold]constant Let it move.",
        "2 calls", "1,200 + 200", "$0.0030",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("width", [60, 80, 200])
def test_lines_fit_and_a_models_words_cannot_drive_the_terminal(width: int) -> None:
    text = rendered(graph(), width)
    assert "\x1b" not in text
    assert "[red]evil?[2J" in text.replace("\n", "") or width < 80
    assert max(map(len, text.splitlines())) <= width
    assert "[0.950, 0.989]" in text


def test_what_all_calls_cost_is_shown_and_unknown_is_not_0() -> None:
    lines = rendered(graph(), 160).splitlines()
    assert lines[-3:] == [
        "Language models: 4 calls (1 failed request), tokens unknown, $0.0030 and 1 call of unknown cost",
        "  gpt-4o-mini: 3 calls (1 failed request), 1,200 + 200 tokens, $0.0030",
        "  new: 1 call, tokens unknown, unknown",
    ]
    refused = next(line for line in lines if "reward is [bold]constant" in line)
    assert refused.split("│")[4].strip() == "unknown"
    free = Spending([call("playbook", 0.0, 0)])
    assert rendered(graph(), 160, free).splitlines()[-1] == "Language models: 1 call, 0 + 0 tokens, free"


def test_calls_that_cannot_be_read_are_named_and_do_not_hide_the_graph(tmp_path: Path) -> None:
    assert read_spending(tmp_path / "llm") == Spending([])
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "000000_skill.json").write_text("{")
    spending = read_spending(tmp_path / "llm")
    text = rendered(graph(), 300, spending)
    assert "collect_wood" in text
    assert "Language models: cost unknown. The recorded call" in text
    assert "000000_skill.json" in text
    assert status_json(graph(), spending)["llm"]["total"] is None
    assert "000000_skill.json" in status_json(graph(), spending)["llm"]["problem"]


def test_an_empty_graph_is_no_error() -> None:
    text = rendered(SkillGraph("W"), 80, Spending())
    assert text == "W: 0 skills accepted, 0 refused, 0 env steps, 0s\n"


def test_json_is_the_summary_with_what_was_spent() -> None:
    shown = status_json(graph(), SPENDING)
    llm = shown.pop("llm")
    assert shown.pop("running") is None
    assert shown == graph().summary()
    assert (llm["total"]["usd"], llm["total"]["usd_known"], llm["total"]["prompt_tokens"]) == (
        None,
        0.003,
        None,
    )
    assert llm["by_model"]["gpt-4o-mini"]["usd"] == 0.003
    assert set(llm) == {"total", "by_model", "by_role", "by_skill", "by_run"}


def test_status_needs_neither_jax_nor_numpy() -> None:
    code = (
        "import sys; import flowrl.report.commands.status; "
        "print([m for m in ('jax', 'numpy', 'filelock', 'craftax', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_practices_are_shown() -> None:
    console = Console(file=io.StringIO(), width=100)
    practised = graph().with_practice(Practice(("collect_wood", "place_table"), 2, 1_200_000, 90.0))
    render_status(practised, Spending(), console)
    assert "Practised together: 2 skills, 1.2M env steps, 1m30s" in console.file.getvalue()  # type: ignore[attr-defined]
    assert status_json(practised, Spending())["practices"] == [
        {"skills": ["collect_wood", "place_table"], "nodes": 2, "env_steps": 1_200_000, "wall_s": 90.0}
    ]
