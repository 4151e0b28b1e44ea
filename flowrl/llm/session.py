"""The models of one run: who serves which role, within which budget, with every word recorded."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrl.errors import FatalProviderError, FlowrlError, UserError
from flowrl.llm.client import RetryPolicy, Try
from flowrl.llm.config import LlmConfig
from flowrl.llm.errors import RetriesExhausted
from flowrl.llm.interface import PROPOSING_ROLES, ROLES, CompletionSettings, Message, Reply, Task, Usage
from flowrl.llm.ledger import Call, Ledger, dollars
from flowrl.llm.recorder import Recorder, request_hash
from flowrl.llm.registry import load_registry
from flowrl.llm.resolve import FROM_FILES, Resolved, announce_on_stderr, parse_roles, resolve

_REST_S = 300.0
"""A model that was exhausted is passed over for so long when there is a fallback, then tried again."""


@dataclass(frozen=True)
class Answer:
    """A reply and its entry in the ledger."""

    reply: Reply
    call: Call


class ModelSession:
    """Resolves every model that a run may use, at once, and sends each request to the one of its role.

    Args:
        config: the model flags.
        env_name: the world.
        graph_path: calls are recorded under its ``llm/``; nothing is recorded when not given.
        announce: gets notices of one line.
        policy: of retries.

    Raises:
        FatalProviderError: a key, package or file is missing for any model that is named.
        UserError: a flag or the models file is wrong.
    """

    def __init__(
        self,
        config: LlmConfig,
        env_name: str,
        graph_path: Path | None = None,
        announce: Callable[[str], None] = announce_on_stderr,
        policy: RetryPolicy | None = None,
    ) -> None:
        _check_limits(config)
        registry = load_registry(config.models_file)
        log_folder = graph_path / "llm" if graph_path is not None else None
        roles = parse_roles(config.llm_role)
        self._names = {role: roles.get(role, config.llm_name) for role in ROLES}
        self._fallbacks = config.llm_fallback
        self._models: dict[str, Resolved] = {}
        for name in dict.fromkeys([*self._names.values(), *config.llm_fallback]):
            self._models[name] = resolve(name, config, env_name, registry, log_folder, announce, policy)
        self._refuse_unknown_price(config)
        self._announce = announce
        self._resting_until: dict[str, float] = {}
        self.recorder = Recorder(log_folder) if log_folder is not None else None
        self._ids = itertools.count()
        self.ledger = Ledger(config.max_llm_usd, config.max_llm_calls)
        self.run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"

    @property
    def roles(self) -> dict[str, str]:
        """Role -> name of the model that serves it first."""
        return dict(self._names)

    @property
    def answers_at_once(self) -> bool:
        """Whether proposals come out of files: then nothing is gained by doing something else meanwhile."""
        return all(self._models[self._names[role]].provider in FROM_FILES for role in PROPOSING_ROLES)

    @property
    def reads_trajectories(self) -> bool:
        """Whether the analyst is a model: the playbook holds proposals only."""
        return self._models[self._names["analyst"]].provider != "playbook"

    def context_tokens(self, role: str) -> int | None:
        """Tokens that a prompt for this role may have: the least over its models; None when unknown."""
        limits = [
            limits.context_tokens - (limits.max_new_tokens or 0)
            for limits in (model.client.limits for model in self._chain(role))
            if limits.context_tokens is not None
        ]
        return min(limits, default=None)

    async def complete(self, task: Task, messages: Sequence[Message], cuts: Sequence[str] = ()) -> Answer:
        """An answer by the model of ``task.role``, or by a fallback where that is exhausted.

        Args:
            task: what it is for.
            messages: the conversation.
            cuts: what was left out of it to fit the model, for the record.

        Raises:
            RetriesExhausted: no model answered in spite of retries.
            BudgetExhausted: the run's budget is used up.
            FatalProviderError: trying again cannot help.
        """
        settings = CompletionSettings(task=task)
        tries: list[Try] = []
        requests = 0

        def count() -> None:
            nonlocal requests
            self.ledger.count_request()
            requests += 1

        chain = self._awake(self._chain(task.role))
        for position, model in enumerate(chain):
            try:
                reply = await model.client.complete(messages, settings, tries, count)
            except RetriesExhausted as error:
                if position + 1 < len(chain):
                    self._resting_until[model.name] = time.monotonic() + _REST_S
                    self._announce(f"{error} {chain[position + 1].name} answers instead.")
                    continue
                self._enter(task, messages, cuts, model, None, tries, requests, error)
                raise
            except FlowrlError as error:
                self._enter(task, messages, cuts, model, None, tries, requests, error)
                raise
            return Answer(reply, self._enter(task, messages, cuts, model, reply, tries, requests, None))
        raise AssertionError("a role has at least one model")

    async def close(self) -> None:
        """Ends all connections and servers."""
        async with AsyncExitStack() as stack:
            # All of them, even where one fails to close.
            for model in self._models.values():
                stack.push_async_callback(model.client.close)

    def _chain(self, role: str) -> list[Resolved]:
        return [self._models[name] for name in dict.fromkeys([self._names[role], *self._fallbacks])]

    def _awake(self, chain: list[Resolved]) -> list[Resolved]:
        now = time.monotonic()
        return [model for model in chain if self._resting_until.get(model.name, 0.0) <= now] or chain

    def _enter(
        self,
        task: Task,
        messages: Sequence[Message],
        cuts: Sequence[str],
        model: Resolved,
        reply: Reply | None,
        tries: Sequence[Try],
        requests: int,
        error: FlowrlError | None,
    ) -> Call:
        """Enters one call into the ledger and the record."""
        usage = reply.usage if reply is not None else Usage(None, None)
        call = Call(
            id=self.recorder.take_id() if self.recorder is not None else f"{next(self._ids):06d}",
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            run=self.run,
            role=task.role,
            node=task.node,
            skill=task.skill,
            proposal=task.proposal,
            model=model.name,
            usage=usage,
            usd=dollars(usage, model.price) if reply is not None else None,
            latency_s=reply.latency_s if reply is not None else 0.0,
            requests=requests,
            failed=reply is None,
        )
        self.ledger.add(call)
        if self.recorder is not None:
            self.recorder.write(
                call.id, call.node, _record(call, task, messages, cuts, model, reply, tries, error)
            )
        return call

    def _refuse_unknown_price(self, config: LlmConfig) -> None:
        if config.max_llm_usd is None:
            return
        for model in self._models.values():
            if model.price is None:
                raise UserError(
                    f"--max_llm_usd cannot be kept: no price is known for {model.name!r}. Give it a "
                    "price: {prompt: ..., completion: ...} in your --models_file, or use --max_llm_calls."
                )


def _check_limits(config: LlmConfig) -> None:
    """Refuses limits that are not positive, naming the flag."""
    for flag in ("max_requests_per_minute", "max_concurrency", "timeout", "max_new_tokens"):
        value = getattr(config, flag)
        if value is not None and not value > 0:
            raise UserError(f"--{flag} is {value!r}; it must be above 0.")
    for flag in ("max_repairs", "max_llm_usd", "max_llm_calls", "temperature"):
        value = getattr(config, flag)
        if value is not None and not value >= 0:
            raise UserError(f"--{flag} is {value!r}; it must be 0 or more.")


def _record(
    call: Call,
    task: Task,
    messages: Sequence[Message],
    cuts: Sequence[str],
    model: Resolved,
    reply: Reply | None,
    tries: Sequence[Try],
    error: FlowrlError | None,
) -> dict[str, Any]:
    """What a call's file holds."""
    limits = model.client.limits
    kind = "fatal" if isinstance(error, FatalProviderError) else "exhausted"
    return {
        "time": call.time,
        "run": call.run,
        "model": call.model,
        "provider": model.provider,
        "task": {**asdict(task), "reachable": sorted(task.reachable)},
        "settings": {
            "temperature": limits.temperature,
            "max_new_tokens": limits.max_new_tokens,
            "timeout_s": limits.timeout_s,
        },
        "request_hash": request_hash(task.node, messages),
        "messages": [asdict(message) for message in messages],
        "cuts": list(cuts),
        "reply": None
        if reply is None
        else {"text": reply.text, "model": reply.model, "finish_reason": reply.finish_reason},
        "error": None if error is None else {"kind": kind, "message": str(error)},
        "usage": asdict(call.usage),
        "usd": call.usd,
        "latency_s": call.latency_s,
        "requests": call.requests,
        "failed_attempts": [asdict(attempt) for attempt in tries],
    }
