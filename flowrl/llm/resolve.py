"""From a model's name to what answers under it. Everything that can be known without the network is checked.

``resolve(name)`` raises before anything else happens when a key, a package, a file or a playbook is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowrl.errors import FatalProviderError, UserError, nearest
from flowrl.llm.client import Client, ClientLimits, RetryPolicy
from flowrl.llm.config import LlmConfig
from flowrl.llm.environment import key_names, read_key, read_variable
from flowrl.llm.interface import ROLES, LanguageModel
from flowrl.llm.registry import ModelEntry, Price, Registry, load_registry

PREFIXES = {
    "litellm_": "litellm",
    "openrouter_": "openrouter",
    "vllm_": "vllm",
    "hf_": "hf",
    "replay_": "replay",
    "playbook_": "playbook",
}
"""Name prefix -> provider. A bare name goes to the openai client."""

OPENROUTER_URL = "https://openrouter.ai/api/v1"
_DEFAULT_MAX_NEW_TOKENS = 4096
_FREE = Price(prompt=0.0, completion=0.0)
FROM_FILES = ("playbook", "replay")
"""Providers that answer from files, at once and always the same."""

_FREE_PROVIDERS = (*FROM_FILES, "hf")


def announce_on_stderr(line: str) -> None:
    """The default for notices of one line."""
    print(line, file=sys.stderr)


@dataclass(frozen=True)
class Resolved:
    """A model that is ready to answer.

    Attributes:
        client: the provider behind its limits.
        entry: its registry entry, or defaults.
        provider: which kind of provider serves it.
    """

    client: Client
    entry: ModelEntry
    provider: str

    @property
    def name(self) -> str:
        """The name that a user types for it."""
        return self.client.name

    @property
    def price(self) -> Price | None:
        """Dollars for a million tokens; None when unknown."""
        if self.entry.price is not None or self.provider == "llm_api":
            return self.entry.price
        if self.provider in _FREE_PROVIDERS:
            return _FREE
        # litellm brings a table of prices. Asking it may import litellm, so only those ask who need a price.
        known_price = getattr(self.client.model, "known_price", None)
        return known_price() if known_price is not None else None


def provider_of(name: str, entry: ModelEntry) -> str:
    """``playbook``, ``replay``, ``openai``, ``openrouter``, ``litellm``, ``vllm`` or ``hf``."""
    if name == "playbook":
        return "playbook"
    if entry.provider is not None:
        return entry.provider
    for prefix, provider in PREFIXES.items():
        if name.startswith(prefix):
            return provider
    return "openai"


def model_id(name: str, entry: ModelEntry) -> str:
    """The model's name in the provider's own words."""
    if entry.model is not None:
        return entry.model
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def needed_key(name: str, entry: ModelEntry) -> str | None:
    """Name of the variable that must hold a key for this model; None when it needs none."""
    if entry.key_env is not None:
        return entry.key_env
    provider = provider_of(name, entry)
    if provider == "litellm":
        from flowrl.llm.providers.litellm_keys import key_variable

        return key_variable(model_id(name, entry))
    return {"openai": "OPENAI_API_KEY", "openrouter": "OPENROUTER_API_KEY"}.get(provider)


def parse_roles(roles: tuple[str, ...]) -> dict[str, str]:
    """``("coder=gpt-5",)`` as ``{"coder": "gpt-5"}``.

    Raises:
        UserError: not of that form, an unknown role, or a role given twice.
    """
    chosen: dict[str, str] = {}
    for item in roles:
        role, equals, name = item.partition("=")
        if not equals or not role or not name:
            raise UserError(f"--llm_role {item!r} is not of the form ROLE=NAME, such as coder=gpt-4o-mini.")
        if role not in ROLES:
            raise UserError(f"--llm_role names the unknown role {role!r}. {nearest(role, ROLES)}")
        if role in chosen:
            raise UserError(f"--llm_role sets {role!r} twice, to {chosen[role]!r} and {name!r}. Keep one.")
        chosen[role] = name
    return chosen


def resolve(
    name: str,
    config: LlmConfig,
    env_name: str = "",
    registry: Registry | None = None,
    log_folder: Path | None = None,
    announce: Callable[[str], None] = announce_on_stderr,
    policy: RetryPolicy | None = None,
) -> Resolved:
    """The model of that name, ready to answer. Opens no connection and starts no process.

    Args:
        name: what the user typed.
        config: limits that override the registry's.
        env_name: the world, for the playbook.
        registry: all entries; loaded when not given.
        log_folder: where a server that flowrl starts writes its log.
        announce: gets one line when the user's own ``llm_api`` module serves.
        policy: of retries.

    Raises:
        FatalProviderError: a key, a package or a file is missing; one line with what to do.
        UserError: the models file is wrong.
    """
    registry = registry or load_registry(config.models_file)
    entry = registry.entry(name)
    if not name.strip():
        raise UserError("--llm_name is empty. Name a model; --llm_name playbook needs no key.")
    provider = provider_of(name, entry)
    own: LanguageModel | None = None
    if provider not in ("playbook", "replay"):
        from flowrl.llm.providers.own_module import find_own_module

        own = find_own_module(name, announce)
    if own is not None:
        provider = "llm_api"
    model = own or _build(name, provider, entry, env_name, registry, log_folder)
    limits = ClientLimits(
        max_requests_per_minute=config.max_requests_per_minute or entry.max_requests_per_minute,
        max_concurrency=config.max_concurrency or entry.max_concurrency or 4,
        timeout_s=config.timeout or entry.timeout or 300.0,
        temperature=config.temperature if config.temperature is not None else entry.temperature,
        max_new_tokens=config.max_new_tokens or entry.max_new_tokens or _DEFAULT_MAX_NEW_TOKENS,
        context_tokens=entry.context_tokens,
    )
    return Resolved(Client(model, limits, policy), entry, provider)


def _build(
    name: str, provider: str, entry: ModelEntry, env_name: str, registry: Registry, log_folder: Path | None
) -> LanguageModel:
    if provider == "playbook":
        from flowrl.llm.providers.playbook import PlaybookModel

        folder = None if name == "playbook" else Path(name.removeprefix("playbook_"))
        return PlaybookModel(env_name, folder)
    if provider == "replay":
        from flowrl.llm.providers.replay import ReplayModel

        return ReplayModel(name, Path(name.removeprefix("replay_")))
    if provider == "hf":
        from flowrl.llm.providers.hf_local import HfModel

        return HfModel(name, model_id(name, entry), entry.context_tokens)
    if provider == "vllm":
        from flowrl.llm.providers.vllm_server import build_vllm

        return build_vllm(name, model_id(name, entry), entry, log_folder)
    variable = needed_key(name, entry)
    key = _read_needed_key(name, variable, registry) if variable is not None else None
    if provider == "litellm":
        from flowrl.llm.providers.litellm_api import LitellmModel

        return LitellmModel(name, model_id(name, entry), entry, key, variable)
    from flowrl.llm.providers.openai_api import OpenAiModel

    url = entry.base_url or read_variable("OPENAI_BASE_URL")
    if provider == "openrouter":
        url = entry.base_url or read_variable("OPENROUTER_BASE_URL") or OPENROUTER_URL
    return OpenAiModel(name, model_id(name, entry), entry, key, url, variable, tuple(registry.models))


def _read_needed_key(name: str, variable: str, registry: Registry) -> str:
    key = read_key(variable)
    if key is None:
        others = key_names(variable)[1:]
        also = f" (or {' or '.join(others)})" if others else ""
        unknown = "" if name in registry.models else f" {_suggestion(name, registry)}"
        raise FatalProviderError(
            f"{variable}{also} is not set, and the model {name!r} needs it: export it or put it into .env; "
            f"--llm_name playbook needs none.{unknown}".rstrip()
        )
    if not key.isascii() or not key.isprintable():
        raise FatalProviderError(f"{variable} holds characters that no key has. Copy the key again.")
    return key


def _suggestion(name: str, registry: Registry) -> str:
    """The nearest known name when there is one close enough to be a slip of the finger, else nothing."""
    hint = nearest(name, [*registry.models, "playbook"])
    return hint if hint.startswith("Did you mean") else ""
