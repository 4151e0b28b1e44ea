"""docs/language-models.md: its commands parse, its models file loads, its tables name what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from flowrl import cli
from flowrl.llm.interface import ROLES
from flowrl.llm.prompts import load_prompt
from flowrl.llm.registry import Engine, ModelEntry, load_registry
from flowrl.report.commands.bench import LlmFlags
from flowrl.report.commands.flags import parse_flags

PAGE = (Path(__file__).parents[2] / "docs" / "language-models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, body in BLOCKS if not language for line in body.splitlines()]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "bottomup" in c])
def test_runs_parse(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "flowrl.bottomup"]
    assert cli.main(["bottomup", *words[3:], "--dry_run"]) == 0
    assert capsys.readouterr().err == ""


def test_other_commands_parse() -> None:
    rest = [shlex.split(command)[1:] for command in COMMANDS if command.startswith("flowrl ")]
    assert [words[:2] for words in rest] == [
        ["models", "list"],
        ["models", "check"],
        ["status", "--graph-path"],
        ["bench", "llm"],
    ]
    assert parse_flags(LlmFlags, rest[-1][2:], "flowrl bench llm").llm_name == ("playbook", "gpt-4o-mini")
    assert len(rest) + sum("bottomup" in command for command in COMMANDS) == len(COMMANDS)


def test_the_models_file_loads(tmp_path: Path) -> None:
    [text] = [body for language, body in BLOCKS if language == "yaml"]
    path = tmp_path / "models.yaml"
    path.write_text(text)
    registry = load_registry(str(path))
    assert registry.entry("my-server-model").max_requests_per_minute == 60
    engine = registry.entry("vllm_Qwen2-7B-Instruct").engine
    assert engine is not None
    assert engine.arguments == {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.9}


def test_every_field_role_and_prompt_is_explained() -> None:
    for name in [*ModelEntry.model_fields, *(set(Engine.model_fields) - {"arguments"}), *ROLES]:
        assert f"`{name}`" in PAGE, name
    for prompt in set(re.findall(r"`(\w+)\.md`", PAGE)):
        assert load_prompt(prompt)
