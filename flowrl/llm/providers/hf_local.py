"""A Hugging Face model in this process (extra ``hf``): causal or seq2seq, on GPU where there is one."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowrl.errors import FatalProviderError, TransientProviderError
from flowrl.llm.interface import CompletionSettings, Message, Reply, Usage
from flowrl.llm.providers.openai_api import chat_messages
from flowrl.llm.providers.own_module import as_prompt
from flowrl.llm.providers.threads import in_daemon_thread

_DEFAULT_MAX_NEW_TOKENS = 1024


class HfModel:
    """One model, loaded at its first use.

    Args:
        name: as the user typed it.
        model: a name on the hub, or a local folder.
        context_tokens: the longest prompt and answer; None to go by the model's own configuration.

    Raises:
        FatalProviderError: transformers or torch is not installed, or the local folder is not there.
    """

    def __init__(self, name: str, model: str, context_tokens: int | None = None) -> None:
        for package in ("transformers", "torch"):
            if importlib.util.find_spec(package) is None:
                raise FatalProviderError(f"{name} needs {package}: pip install 'flowrl[hf]'.")
        looks_local = model.startswith((".", "~", os.sep)) or model.count("/") > 1
        folder = Path(model).expanduser()
        if looks_local and not (folder / "config.json").is_file():
            raise FatalProviderError(
                f"{name}: {str(folder)!r} holds no model (there is no config.json in it)."
            )
        self.name = name
        self._model_id = str(folder) if folder.is_dir() else model
        self._context_tokens = context_tokens
        self._lock = threading.Lock()
        self._model: Any = None
        self._tokenizer: Any = None

    async def start(self) -> None:
        """Loads the model. Downloads it first where it is on the hub and not in the cache."""
        await in_daemon_thread(self._load)

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """One generation; it ends by itself when its time is over."""
        await self.start()
        return await in_daemon_thread(lambda: self._generate(messages, settings))

    async def close(self) -> None:
        """Lets go of the model."""
        self._model = self._tokenizer = None

    def _load(self) -> None:
        with self._lock:
            if self._model is not None:
                return
            import torch
            import transformers

            try:
                config = transformers.AutoConfig.from_pretrained(self._model_id)
                kind = (
                    transformers.AutoModelForSeq2SeqLM
                    if config.is_encoder_decoder
                    else transformers.AutoModelForCausalLM
                )
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._model_id)
                model = kind.from_pretrained(self._model_id, dtype="auto")
            except (OSError, ValueError, ImportError, KeyError) as error:
                reason = " ".join(str(error).split())[:300]
                raise FatalProviderError(f"{self.name}: the model cannot be loaded: {reason}") from None
            device: Any = "cuda" if torch.cuda.is_available() else "cpu"
            self._model = model.to(device).eval()

    def _generate(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        import torch

        with self._lock:
            started = time.perf_counter()
            inputs = self._encode(messages).to(self._model.device)
            prompt_tokens = int(inputs["input_ids"].shape[1])
            limit = settings.max_new_tokens or _DEFAULT_MAX_NEW_TOKENS
            room = self._room(prompt_tokens)
            if room is not None and room < 1:
                raise FatalProviderError(
                    f"{self.name}: the prompt has {prompt_tokens} tokens, more than it takes. Give its "
                    "context_tokens in your --models_file so that prompts are cut to fit."
                )
            limit = min(limit, room) if room is not None else limit
            sampling: dict[str, Any] = {"do_sample": False}
            if settings.temperature:
                sampling = {"do_sample": True, "temperature": settings.temperature}
            with torch.inference_mode():
                output = self._model.generate(
                    **inputs,
                    max_new_tokens=limit,
                    max_time=settings.timeout_s,
                    pad_token_id=self._pad_token(),
                    **sampling,
                )[0]
            # A seq2seq answer opens with the decoder's start token; a causal one, with the prompt.
            new = output[1:] if self._model.config.is_encoder_decoder else output[prompt_tokens:]
            text = self._tokenizer.decode(new, skip_special_tokens=True)
            latency = time.perf_counter() - started
            if latency >= settings.timeout_s and len(new) < limit:
                raise TransientProviderError(f"no answer within {settings.timeout_s:g} s (--timeout).")
            cut = len(new) >= limit
            return Reply(
                text, Usage(prompt_tokens, len(new)), self.name, "length" if cut else "stop", latency
            )

    def _encode(self, messages: Sequence[Message]) -> Any:
        if getattr(self._tokenizer, "chat_template", None):
            try:
                text = self._template(messages, system_role=True)
            except Exception:
                # Templates say in their own words that they take no system role.
                text = self._template(messages, system_role=False)
            return self._tokenizer(text, return_tensors="pt", add_special_tokens=False)
        return self._tokenizer(as_prompt(messages), return_tensors="pt")

    def _template(self, messages: Sequence[Message], system_role: bool) -> str:
        turns = chat_messages(messages, system_role)
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _room(self, prompt_tokens: int) -> int | None:
        """Tokens left for the answer; None when the model knows no bound."""
        config = self._model.config
        bound = self._context_tokens or getattr(config, "max_position_embeddings", None)
        if bound is None:
            return None
        # An encoder-decoder model has its positions twice: once for the prompt, once for the answer.
        if config.is_encoder_decoder:
            return int(bound) if prompt_tokens <= bound else 0
        return int(bound) - prompt_tokens

    def _pad_token(self) -> int | None:
        pad = self._tokenizer.pad_token_id
        return int(pad) if pad is not None else self._tokenizer.eos_token_id
