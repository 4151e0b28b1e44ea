"""Any provider that litellm knows (extra ``litellm``)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from flowrl.errors import FatalProviderError, ProviderError
from flowrl.llm.interface import CompletionSettings, Message, Reply
from flowrl.llm.providers.openai_api import chat_messages, read_completion, sampling_parameters
from flowrl.llm.providers.openai_errors import translate
from flowrl.llm.registry import ModelEntry, Price


class LitellmModel:
    """One model through litellm.

    Args:
        name: as the user typed it.
        model: ``<provider>/<model>`` or a bare name, as litellm takes it.
        entry: its registry entry.
        key: its key; None where litellm is to find what it needs by itself.
        key_variable: where the key was found, for messages.

    Raises:
        FatalProviderError: litellm is not installed.
    """

    def __init__(
        self, name: str, model: str, entry: ModelEntry, key: str | None, key_variable: str | None = None
    ) -> None:
        if importlib.util.find_spec("litellm") is None:
            raise FatalProviderError(f"{name} needs litellm: pip install 'flowrl[litellm]'.")
        self.name = name
        self._model = model
        self._entry = entry
        self._key = key
        self._key_variable = key_variable

    async def start(self) -> None:
        """Imports litellm, which takes seconds: not within the time of a request."""
        _import_litellm()

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """One attempt."""
        litellm = _import_litellm()
        try:
            completion = await litellm.acompletion(
                model=self._model,
                messages=chat_messages(messages, self._entry.system_role),
                api_key=self._key,
                base_url=self._entry.base_url,
                timeout=settings.timeout_s,
                max_retries=0,
                num_retries=0,
                drop_params=True,
                **sampling_parameters(self._model, self._entry, settings),
            )
            return read_completion(completion, self.name)
        except ProviderError:
            raise
        except Exception as error:
            # Without its cause: the client's errors hold requests, and those hold the key.
            raise translate(error, self.name, self._key_variable, self._advice) from None

    async def close(self) -> None:
        """Nothing to end: litellm's connections are its own."""

    def known_price(self) -> Price | None:
        """The price in litellm's own table; None when it has none."""
        litellm = _import_litellm()
        try:
            prompt, completion = litellm.cost_per_token(
                model=self._model, prompt_tokens=1_000_000, completion_tokens=1_000_000
            )
        except Exception:
            return None
        # Its table says 0 where it knows the model but not the price.
        return Price(prompt=prompt, completion=completion) if prompt or completion else None

    def _advice(self) -> str:
        return "Models are listed at docs.litellm.ai/docs/providers."


def _import_litellm() -> Any:
    # Else it fetches its price table from the network when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm
