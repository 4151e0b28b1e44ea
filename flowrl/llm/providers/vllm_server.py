"""vLLM: a server that runs already, or one that flowrl starts with ``vllm serve`` and ends again."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from flowrl.errors import FatalProviderError
from flowrl.llm.environment import child_environment, read_key, read_variable
from flowrl.llm.interface import CompletionSettings, LanguageModel, Message, Reply
from flowrl.llm.providers import guard
from flowrl.llm.providers.openai_api import OpenAiModel
from flowrl.llm.registry import Engine, ModelEntry

_GRACE_S = 10.0
_POLL_S = 0.25


def build_vllm(name: str, model: str, entry: ModelEntry, log_folder: Path | None) -> LanguageModel:
    """The model ``vllm_<name>``: by ``base_url``, or from the engine in its registry entry.

    Raises:
        FatalProviderError: there is neither, a path is missing, or vLLM is not installed.
    """
    base_url = entry.base_url or (None if entry.engine else read_variable("VLLM_BASE_URL"))
    if base_url is not None:
        variable = entry.key_env or "VLLM_API_KEY"
        key = read_key(variable)
        if key is None and entry.key_env:
            raise FatalProviderError(f"{entry.key_env} is not set, and the model {name!r} needs it.")
        return OpenAiModel(name, model, entry, key or "none", base_url, variable, (model,))
    if entry.engine is None:
        raise FatalProviderError(
            f"{name}: there is no server to ask. Set VLLM_BASE_URL, or give {name!r} a base_url (a server "
            "that runs) or an engine with a model_path (flowrl starts one) in your --models_file."
        )
    for field, value in (
        ("model_path", entry.engine.model_path),
        ("tokenizer_path", entry.engine.tokenizer_path),
    ):
        if value is not None and not Path(value).exists():
            raise FatalProviderError(f"{name}: the engine's {field} {value!r} does not exist.")
    executable = shutil.which("vllm")
    if executable is None:
        raise FatalProviderError(f"{name} needs the command vllm: pip install 'flowrl[vllm]'.")
    return VllmModel(name, model, entry, entry.engine, executable, log_folder)


def serve_command(executable: str, model: str, engine: Engine, port: int) -> list[str]:
    """The command line of ``vllm serve`` for an engine."""
    command = [executable, "serve", engine.model_path, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--served-model-name", model]
    if engine.tokenizer_path is not None:
        command += ["--tokenizer", engine.tokenizer_path]
    for key, value in engine.arguments.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            command += [f"--{flag}", *(str(item) for item in value)]
        elif isinstance(value, dict):
            command += [f"--{flag}", json.dumps(value)]
        else:
            command += [f"--{flag}", str(value)]
    return command


class VllmModel:
    """A server that flowrl starts at the first use and ends with the session, or when flowrl is killed.

    Args:
        name: as the user typed it.
        model: the name under which the server serves it.
        entry: its registry entry.
        engine: how to start it.
        executable: the command ``vllm``.
        log_folder: where its log goes; a temporary folder when not given.
    """

    def __init__(
        self,
        name: str,
        model: str,
        entry: ModelEntry,
        engine: Engine,
        executable: str,
        log_folder: Path | None,
    ) -> None:
        self.name = name
        self._model = model
        self._entry = entry
        self._engine = engine
        self._executable = executable
        self._log_folder = log_folder
        self._starting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._api: OpenAiModel | None = None
        self.log_path: Path | None = None

    async def start(self) -> None:
        """Starts the server and waits until it is healthy; harmless when it is.

        Raises:
            FatalProviderError: it ended, or was not healthy in time; shows the end of its log.
        """
        async with self._starting:
            if self._api is not None:
                return
            port = _free_port()
            self._process = self._launch(serve_command(self._executable, self._model, self._engine, port))
            try:
                await self._wait_until_healthy(port)
            except BaseException:
                await self.close()
                raise
            url = f"http://127.0.0.1:{port}/v1"
            self._api = OpenAiModel(self.name, self._model, self._entry, "none", url, None, (self._model,))

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """One attempt."""
        await self.start()
        if self._api is None or self._process is None or self._process.poll() is not None:
            raise FatalProviderError(f"{self.name}: the vLLM server has ended. {self._log_end()}")
        return await self._api.complete(messages, settings)

    async def close(self) -> None:
        """Ends the server and all that it started."""
        if self._api is not None:
            await self._api.close()
            self._api = None
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        deadline = asyncio.get_running_loop().time() + _GRACE_S + 5.0
        while process.poll() is None and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        if process.poll() is None:
            process.kill()
            process.wait()

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        folder = self._log_folder or Path(tempfile.mkdtemp(prefix="flowrl-vllm-"))
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"vllm_{self._model.replace('/', '_')}.log"
        log: IO[bytes]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", str(Path(guard.__file__)), str(_GRACE_S), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                start_new_session=True,
            )

    async def _wait_until_healthy(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._engine.start_timeout
        while loop.time() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise FatalProviderError(
                    f"{self.name}: the vLLM server ended while it started. {self._log_end()}"
                )
            if await asyncio.to_thread(_healthy, port):
                return
            await asyncio.sleep(_POLL_S)
        raise FatalProviderError(
            f"{self.name}: the vLLM server was not healthy within {self._engine.start_timeout:g} s "
            f"(start_timeout). {self._log_end()}"
        )

    def _log_end(self) -> str:
        if self.log_path is None or not self.log_path.is_file():
            return ""
        lines = [
            line.strip() for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()
        ]
        last = f" It ends with: {lines[-1][:300]}" if lines else ""
        return f"Its log is {str(self.log_path)!r}.{last}"


def _healthy(port: int) -> bool:
    # Not through a proxy: this is always this machine.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: Any = probe.getsockname()[1]
        return int(port)
