"""Any OpenAI-compatible server, through the ``openai`` client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flowrl.errors import FatalProviderError, ProviderError, TransientProviderError, nearest
from flowrl.llm.interface import CompletionSettings, Message, Reply, Usage
from flowrl.llm.providers.openai_errors import translate
from flowrl.llm.registry import ModelEntry

if TYPE_CHECKING:
    import openai

_REASONING = re.compile(r"^(o\d|gpt-5)")
_NOT_REASONING = re.compile(r"^gpt-5[\d.]*-chat")


def is_reasoning(model: str, entry: ModelEntry) -> bool:
    """Whether a model takes no temperature, and ``max_completion_tokens``."""
    if entry.reasoning is not None:
        return entry.reasoning
    family = model.rpartition("/")[2]
    return bool(_REASONING.match(family)) and not _NOT_REASONING.match(family)


def chat_messages(messages: Sequence[Message], system_role: bool) -> list[dict[str, str]]:
    """Messages in OpenAI's form. Without a system role, system text goes before the first user message."""
    if system_role:
        return [{"role": message.role, "content": message.content} for message in messages]
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    rest = [
        {"role": message.role, "content": message.content} for message in messages if message.role != "system"
    ]
    if system and rest:
        rest[0] = {**rest[0], "content": f"{system}\n\n{rest[0]['content']}"}
    return rest


def sampling_parameters(model: str, entry: ModelEntry, settings: CompletionSettings) -> dict[str, Any]:
    """The parameters that a model's family takes."""
    reasoning = is_reasoning(model, entry)
    parameters: dict[str, Any] = {}
    if settings.max_new_tokens is not None:
        parameters["max_completion_tokens" if reasoning else "max_tokens"] = settings.max_new_tokens
    if settings.temperature is not None and not reasoning:
        parameters["temperature"] = settings.temperature
    return parameters


def read_completion(completion: Any, name: str) -> Reply:
    """The reply in a chat completion, however odd the server.

    Raises:
        TransientProviderError: it is no completion, or it is empty.
        FatalProviderError: the model or its filter refused.
    """
    if isinstance(completion, str):
        what = "a web page" if completion.lstrip().startswith("<") else "plain text"
        raise TransientProviderError(
            f"the server answered with {what}, not JSON. If this goes on, check the base URL."
        )
    choices = getattr(completion, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise TransientProviderError("the server's answer holds no choice.")
    message, reason = choices[0].message, str(choices[0].finish_reason or "stop")
    refusal = getattr(message, "refusal", None)
    if refusal or reason == "content_filter":
        said = f": {' '.join(str(refusal).split())[:200]}" if refusal else "."
        raise FatalProviderError(f"{name}: the model refused to answer{said}")
    text = message.content if isinstance(message.content, str) else ""
    if not text.strip() and reason != "length":
        raise TransientProviderError("the answer is empty.")
    usage = getattr(completion, "usage", None)
    return Reply(
        text=text,
        usage=Usage(getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)),
        model=str(getattr(completion, "model", None) or name),
        finish_reason=reason,
        latency_s=0.0,
    )


class OpenAiModel:
    """One model of one OpenAI-compatible server.

    Args:
        name: as the user typed it.
        model: its id at the server.
        entry: its registry entry.
        key: its key; some word where the server needs none.
        base_url: the endpoint; None for OpenAI's own.
        key_variable: where the key was found, for messages.
        known: names to offer when the server does not know the model.
    """

    def __init__(
        self,
        name: str,
        model: str,
        entry: ModelEntry,
        key: str | None,
        base_url: str | None = None,
        key_variable: str | None = None,
        known: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._model = model
        self._entry = entry
        self._key = key
        self._base_url = base_url
        self._key_variable = key_variable
        self._known = known
        self._client: openai.AsyncOpenAI | None = None

    async def start(self) -> None:
        """Opens the client; sends nothing."""
        if self._client is None:
            self._client = self._open()

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """One attempt."""
        await self.start()
        assert self._client is not None
        try:
            completion = await self._client.chat.completions.create(
                model=self._model,
                messages=chat_messages(messages, self._entry.system_role),  # type: ignore[arg-type]
                timeout=settings.timeout_s,
                **sampling_parameters(self._model, self._entry, settings),
            )
            return read_completion(completion, self.name)
        except ProviderError:
            raise
        except Exception as error:
            # Without its cause: the client's errors hold requests, and those hold the key.
            raise translate(error, self.name, self._key_variable, self._advice) from None

    async def close(self) -> None:
        """Closes the client's connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> openai.AsyncOpenAI:
        import openai

        host = urlsplit(self._base_url or "").hostname
        # A proxy for the outside world must not be asked for this machine's own servers.
        local = host in ("localhost", "127.0.0.1", "::1")
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False) if local else None
        return openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=self._base_url, max_retries=0, http_client=http_client
        )

    def _advice(self) -> str:
        where = f" The server is {_without_credentials(self._base_url)}." if self._base_url else ""
        return nearest(self.name, self._known) + where


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
