"""The command line's model flags. Imported before any parsing, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowrl.config import Bounds


@dataclass(frozen=True)
class LlmConfig:
    """Which language models a run uses, and within which limits."""

    llm_name: str = "gpt-5"
    """Model for every role: gpt-5, any OpenAI model, litellm_<provider>/<model>, openrouter_<model>,
    vllm_<name>, hf_<name or path>, replay_<graph path>, playbook_<folder> with your own proposals in
    files, or playbook, which needs no key."""

    llm_role: tuple[str, ...] = ()
    """Another model for one role, as ROLE=NAME (repeatable). Roles: proposer, coder, repairer, analyst."""

    llm_fallback: tuple[str, ...] = ()
    """Models tried in order when one does not answer in spite of retries."""

    models_file: str | None = None
    """YAML file with your own model entries; FLOWRL_MODELS serves too."""

    max_repairs: int = 3
    """How often a refused reply goes back to the model before the proposal is given up."""

    max_llm_usd: float | None = None
    """Stop the run, resumably, once this run's calls have cost this many US dollars."""

    max_llm_calls: int | None = None
    """Stop the run, resumably, after this many requests, failed ones included."""

    max_requests_per_minute: int | None = None
    """At most this many requests to one model in any 60 seconds; default: the model's registry entry."""

    max_concurrency: int | None = None
    """At most this many requests to one model at once; default: the model's registry entry, or 4."""

    timeout: float | None = None
    """Seconds that one request may take; default: the model's registry entry, or 300."""

    temperature: float | None = None
    """Sampling temperature; default: the registry entry's or the provider's. Reasoning models take none."""

    max_new_tokens: int | None = None
    """The longest answer in tokens; default: the model's registry entry, or 4096."""


LLM_BOUNDS: Mapping[str, Bounds] = {
    "max_repairs": Bounds(0, 100),
    "max_llm_usd": Bounds(0, 1_000_000, whole=False, open_low=True),
    "max_llm_calls": Bounds(1, 1_000_000),
    "max_requests_per_minute": Bounds(1, 1_000_000),
    "max_concurrency": Bounds(1, 1000),
    "timeout": Bounds(0, 86_400, whole=False, open_low=True),
    "temperature": Bounds(0, 2, whole=False),
    "max_new_tokens": Bounds(1, 10_000_000),
}
"""Bounds of every flag here that is a number."""
