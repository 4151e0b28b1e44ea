"""One model behind its limits: rate, concurrency, time-out, retries. Every attempt goes through here.

No wait is without bound: attempts, the time of one attempt, and the pause between two all have a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from flowrl.errors import FatalProviderError, ProviderError, TransientProviderError
from flowrl.llm.environment import redact
from flowrl.llm.errors import RetriesExhausted
from flowrl.llm.interface import CompletionSettings, LanguageModel, Message, Reply
from flowrl.llm.rate_limit import RateLimit

BeforeAttempt = Callable[[], None]
"""Called before every request; raises when the budget is used up."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a failed request is repeated.

    Attributes:
        attempts: requests in all.
        first_pause_s: mean pause after the first failure; it doubles from one failure to the next.
        longest_pause_s: no pause is longer. A provider that asks for more (``Retry-After``) ends the call.
        start_timeout_s: how long a model may take to get ready (weights to download, a server to start).
    """

    attempts: int = 5
    first_pause_s: float = 1.0
    longest_pause_s: float = 120.0
    start_timeout_s: float = 3600.0


@dataclass(frozen=True)
class ClientLimits:
    """Limits of one model; None means no limit."""

    max_requests_per_minute: int | None = None
    max_concurrency: int | None = 4
    timeout_s: float = 300.0
    temperature: float | None = None
    max_new_tokens: int | None = None
    context_tokens: int | None = None


@dataclass(frozen=True)
class Try:
    """One failed attempt: whose, why, and how long the pause before the next was (0 after the last)."""

    model: str
    kind: str
    error: str
    pause_s: float


class Client:
    """A provider with limits and retries.

    Args:
        model: makes single attempts.
        limits: of this model.
        policy: of retries.
        sleep: replaced in tests.
        clock: replaced in tests.
    """

    def __init__(
        self,
        model: LanguageModel,
        limits: ClientLimits,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.name = model.name
        self.limits = limits
        self._policy = policy or RetryPolicy()
        self._sleep = sleep
        self._rate = RateLimit(limits.max_requests_per_minute, 60.0, sleep, clock)
        self._slots = asyncio.Semaphore(limits.max_concurrency) if limits.max_concurrency else None

    async def complete(
        self,
        messages: Sequence[Message],
        settings: CompletionSettings,
        tries: list[Try],
        before_attempt: BeforeAttempt = lambda: None,
    ) -> Reply:
        """An answer, after retries where needed. What failed on the way is appended to ``tries``.

        Raises:
            RetriesExhausted: it kept failing; says how.
            FatalProviderError: repeating cannot help.
        """
        import tenacity

        settings = replace(
            settings,
            temperature=settings.temperature if settings.temperature is not None else self.limits.temperature,
            max_new_tokens=settings.max_new_tokens or self.limits.max_new_tokens,
            timeout_s=self.limits.timeout_s,
        )
        backoff = tenacity.wait_random_exponential(
            multiplier=self._policy.first_pause_s,
            max=self._policy.longest_pause_s / 2,
            min=self._policy.first_pause_s / 2,
        )

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            advised = error.retry_after_s if isinstance(error, TransientProviderError) else None
            return max(backoff(state), advised or 0.0)

        def note(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            tries.append(
                Try(
                    self.name,
                    "transient",
                    str(error),
                    round(state.next_action.sleep, 3) if state.next_action else 0.0,
                )
            )

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._worth_repeating),
            stop=tenacity.stop_after_attempt(self._policy.attempts),
            wait=pause,
            sleep=self._sleep,
            before_sleep=note,
            reraise=True,
        )
        try:
            # Not an attempt: loading weights may take longer than any answer.
            async with asyncio.timeout(self._policy.start_timeout_s):
                await self.model.start()
            return await retrying(self._attempt, messages, settings, before_attempt)
        except TransientProviderError as error:
            tries.append(Try(self.name, "transient", str(error), 0.0))
            raise self._exhausted(error, len(tries)) from None
        except TimeoutError:
            raise FatalProviderError(
                f"{self.name}: not ready within {self._policy.start_timeout_s:g} s."
            ) from None
        except FatalProviderError as error:
            tries.append(Try(self.name, "fatal", str(error), 0.0))
            raise

    def _worth_repeating(self, error: BaseException) -> bool:
        if not isinstance(error, TransientProviderError):
            return False
        return (error.retry_after_s or 0.0) <= self._policy.longest_pause_s

    def _exhausted(self, error: TransientProviderError, attempts: int) -> RetriesExhausted:
        if not self._worth_repeating(error):
            return RetriesExhausted(
                f"{self.name}: {error} It asks to wait {error.retry_after_s:.0f} s, more than flowrl waits "
                f"({self._policy.longest_pause_s:.0f} s). Resume later, or name a --llm_fallback."
            )
        return RetriesExhausted(
            f"{self.name}: gave up after {attempts} attempt{'s' * (attempts != 1)}: {error}"
        )

    async def _attempt(
        self, messages: Sequence[Message], settings: CompletionSettings, before_attempt: BeforeAttempt
    ) -> Reply:
        if self._slots is None:
            return await self._send(messages, settings, before_attempt)
        async with self._slots:
            return await self._send(messages, settings, before_attempt)

    async def _send(
        self, messages: Sequence[Message], settings: CompletionSettings, before_attempt: BeforeAttempt
    ) -> Reply:
        await self._rate.acquire()
        before_attempt()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(settings.timeout_s):
                reply = await self.model.complete(messages, settings)
        except TimeoutError:
            raise TransientProviderError(f"no answer within {settings.timeout_s:g} s (--timeout).") from None
        except ProviderError as error:
            error.args = (redact(str(error)),)
            raise
        return replace(
            reply,
            # A server may say anything, the key that it was sent included, and this goes to disk and screen.
            text=redact(reply.text),
            model=redact(reply.model),
            latency_s=round(time.perf_counter() - started, 3),
        )

    async def close(self) -> None:
        """Ends what the provider holds."""
        await self.model.close()
