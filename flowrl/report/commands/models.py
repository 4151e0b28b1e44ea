"""``models list`` and ``models check``: which language models can be named, and whether one answers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from flowrl.config import ENV_NAMES
from flowrl.errors import ProviderError, UserError
from flowrl.llm.config import LLM_BOUNDS, LlmConfig
from flowrl.report.commands.flags import parse_flags
from flowrl.report.spending import token_words

_NO_ANSWER = 1
_QUESTION = "Reply with the one word: ready"
_ANSWER_TOKENS = 64
"""The longest answer: enough for a word, and for a reasoning model to begin to think."""

_FROM_FILES = ("playbook", "replay")


@dataclass(frozen=True)
class ModelsListFlags:
    """Lists the registry of language models: what --llm_name takes, what it costs, and which key is missing.

    A model that is not listed works too, with defaults; see the flag --llm_name of bottomup for the prefixes.
    """

    models_file: str | None = None
    """YAML file with your own model entries; the variable FLOWRL_MODELS serves too."""

    json: bool = False
    """Print JSON, for scripts."""


@dataclass(frozen=True)
class ModelsCheckFlags:
    """Sends one tiny request to a model. Exit code 0: it answered; 1: it did not, and why."""

    name: tyro.conf.Positional[str]
    """The model, as --llm_name takes it."""

    models_file: str | None = None
    """YAML file with your own model entries; the variable FLOWRL_MODELS serves too."""

    timeout: float = 60.0
    """Seconds to wait for the answer."""

    json: bool = False
    """Print JSON, for scripts."""


def models_list(args: Sequence[str], prog: str) -> int:
    """``flowrl models list``."""
    flags = parse_flags(ModelsListFlags, args, prog)
    from flowrl.llm.environment import load_environment
    from flowrl.llm.registry import load_registry

    load_environment()
    registry = load_registry(flags.models_file)
    rows = [_described("playbook", registry), *(_described(name, registry) for name in registry.models)]
    if flags.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("--llm_name", "provider", "key", "US$ per million tokens in, out"):
        table.add_column(column, overflow="fold")
    for row in rows:
        needed = row["key_variable"]
        key = (
            "none needed" if needed is None else f"{needed} {'is set' if row['key_is_set'] else 'is missing'}"
        )
        price = row["usd_per_million_tokens"]
        cost = "unknown" if price is None else f"{price['prompt']:g}, {price['completion']:g}"
        table.add_row(row["name"], row["provider"], key, cost)
    Console().print(table)
    return 0


def _described(name: str, registry: Any) -> dict[str, Any]:
    from flowrl.llm.environment import read_key
    from flowrl.llm.resolve import needed_key, provider_of

    entry = registry.entry(name)
    provider = provider_of(name, entry)
    variable = None if provider in _FROM_FILES else needed_key(name, entry)
    free = {"prompt": 0.0, "completion": 0.0} if provider in _FROM_FILES else None
    return {
        "name": name,
        "provider": provider,
        "key_variable": variable,
        "key_is_set": variable is None or read_key(variable) is not None,
        "usd_per_million_tokens": entry.price.model_dump() if entry.price else free,
        "context_tokens": entry.context_tokens,
    }


def models_check(args: Sequence[str], prog: str) -> int:
    """``flowrl models check``."""
    flags = parse_flags(ModelsCheckFlags, args, prog)
    complaint = LLM_BOUNDS["timeout"].complaint("timeout", flags.timeout, ModelsCheckFlags.timeout)
    if complaint:
        raise UserError(complaint)
    from flowrl.llm.environment import load_environment

    load_environment()
    try:
        answer = asyncio.run(_ask(flags))
    except ProviderError as error:
        if flags.json:
            print(json.dumps({"name": flags.name, "answered": False, "error": str(error)}))
        else:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return _NO_ANSWER
    if flags.json:
        print(json.dumps({"name": flags.name, "answered": True, **answer}))
    elif answer["provider"] in _FROM_FILES:
        print(f"{flags.name} answers from files: there is nothing to ask.")
    else:
        usd = answer["usd"]
        cost = "cost unknown" if usd is None else "free" if usd == 0 else f"US$ {usd:.6f}"
        print(f"{flags.name} answered in {answer['latency_s']:.2f} s: {token_words(answer)}, {cost}")
    return 0


async def _ask(flags: ModelsCheckFlags) -> dict[str, Any]:
    from flowrl.llm.client import RetryPolicy
    from flowrl.llm.interface import CompletionSettings, Message
    from flowrl.llm.ledger import dollars
    from flowrl.llm.resolve import resolve

    config = LlmConfig(llm_name=flags.name, models_file=flags.models_file, timeout=flags.timeout)
    # The world only matters to the playbook, and every world's playbook answers alike.
    resolved = resolve(flags.name, config, env_name=ENV_NAMES[0], policy=RetryPolicy(attempts=1))
    answer: dict[str, Any] = {"provider": resolved.provider}
    if resolved.provider in _FROM_FILES:
        return answer
    try:
        settings = CompletionSettings(max_new_tokens=_ANSWER_TOKENS)
        reply = await resolved.client.complete([Message("user", _QUESTION)], settings, tries=[])
    finally:
        await resolved.client.close()
    return {
        **answer,
        "latency_s": reply.latency_s,
        "prompt_tokens": reply.usage.prompt_tokens,
        "completion_tokens": reply.usage.completion_tokens,
        "usd": dollars(reply.usage, resolved.price),
        "reply": reply.text,
    }
