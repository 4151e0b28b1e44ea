"""``flowrl status``: everything in the graph is shown, whatever a model wrote, and it starts fast."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from flowrl.report.status import render_status, status_json
from flowrl.skills.graph import EnvSteps, Evidence, Failure, SkillGraph, SkillNode
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
        llm={"propose": "gpt-4o-mini", "tokens": 12},
    )
    start = SkillGraph("Craftax-Classic-Symbolic-v1").with_node(first).with_node(second)
    return start.with_failure(
        Failure("[red]evil\x1b[2J", "probe", "reward is [bold]constant", fix="Let it move.")
    )


def rendered(shown: SkillGraph, width: int) -> str:
    out = io.StringIO()
    render_status(shown, Console(file=out, width=width))
    return out.getvalue()


def test_every_node_and_failure_is_shown() -> None:
    text = rendered(graph(), 160)
    for part in (
        "Craftax-Classic-Symbolic-v1: 2 skills accepted, 1 refused, 1.52M env steps, 1h07m",
        "collect_wood", "gains inventory:wood 1*n", "starts in a fresh world", "0.977", "[0.950, 0.989]",
        "1.52M", "1m15s", "playbook", "place_table", "consumes inventory:wood 1", "plan collect_wood x4",
        "[0.993, 1.000]", "900", "gpt-4o-mini", "probe", "reward is [bold]constant Let it move.",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("width", [60, 80, 200])
def test_lines_fit_and_a_models_words_cannot_drive_the_terminal(width: int) -> None:
    text = rendered(graph(), width)
    assert "\x1b" not in text
    assert "[red]evil?[2J" in text.replace("\n", "") or width < 80
    assert max(map(len, text.splitlines())) <= width
    assert "[0.950, 0.989]" in text


def test_an_empty_graph_is_no_error() -> None:
    assert "0 skills accepted, 0 refused, 0 env steps, 0s" in rendered(SkillGraph("W"), 80)


def test_json_is_the_summary() -> None:
    assert status_json(graph()) == graph().summary()


def test_status_needs_neither_jax_nor_numpy() -> None:
    code = (
        "import sys; import flowrl.report.status, flowrl.store.manifest; "
        "print([m for m in ('jax', 'numpy', 'filelock', 'craftax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
