"""The command line: what parses, what is refused in one line, what it costs to ask for help."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from flowrl import cli
from flowrl.errors import ProposalRefused, RunStopped, UserError
from flowrl.pipeline.practice_left import ALL_OF_IT
from flowrl.report.commands.flags import format_count, parse_count
from flowrl.store.graph_store import GraphStore

HEAVY = ("jax", "craftax", "openai", "agentkit", "wandb", "flax", "torch", "ray")


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """``(exit code, stdout, stderr)`` of the command in this process."""
    code = cli.main(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, Any]]:
    """Replaces the pipeline; collects the ``(run, llm, parallel)`` that it was called with."""
    calls: list[tuple[Any, Any, Any]] = []

    def run_bottomup(config: Any, llm: Any, listeners: list[Any], parallel: Any) -> int:
        assert listeners
        calls.append((config, llm, parallel))
        return 0

    module = types.ModuleType("flowrl.pipeline.run")
    module.run_bottomup = run_bottomup  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flowrl.pipeline.run", module)
    return calls


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("bottomup --env_name Craftax-Symbolic-v1", {"env_name": "Craftax-Symbolic-v1", "use_wandb": True}),
        ("bottomup --env_name Craftax-Symbolic-v1 --llm_name gpt-4o-mini", {"llm_name": "gpt-4o-mini"}),
        (
            "bottomup --max_nodes 20 --total_timesteps 2e8 --use_wandb",
            {"max_nodes": 20, "total_timesteps": 200_000_000, "use_wandb": True},
        ),
        (
            "bottomup --llm_name gpt-4o-mini --max_nodes 3 --graph-path exp/test_run/",
            {"graph_path": Path("exp/test_run"), "max_nodes": 3},
        ),
        (
            "bottomup --llm_name gpt-5 --max_nodes 10 --graph_path exp/test_run/ --current_i 3",
            {"graph_path": Path("exp/test_run"), "current_i": 3},
        ),
        (
            "bottomup-parallel --llm_name gpt-4o-mini --max_nodes 3 --max_parallel_skills 2 "
            "--total_timesteps 5e7 --no-use_wandb",
            {"max_parallel_skills": 2, "total_timesteps": 50_000_000, "use_wandb": False},
        ),
        ("bottomup_parallel", {"max_parallel_skills": 4, "executor": "slots"}),
        (
            "bottomup-parallel --executor ray --ray_address auto --max_parallel_skills 8 "
            "--slots_per_worker 2 --worker_gpus 0.5 --worker_cpus 3 --max_retries 0",
            {
                "executor": "ray",
                "ray_address": "auto",
                "slots_per_worker": 2,
                "worker_gpus": 0.5,
                "worker_cpus": 3,
                "max_retries": 0,
            },
        ),
        ("bottomup", {"max_parallel_skills": 1, "llm_name": "gpt-5", "current_i": None, "num_envs": None}),
        ("bottomup --num-envs=64 --no-use-wandb", {"num_envs": 64, "use_wandb": False}),
        ("bottomup --total_timesteps 200_000 --lr 1e-3", {"total_timesteps": 200_000, "lr": 1e-3}),
        ("bottomup --llm_role coder=a --llm-role proposer=b", {"llm_role": ("coder=a", "proposer=b")}),
        (
            "bottomup --llm_fallback a b --llm_fallback=c --seed 1",
            {"llm_fallback": ("a", "b", "c"), "seed": 1},
        ),
    ],
)
def test_what_users_type_parses(
    ran: list[Any], args: str, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowrl.config import flags_of

    monkeypatch.chdir(tmp_path)
    assert cli.main(args.split()) == 0
    [(config, llm, parallel)] = ran
    flags = {**dict(flags_of(config)), **dict(flags_of(llm)), **dict(flags_of(parallel))}
    assert {name: flags[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("bottomup --total_timesteps abc", "--total_timesteps: 'abc' is not a whole number"),
        ("bottomup --total_timesteps -5", "--total_timesteps -5: expected a whole number of at least 1"),
        ("bottomup --total_timesteps 0", "--total_timesteps 0"),
        ("bottomup --total_timesteps 1.5", "--total_timesteps: '1.5' is not a whole number"),
        ("bottomup --total_timesteps 1e999999999", "is too large"),
        ("bottomup --total_timesteps nan", "'nan' is not a whole number"),
        ("bottomup --num_envs many", "--num_envs: 'many' is not a whole number"),
        ("bottomup --lr fast", "--lr: 'fast' is not a number"),
        ("bottomup --lr nan", "--lr nan"),
        ("bottomup --env_name Craftax-Symbolic-v2", "Did you mean 'Craftax-Symbolic-v1'?"),
        ("bottomup --totl_timesteps 3", "Did you mean '--total_timesteps'?"),
        ("bottomup --num_envs", "Missing value for argument '--num_envs'"),
        ("bottomup --use_wandb maybe", "Unrecognized options: maybe"),
        ("bottomup --num_envs 6 --num_steps 10", "Use --num_minibatches 6"),
        ("bottomup --max_llm_usd -1", "--max_llm_usd -1"),
        ("bottomup --max_llm_calls 0", "Use --max_llm_calls 1"),
        ("bottomup --max_repairs -1", "Use --max_repairs 0"),
        ("bottomup --max_requests_per_minute 0", "Use --max_requests_per_minute 1"),
        ("bottomup --max_concurrency 0", "Use --max_concurrency 1"),
        ("bottomup --timeout 0", "--timeout 0: expected a number above 0"),
        ("bottomup --temperature 3", "Use --temperature 2"),
        ("bottomup --max_new_tokens 0", "Use --max_new_tokens 1"),
        ("bottomup-parallel --max_parallel_skills 0", "Use --max_parallel_skills 1"),
        ("bottomup --max_parallel_skills 2", "--max_parallel_skills"),
        ("bottomup-parallel --max_parallel_skills 300", "Use --max_parallel_skills 256, or --executor ray"),
        ("bottomup-parallel --executor rya", "Did you mean 'ray'?"),
        ("bottomup-parallel --ray_address auto", "Use --executor ray, or leave --ray_address out"),
        ("bottomup-parallel --max_retries 1", "Use --executor ray, or leave --max_retries out"),
        ("bottomup-parallel --executor ray --ray_address head", "Use --ray_address head:6379"),
        ("bottomup-parallel --executor ray --ray_address ray://head:10001", "Use --ray_address head:6379"),
        ("bottomup-parallel --executor ray --ray_address head:99999", "Use --ray_address head:6379"),
        ("bottomup-parallel --executor ray --ray_address local", "Leave it out"),
        ("bottomup-parallel --executor ray --slots_per_worker 9", "Use --slots_per_worker 4"),
        ("bottomup-parallel --executor ray --worker_gpus 2", "Use --worker_gpus 1"),
        ("bottomup-parallel --executor ray --worker_cpus 0", "Use --worker_cpus 1"),
        ("bottomup-parallel --executor ray --max_retries -1", "Use --max_retries 0"),
        ("bench throughput --num_envs 0", "Use --num_envs 1"),
        ("bench startup --env_name Minecraft", "--env_name 'Minecraft'"),
        ("check-skill", "Missing"),
        ("check-skill nowhere.md", "'nowhere.md' does not exist"),
        ("check-skill .", "is a folder"),
        ("botomup", "Did you mean 'bottomup'?"),
        ("bench", "startup, throughput, llm"),
        ("bench llm --env_name Minecraft", "--env_name 'Minecraft'"),
        ("bench llm --samples 0", "Use --samples 1"),
        ("bench llm --max_llm_usd -1", "--max_llm_usd -1"),
        ("bench llm --models_file nowhere.yaml", "'nowhere.yaml' cannot be read"),
        ("bench sped", "there is no command 'bench sped'"),
        ("status --graph-path nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, args: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def commands() -> list[str]:
    return list(cli.COMMANDS)


@pytest.mark.parametrize("command", commands())
def test_help_explains_every_flag_with_its_default(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = run(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert f"usage: flowrl {command}" in out
    options = re.sub(r"(-{3,}|[│╭╰╮╯─\s])+", " ", out.split("-h, --help", 1)[1])
    # A flag with a value, or a pair of flags; then its words; then what it is when left out.
    chunks = re.split(r"(?<!, )(?=--[a-z_]+(?: [A-Z\[{]|, --no_))", options)[1:]
    assert chunks
    for chunk in chunks:
        flag, words = chunk.split(maxsplit=1)
        assert re.search(r"\((default:.*|required)\)", chunk), flag
        assert len(words) > 30, flag


@pytest.mark.parametrize(
    "module",
    ["-m flowrl", "-m flowrl.bottomup", "-m flowrl.bottomup_parallel", "-m flowrl status", "-m flowrl plan"],
)
def test_help_is_quick_because_nothing_heavy_is_imported(module: str) -> None:
    code = (
        "import runpy, sys\n"
        "argv = sys.argv[1:]\n"
        "sys.argv = argv[1:] + ['--help']\n"
        "try:\n"
        "    runpy.run_module(argv[1], run_name='__main__', alter_sys=False)\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *module.split()], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip().endswith("HEAVY []")


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in cli.COMMANDS)
    assert run(capsys, "bench", "--help")[0] == 0
    assert run(capsys)[0] == 2


@pytest.mark.parametrize("env_name", ["Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1"])
def test_world_prints_all_that_a_skill_may_be_made_of(
    capsys: pytest.CaptureFixture[str], env_name: str
) -> None:
    code, out, _ = run(capsys, "world", "--env_name", env_name, "--json")
    data = json.loads(out)
    assert code == 0
    facts = {fact["name"]: fact for fact in data["facts"]}
    assert (facts["inventory:wood"]["kind"], facts["achievement:place_table"]["capacity"]) == ("count", None)
    assert data["enums"]["BlockType"]["GRASS"] == 2
    code, out, _ = run(capsys, "world", "--env_name", env_name)
    assert code == 0
    assert all(f"| `{name}` |" in out for name in facts)
    assert all(f"| `{field['path']}` |" in out for field in data["fields"])
    assert "BlockType" in out
    assert "$db" not in out
    code, _, err = run(capsys, "world", "--env_name", "Craftax-Clasic")
    assert (code, "Did you mean" in err) == (2, True)


def test_dry_run_prints_what_was_resolved_and_touches_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "flowrl.pipeline.run", None)
    code, out, err = run(
        capsys, "bottomup", "--dry_run", "--total_timesteps", "5e7", "--llm_name", "playbook"
    )
    assert (code, err) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert shown["total_timesteps"] == "5e7"
    assert shown["llm_name"] == "playbook"
    assert shown["num_envs"] == "unset"
    assert list(tmp_path.iterdir()) == []


TYPED = [
    "bottomup --env_name Craftax-Symbolic-v1",
    "bottomup --env_name Craftax-Symbolic-v1 --llm_name gpt-4o-mini",
    "bottomup --max_nodes 20 --total_timesteps 2e8 --use_wandb",
    "bottomup --llm_name gpt-4o-mini --max_nodes 3 --graph-path exp/test_run/",
    "bottomup --llm_name gpt-5 --max_nodes 10 --graph-path exp/test_run/ --current_i 3",
    "bottomup-parallel --llm_name gpt-4o-mini --max_nodes 3 --max_parallel_skills 2 --total_timesteps 5e7 "
    "--no-use_wandb",
    "bottomup --env_name Craftax-Classic-Symbolic-v1 --llm_name gpt-4o-mini --max_nodes 2 --no-use_wandb",
]
"""What the documentation tells people to type, as it stands there."""

NEEDS_A_KEY = [
    *[(command, "OPENAI_API_KEY (or OPENAI_KEY)") for command in TYPED],
    *[(f"bottomup --llm_name {name}", "OPENAI_API_KEY") for name in ("gpt-4o", "gpt-4-turbo", "o1-mini")],
    ("bottomup --llm_name o1-preview --llm_role coder=playbook", "OPENAI_API_KEY"),
    ("bottomup --llm_name litellm_groq/llama3-8b-8192", "GROQ_API_KEY"),
    ("bottomup --llm_name litellm_gpt-4-turbo", "OPENAI_API_KEY"),
    ("bottomup --llm_name openrouter_openai/gpt-4o-mini", "OPENROUTER_API_KEY (or OPEN_ROUTER_API_KEY"),
    ("bottomup --llm_name playbook --llm_role coder=gpt-5", "OPENAI_API_KEY"),
    ("bottomup-parallel --llm_name playbook --llm_fallback openrouter_x/y", "OPENROUTER_API_KEY"),
]


@pytest.mark.parametrize("command", [*TYPED, *(command for command, _ in NEEDS_A_KEY[len(TYPED) :])])
def test_what_is_documented_parses_without_a_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *command.split(), "--dry_run")
    assert (code, err) == (0, "")
    assert "llm_name" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "variable"), NEEDS_A_KEY)
def test_without_a_key_it_is_one_line_that_says_which_and_what_needs_none(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    variable: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *command.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {variable}")
    assert "is not set" in err
    assert "--llm_name playbook needs none" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def command_that(monkeypatch: pytest.MonkeyPatch, raises: BaseException) -> None:
    def body(_args: Any, _prog: str) -> int:
        raise raises

    command = types.SimpleNamespace(load=lambda: body, summary="")
    monkeypatch.setitem(cli.COMMANDS, "bottomup", command)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("bad\nflag"), 2, "error: bad flag\n"),
        (RunStopped("five failures in a row"), 3, "error: five failures in a row\n"),
        (ProposalRefused("static", "no imports"), 1, "error: [static] no imports\n"),
        (KeyboardInterrupt(), 130, "interrupted. The same command goes on from the last accepted skill.\n"),
        (
            OSError(28, "No space left on device", "exp/graph.json"),
            2,
            "error: No space left on device: exp/graph.json.\n",
        ),
    ],
)
def test_errors_become_a_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    said: str,
) -> None:
    command_that(monkeypatch, raised)
    assert run(capsys, "bottomup") == (code, "", said)


def test_sigterm_ends_a_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_args: Any, _prog: str) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return 0

    command = types.SimpleNamespace(load=lambda: body, summary="")
    monkeypatch.setitem(cli.COMMANDS, "bottomup", command)
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = run(capsys, "bottomup")
    assert (code, err.startswith("interrupted.")) == (130, True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["bottomup"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5000", 5000),
        ("5e7", 50_000_000),
        ("2E8", 200_000_000),
        ("200_000", 200_000),
        ("2.5e6", 2_500_000),
        ("1.0", 1),
        ("-3", -3),
        ("+7", 7),
        ("123456789123456789", 123456789123456789),
    ],
)
def test_counts_are_read_as_people_write_them(text: str, value: int) -> None:
    assert parse_count(text) == value
    assert parse_count(format_count(value)) == value


@pytest.mark.parametrize("text", ["", "abc", "1.5", "1e-3", "inf", "nan", "0x10", "5 000", "1e400", "2,000"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|too large"):
        parse_count(text)


def test_json_shape_of_check_skill(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reply = tmp_path / "reply.md"
    reply.write_text("hello")
    verdict = {"accepted": False, "stage": "parse", "reason": "no fenced block.", "fix": "Write one."}
    module = types.ModuleType("flowrl.pipeline.check_skill")
    module.check_skill_file = lambda _path, _env_name: verdict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flowrl.pipeline.check_skill", module)
    code, out, _ = run(capsys, "check-skill", str(reply), "--json")
    assert (code, json.loads(out)) == (1, verdict)
    code, out, _ = run(capsys, "check-skill", str(reply))
    assert (code, out) == (1, "refused [parse] no fenced block. Write one.\n")


OPERATORS = {
    "capacity": 9,
    "skills": {
        "collect_wood": {"gains": {"inventory:wood": "1*n"}},
        "place_table": {"consumes": {"inventory:wood": 1}, "gains": {"near:crafting_table": 1}},
        "collect_iron": {"requires": {"inventory:stone_pickaxe": 1}, "gains": {"inventory:iron": 1}},
    },
}


@pytest.mark.parametrize(
    ("target", "code", "expected"),
    [
        ("place_table", 0, {"plan": [["collect_wood", 1], ["place_table", 1]], "proved": True}),
        ("near:crafting_table", 0, {"plan": [["collect_wood", 1], ["place_table", 1]], "proved": True}),
        ("inventory:wood=5 --have inventory:wood=2", 0, {"plan": [["collect_wood", 3]], "proved": True}),
        ("collect_wood=3", 0, {"plan": [["collect_wood", 3]], "proved": True}),
    ],
)
def test_plan_prints_a_proved_plan(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, target: str, code: int, expected: dict[str, Any]
) -> None:
    file = tmp_path / "operators.json"
    file.write_text(json.dumps(OPERATORS))
    got, out, _ = run(capsys, "plan", "--operators", str(file), "--json", "--target", *target.split())
    assert (got, json.loads(out)) == (code, expected)


def test_an_impossible_plan_names_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "operators.json"
    file.write_text(json.dumps(OPERATORS))
    args = ("plan", "--operators", str(file), "--target", "inventory:iron")
    code, out, _ = run(capsys, *args, "--json")
    assert code == 1
    assert json.loads(out)["impossible"]["missing"] == "inventory:stone_pickaxe"
    code, out, err = run(capsys, *args)
    assert (code, out) == (1, "")
    assert "inventory:stone_pickaxe" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--target inventory:wod", "Did you mean 'inventory:wood'?"),
        ("--target collect_wood=many", "'many' is not a whole number"),
        ("--target collect_wood --have inventory:wood", "expected FACT=COUNT"),
        ("--target collect_wood --have inventory:wod=1", "Did you mean 'inventory:wood'?"),
        ("--target collect_wood --have inventory:wood=-1", "at least 0"),
        ("--target collect_wood --have wood=1", "Did you mean 'inventory:wood'?"),
        ("--target wood", "Did you mean 'inventory:wood'?"),
        (
            "--target collect_wood --have inventory:wood=1 --have inventory:wood=2",
            "twice, as 1 and 2. Keep one.",
        ),
        ("--target collect_wood=-1", "at least 1. Use 1."),
        ("--target collect_wood=0", "at least 1. Use 1."),
        ("--target collect_wood --graph_path exp/x", "Give one of --operators"),
        ("", "--target"),
    ],
)
def test_bad_flags_of_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path, args: str, said: str) -> None:
    file = tmp_path / "operators.json"
    file.write_text(json.dumps(OPERATORS))
    code, _, err = run(capsys, "plan", "--operators", str(file), *args.split())
    assert code == 2
    assert err.count("\n") == 1
    assert said in err


def test_practice_is_told_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its own defaults: a budget for all skills together, and a learning rate that falls."""
    told: list[tuple[Any, ...]] = []
    module = types.ModuleType("flowrl.pipeline.practice")
    module.practise = lambda *args: told.append(args)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flowrl.pipeline.practice", module)
    with GraphStore.open(tmp_path, "Craftax-Classic-Symbolic-v1"):
        pass
    graph = ("--graph-path", str(tmp_path))
    assert run(capsys, "practice", *graph, "--success_state_rate", "0.2")[0] == 0
    path, ppo, seed, wanted, episodes, _, left = told[0]
    assert (path, seed, wanted, episodes, left) == (tmp_path, 0, 0.2, 256, ALL_OF_IT)
    assert (ppo.total_timesteps, ppo.anneal_lr) == (10_000_000, True)
    assert run(capsys, "practice", *graph, "--total_timesteps", "2e7")[0] == 0
    assert told[1][1].total_timesteps == 20_000_000
    code, _, err = run(capsys, "practice", "--success_state_rate", "1.5")
    assert code == 2
    assert "--success_state_rate 1.5" in err
