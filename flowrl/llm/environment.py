"""Environment variables: ``.env`` read once, empty counts as unset, aliases of key names, no key shown.

Keys are read here and nowhere else, so that :func:`redact` knows every one of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

_SECRET_NAME = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)", re.IGNORECASE)
_loaded: list[Path | None] = []
_secrets: set[str] = set()

KEY_ALIASES: tuple[tuple[str, ...], ...] = (
    ("OPENAI_API_KEY", "OPENAI_KEY"),
    ("OPENROUTER_API_KEY", "OPEN_ROUTER_API_KEY", "OR_API_KEY"),
    ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"),
    ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_API_KEY"),
    ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY"),
    ("MISTRAL_API_KEY", "MISTRALAI_API_KEY"),
    ("COHERE_API_KEY", "CO_API_KEY"),
    ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY", "PPLX_API_KEY"),
    ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    ("HUGGINGFACE_API_KEY", "HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    ("NVIDIA_NIM_API_KEY", "NVIDIA_API_KEY"),
    ("XAI_API_KEY", "GROK_API_KEY"),
    ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    ("DASHSCOPE_API_KEY", "QWEN_API_KEY"),
    ("MOONSHOT_API_KEY", "KIMI_API_KEY"),
)
"""Names that stand for the same key. The first is the one that messages ask for."""


def load_environment() -> Path | None:
    """Reads the nearest ``.env``, from the working folder upwards, once in a process. Entry points call it.

    What is already set in the environment stays, unless it is empty. Returns the file that was read.
    """
    if not _loaded:
        from dotenv import dotenv_values, find_dotenv

        path = find_dotenv(usecwd=True)
        if path:
            for name, value in dotenv_values(path).items():
                if value and not os.environ.get(name, "").strip():
                    os.environ[name] = value
        _loaded.append(Path(path) if path else None)
    return _loaded[0]


def read_variable(name: str) -> str | None:
    """The value of an environment variable; None when it is unset or blank."""
    return os.environ.get(name, "").strip() or None


def key_names(name: str) -> tuple[str, ...]:
    """``name`` and every other name under which the same key may be set; ``name`` first."""
    for group in KEY_ALIASES:
        if name in group:
            return (name, *(alias for alias in group if alias != name))
    return (name,)


def read_key(name: str) -> str | None:
    """The key in variable ``name`` or an alias; None when all are unset. It is redacted from now on."""
    for candidate in key_names(name):
        value = read_variable(candidate)
        if value is not None:
            _secrets.add(value)
            return value
    return None


def redact(text: str, also: Sequence[str] = ()) -> str:
    """``text`` without any key that was read: for messages, logs and files."""
    for secret in sorted(_secrets | set(also), key=len, reverse=True):
        # A one- or two-character "key" (tests and local servers use 'x') would shred ordinary text.
        if len(secret) > 3:
            text = text.replace(secret, "[key]")
    return text


def looks_like_key(name: str) -> bool:
    """Whether an environment variable of that name is taken to hold a secret, known provider or not."""
    return bool(_SECRET_NAME.search(name))


def child_environment() -> dict[str, str]:
    """The environment for a process that flowrl starts: without anything that looks like a key."""
    return {name: value for name, value in os.environ.items() if not looks_like_key(name)}
