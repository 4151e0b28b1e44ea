"""What every language-model provider takes and gives back.

A provider makes exactly one attempt: it raises :class:`~flowrl.errors.TransientProviderError` or
:class:`~flowrl.errors.FatalProviderError`, and never retries. Retries, rate limits, budgets and fallbacks
are the caller's (``client.py``, ``session.py``), so they are the same for every provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

ROLES = ("proposer", "coder", "repairer", "analyst")
"""proposer: what to learn next; coder: writes the functions; repairer: mends refused replies; analyst: reads
trajectories."""

PROPOSING_ROLES = ROLES[:3]
"""Those that take part in making one proposal."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the provider counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        text: what the model wrote.
        usage: tokens.
        model: the model that answered, in the provider's own words.
        finish_reason: ``stop``, or ``length`` when the answer was cut off.
        latency_s: seconds from request to answer, of the attempt that succeeded.
    """

    text: str
    usage: Usage
    model: str
    finish_reason: str
    latency_s: float


@dataclass(frozen=True)
class Task:
    """What a request is for, as data. It is recorded, and providers that answer from files go by it.

    Nothing of it is sent over the network: a hosted model sees only the messages.

    Attributes:
        role: one of :data:`ROLES`; decides which model answers.
        node: the prompt-graph node: ``skill``, ``operator``, ``code``, ``repair`` or ``trajectory``.
        env_name: the world.
        skill: name of the skill it is about; empty while none is chosen.
        taken: names that are accepted, given up or in training.
        in_training: the names of those that are being trained now.
        reachable: facts that hold at the start or that some accepted skill reaches.
        index: index that the proposed node would have in the graph.
        seed: the run's seed.
        attempt: 0 for a proposal, k for its k-th repair.
        proposal: identifies all calls that made one proposal.
    """

    role: str
    node: str
    env_name: str = ""
    skill: str = ""
    taken: tuple[str, ...] = ()
    in_training: tuple[str, ...] = ()
    reachable: frozenset[str] = field(default_factory=frozenset)
    index: int = 0
    seed: int = 0
    attempt: int = 0
    proposal: str = ""


@dataclass(frozen=True)
class CompletionSettings:
    """How to sample one answer.

    Attributes:
        temperature: None for the model's own default; dropped for models that take none.
        max_new_tokens: the longest answer; None for the provider's own limit.
        timeout_s: seconds that one attempt may take.
        task: what the request is for; never sent.
    """

    temperature: float | None = None
    max_new_tokens: int | None = None
    timeout_s: float = 300.0
    task: Task | None = None


class LanguageModel(Protocol):
    """One provider of one model."""

    @property
    def name(self) -> str:
        """The name that a user types for it: ``gpt-5``, ``hf_Qwen/Qwen2-0.5B``, ``playbook``."""

    async def start(self) -> None:
        """Makes it ready to answer (loads weights, starts a server); harmless when it is. Bounded in time."""

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """One attempt at one answer.

        Raises:
            TransientProviderError: trying again later may work.
            FatalProviderError: it cannot.
        """

    async def close(self) -> None:
        """Ends connections and processes; harmless when there are none."""
