"""vLLM: by URL, and started by flowrl, with a stand-in for the command ``vllm``. Nothing is left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loopback import KEY, WORLD, LoopbackServer

from flowrl.errors import FatalProviderError, UserError
from flowrl.llm.config import LlmConfig
from flowrl.llm.context import ProposalContext
from flowrl.llm.interface import CompletionSettings, Message
from flowrl.llm.proposer import open_proposer
from flowrl.llm.providers import vllm_server
from flowrl.llm.registry import Engine
from flowrl.llm.resolve import Resolved, resolve

HELLO = [Message("user", "hello")]


def lives(pid: int) -> bool:
    """Whether a process runs (and is no zombie)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def all_end(pids: list[int], within_s: float) -> bool:
    """Whether all of the processes end in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(lives(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


class Stand:
    """A machine with a command ``vllm`` and models in a registry."""

    def __init__(self, folder: Path) -> None:
        self.notes_path = folder / "notes.json"
        self.model_path = folder / "weights"
        self.model_path.mkdir()
        self.models_file = folder / "models.yaml"
        self.log_folder = folder / "logs"
        command = folder / "bin" / "vllm"
        command.parent.mkdir()
        command.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("vllm_double.py")}" "$@"\n'
        )
        command.chmod(0o755)
        self.path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"

    def register(self, name: str, **engine: Any) -> None:
        """An entry for ``vllm_<name>``."""
        entry = {"engine": {"model_path": str(self.model_path), **engine}}
        self.models_file.write_text(json.dumps({"models": {f"vllm_{name}": entry}}))

    def resolve(self, name: str) -> Resolved:
        """``vllm_<name>``, ready."""
        config = LlmConfig(models_file=str(self.models_file), timeout=10.0)
        return resolve(f"vllm_{name}", config, log_folder=self.log_folder)

    @property
    def notes(self) -> dict[str, Any]:
        """What the stand-in wrote."""
        notes: dict[str, Any] = json.loads(self.notes_path.read_text())
        return notes


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A machine with the stand-in on the path, and a key in the environment."""
    machine = Stand(tmp_path)
    monkeypatch.setenv("PATH", machine.path)
    monkeypatch.setenv("DOUBLE_NOTES", str(machine.notes_path))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return machine


def test_by_url(server: LoopbackServer, context: ProposalContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("VLLM_BASE_URL", server.url)
    with open_proposer(LlmConfig(llm_name="vllm_Qwen2-7B-Instruct"), WORLD) as proposer:
        assert proposer.propose(context).roles["coder"] == "vllm_Qwen2-7B-Instruct"
        assert proposer.ledger.total().cost == "unknown"
    assert {request.model for request in server.requests} == {"Qwen2-7B-Instruct"}
    assert not any(KEY in request.authorization for request in server.requests)


def test_started_and_ended(stand: Stand) -> None:
    stand.register(
        "tiny",
        tokenizer_path=str(stand.model_path),
        tensor_parallel_size=2,
        pipeline_parallel_size=1,
        data_parallel_size=1,
        gpu_memory_utilization=0.5,
        enable_prefix_caching=False,
        hf_overrides={"a": 1},
    )
    resolved = stand.resolve("tiny")
    assert not stand.notes_path.exists()

    async def ask() -> list[str]:
        # Two at once start one server.
        asked = [resolved.client.complete(HELLO, CompletionSettings(), []) for _ in range(2)]
        replies = await asyncio.gather(*asked)
        assert all(lives(pid) for pid in stand.notes["pids"])
        await resolved.client.close()
        return [reply.text for reply in replies]

    assert asyncio.run(ask()) == ["ready", "ready"]
    assert all_end(stand.notes["pids"], 2.0)
    arguments = stand.notes["arguments"]
    assert arguments["model_path"] == arguments["tokenizer"] == str(stand.model_path)
    assert (arguments["tensor_parallel_size"], arguments["gpu_memory_utilization"]) == (2, 0.5)
    assert arguments["enable_prefix_caching"] is False
    assert arguments["hf_overrides"] == {"a": 1}
    assert arguments["host"] == "127.0.0.1"
    assert stand.notes["keys"] == []
    assert (stand.log_folder / "vllm_tiny.log").is_file()


def test_a_server_that_ends_shows_its_last_words(stand: Stand) -> None:
    stand.register("broken")
    resolved = stand.resolve("broken")
    with pytest.raises(FatalProviderError, match=r"vllm_broken\.log'.* no GPU was found"):
        asyncio.run(resolved.client.complete(HELLO, CompletionSettings(), []))


def test_a_server_that_never_gets_healthy_is_ended(stand: Stand) -> None:
    stand.register("slow", start_timeout=2.0)
    resolved = stand.resolve("slow")
    with pytest.raises(FatalProviderError, match=r"not healthy within 2 s \(start_timeout\)"):
        asyncio.run(resolved.client.complete(HELLO, CompletionSettings(), []))
    assert all_end(stand.notes["pids"], 2.0)


def test_a_server_that_dies_in_use_is_fatal(stand: Stand) -> None:
    stand.register("tiny")
    resolved = stand.resolve("tiny")

    async def ask() -> None:
        await resolved.client.complete(HELLO, CompletionSettings(), [])
        os.kill(stand.notes["pids"][0], signal.SIGKILL)
        await asyncio.sleep(1.0)
        try:
            with pytest.raises(FatalProviderError, match="the vLLM server has ended"):
                await resolved.client.complete(HELLO, CompletionSettings(), [])
        finally:
            await resolved.client.close()

    asyncio.run(ask())
    assert all_end(stand.notes["pids"], 2.0)


def test_a_server_deaf_to_signals_is_ended_too(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "_GRACE_S", 0.5)
    stand.register("deaf")
    resolved = stand.resolve("deaf")

    async def ask() -> None:
        await resolved.client.complete(HELLO, CompletionSettings(), [])
        await resolved.client.close()

    asyncio.run(ask())
    assert all_end(stand.notes["pids"], 2.0)


PARENT = """
import asyncio, sys, time
from pathlib import Path
from flowrl.llm.config import LlmConfig
from flowrl.llm.interface import CompletionSettings, Message
from flowrl.llm.resolve import resolve
resolved = resolve("vllm_tiny", LlmConfig(models_file=sys.argv[1]), log_folder=Path(sys.argv[2]))
asyncio.run(resolved.client.complete([Message("user", "hello")], CompletionSettings(), []))
print("up", flush=True)
time.sleep(600)
"""


def test_a_killed_parent_leaves_no_orphan(stand: Stand) -> None:
    stand.register("tiny")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(stand.models_file), str(stand.log_folder)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PATH": stand.path},
    )
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == b"up\n"
        assert all(lives(pid) for pid in stand.notes["pids"])
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert all_end(stand.notes["pids"], 5.0)


def test_what_is_missing_is_said_before_anything_starts(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FatalProviderError, match="Set VLLM_BASE_URL, or give 'vllm_other'"):
        resolve("vllm_other", LlmConfig())
    stand.register("tiny", tokenizer_path="/no/such/tokenizer")
    with pytest.raises(FatalProviderError, match="tokenizer_path '/no/such/tokenizer' does not exist"):
        stand.resolve("tiny")
    stand.register("tiny", tensor_parallel=2)
    with pytest.raises(UserError, match=r"'tensor_parallel' is no engine argument.*tensor_parallel_size"):
        stand.resolve("tiny")
    stand.register("tiny")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FatalProviderError, match=r"pip install 'flowrl\[vllm\]'"):
        stand.resolve("tiny")


def test_the_command_line() -> None:
    engine = Engine.model_validate({"model_path": "/m", "dtype": "auto", "logits-processors": ["a", "b"]})
    assert vllm_server.serve_command("vllm", "m", engine, 8000) == [
        "vllm", "serve", "/m", "--host", "127.0.0.1", "--port", "8000", "--served-model-name", "m",
        "--dtype", "auto", "--logits-processors", "a", "b",
    ]  # fmt: skip
