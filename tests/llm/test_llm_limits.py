"""Rates, concurrency, retries and budgets, against a clock that the test turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Sequence

import pytest

from flowrl.errors import ExhaustedProviderError, FatalProviderError, RunStopped, TransientProviderError
from flowrl.llm.client import Client, ClientLimits, RetryPolicy, Try
from flowrl.llm.errors import BudgetExhausted, RetriesExhausted
from flowrl.llm.interface import CompletionSettings, Message, Reply, Usage
from flowrl.llm.ledger import Call, Ledger, Total, dollars, summarize
from flowrl.llm.rate_limit import RateLimit
from flowrl.llm.registry import Price


class FakeClock:
    """Time that passes only when every task sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), woken))
        await woken.wait()

    async def run(self, *work: Awaitable[object]) -> None:
        """Turns the clock until all of ``work`` is done."""
        everything = asyncio.gather(*work)
        while not everything.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers and not everything.done():
                time, _, woken = heapq.heappop(self._sleepers)
                self.now = max(self.now, time)
                woken.set()
        await everything


class Scripted:
    """A provider that does what it is told, one step a request, and then answers."""

    def __init__(self, *steps: Exception) -> None:
        self.name = "scripted"
        self.steps = list(steps)
        self.running = 0
        self.most_running = 0
        self.pause: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Nothing to start."""

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """The next step."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.pause is not None:
                await self.pause()
            if self.steps:
                raise self.steps.pop(0)
            return Reply(messages[0].content, Usage(10, 2), f"{settings.temperature}", "stop", 0.0)
        finally:
            self.running -= 1

    async def close(self) -> None:
        """Nothing to end."""


HELLO = [Message("user", "hello")]


def most_in_any_window(times: list[float], window: float) -> int:
    """The largest number of events in a closed window of that length."""
    return max(sum(1 for other in times if 0 <= other - start <= window) for start in times)


@pytest.mark.parametrize("gap", [0.0, 0.3, 0.95])
def test_200_requests_at_60_a_minute(gap: float) -> None:
    clock = FakeClock()
    limit = RateLimit(60, 60.0, clock.sleep, clock)
    times: list[float] = []

    async def one(number: int) -> None:
        await clock.sleep(number * gap)
        await limit.acquire()
        times.append(clock())

    asyncio.run(clock.run(*(one(number) for number in range(200))))
    assert len(times) == 200
    assert most_in_any_window(times, 60.0) == 60
    # It is a limit, not a crawl: 200 requests need three windows to pass.
    assert times[-1] - times[0] <= max(3 * 60.1 + 60 * gap, 199 * gap + 1)


def test_a_late_burst_cannot_borrow_from_the_next_window() -> None:
    clock = FakeClock()
    limit = RateLimit(10, 60.0, clock.sleep, clock)
    times: list[float] = []

    async def one(at: float) -> None:
        await clock.sleep(at)
        await limit.acquire()
        times.append(clock())

    # A bucket that refills would let ten through at 59 s and ten more at 61 s.
    asyncio.run(clock.run(*(one(59.0) for _ in range(10)), *(one(61.0) for _ in range(10))))
    assert most_in_any_window(times, 60.0) == 10


def test_retries_go_through_the_rate_limit_too() -> None:
    clock = FakeClock()
    model = Scripted(*(TransientProviderError("no") for _ in range(3)))
    client = Client(model, ClientLimits(2), RetryPolicy(first_pause_s=0.1), clock.sleep, clock)
    asyncio.run(clock.run(client.complete(HELLO, CompletionSettings(), [])))
    assert clock.now - 1000.0 > 60.0


def test_concurrency_is_capped() -> None:
    clock = FakeClock()
    model = Scripted()
    model.pause = lambda: clock.sleep(1.0)
    client = Client(model, ClientLimits(max_concurrency=3), RetryPolicy(), clock.sleep, clock)
    asyncio.run(clock.run(*(client.complete(HELLO, CompletionSettings(), []) for _ in range(10))))
    assert model.most_running == 3


def test_pauses_grow_honour_retry_after_and_end() -> None:
    clock = FakeClock()
    model = Scripted(*(TransientProviderError("busy", after) for after in (None, 50.0, None, None)))
    client = Client(model, ClientLimits(), RetryPolicy(attempts=4), clock.sleep, clock)
    tries: list[Try] = []

    async def run() -> None:
        with pytest.raises(RetriesExhausted, match="after 4 attempts: busy"):
            await client.complete(HELLO, CompletionSettings(), tries)

    asyncio.run(clock.run(run()))
    assert [attempt.kind for attempt in tries] == ["transient"] * 4
    assert tries[1].pause_s >= 50.0
    assert 0 < tries[0].pause_s <= 60.0
    assert tries[3].pause_s == 0.0


def test_fatal_errors_are_not_repeated() -> None:
    model = Scripted(FatalProviderError("bad key"), FatalProviderError("bad key"))
    client = Client(model, ClientLimits())
    with pytest.raises(FatalProviderError, match="bad key"):
        asyncio.run(client.complete(HELLO, CompletionSettings(), []))
    assert len(model.steps) == 1


def test_a_model_that_never_gets_ready_is_given_up() -> None:
    model = Scripted()
    model.start = lambda: asyncio.sleep(60)  # type: ignore[method-assign]
    client = Client(model, ClientLimits(), RetryPolicy(start_timeout_s=0.05))
    with pytest.raises(FatalProviderError, match=r"not ready within 0\.05 s"):
        asyncio.run(client.complete(HELLO, CompletionSettings(), []))


def test_limits_set_what_a_request_leaves_open() -> None:
    client = Client(Scripted(), ClientLimits(temperature=0.3))
    reply = asyncio.run(client.complete(HELLO, CompletionSettings(), []))
    assert reply.model == "0.3"
    reply = asyncio.run(client.complete(HELLO, CompletionSettings(temperature=0.0), []))
    assert reply.model == "0.0"


def call(role: str = "coder", skill: str = "s", usd: float | None = 0.5, **more: object) -> Call:
    """A ledger entry."""
    fields = {
        "id": "0", "time": "", "run": "r", "role": role, "node": "code", "skill": skill, "proposal": "p",
        "model": "m", "usage": Usage(10, 2), "usd": usd, "latency_s": 1.0, "requests": 1,
    }  # fmt: skip
    return Call(**{**fields, **more})  # type: ignore[arg-type]


def test_unknown_cost_stays_unknown() -> None:
    known = Total().plus(call())
    mixed = known.plus(call(usd=None))
    unknown = Total().plus(call(usd=None))
    assert known.cost == "$0.5000"
    assert mixed.cost == "$0.5000 and 1 call of unknown cost"
    assert unknown.cost == "unknown"
    assert (known.to_json()["usd"], mixed.to_json()["usd"], unknown.to_json()["usd"]) == (0.5, None, None)
    assert mixed.to_json()["usd_known"] == 0.5


def test_tokens_that_were_not_counted_are_unknown_too() -> None:
    mixed = Total().plus(call()).plus(call(usage=Usage(None, None), usd=None)).to_json()
    assert (mixed["prompt_tokens"], mixed["prompt_tokens_known"]) == (None, 10)
    assert (mixed["completion_tokens"], mixed["completion_tokens_known"]) == (None, 2)
    # A call that failed has no tokens that anybody could know.
    failed = Total().plus(call()).plus(call(usage=Usage(None, None), usd=None, failed=True)).to_json()
    assert (failed["prompt_tokens"], failed["usd"], failed["answered"]) == (10, 0.5, 1)


def test_costs_are_worded_so_that_nothing_looks_free_that_is_not() -> None:
    assert Total().cost == "no answer"
    assert Total().plus(call(usd=None, failed=True)).cost == "no answer"
    assert Total().plus(call(usd=0.0)).cost == "free"
    assert Total().plus(call(usd=0.00001)).cost == "< $0.0001"
    assert Total().plus(call(usd=None)).plus(call(usd=None, failed=True)).cost == "unknown"


def test_dollars_need_a_price_and_tokens() -> None:
    price = Price(prompt=2.0, completion=10.0)
    assert dollars(Usage(1_000_000, 100_000), price) == pytest.approx(3.0)
    assert dollars(Usage(5, None), price) is None
    assert dollars(Usage(5, 5), None) is None
    assert dollars(Usage(None, None), Price(prompt=0, completion=0)) == 0.0


def test_totals_by_skill_count_the_call_that_chose_it() -> None:
    calls = [
        call(role="proposer", skill="", proposal="a"),
        call(skill="dig", proposal="a"),
        call(skill="swim", proposal="b"),
        call(skill="", proposal="c", failed=True, usd=None),
    ]
    totals = summarize(calls, "skill")
    assert {name: total.calls for name, total in totals.items()} == {"dig": 2, "swim": 1, "": 1}
    assert summarize(calls)["all"].failed_requests == 1
    assert {name: total.calls for name, total in summarize(calls, "role").items()} == {
        "proposer": 1,
        "coder": 3,
    }
    assert summarize(calls)["all"].cost == "$1.5000"


def test_budgets_end_the_run_resumably() -> None:
    ledger = Ledger(max_calls=2)
    ledger.count_request()
    ledger.count_request()
    with pytest.raises(BudgetExhausted, match="--max_llm_calls") as stopped:
        ledger.count_request()
    assert isinstance(stopped.value, RunStopped)
    assert isinstance(stopped.value, ExhaustedProviderError)
    assert stopped.value.exit_code == 3

    ledger = Ledger(max_usd=1.0)
    ledger.count_request()
    ledger.add(call(usd=0.99))
    ledger.count_request()
    ledger.add(call(usd=0.02))
    with pytest.raises(BudgetExhausted, match=r"spent \$1\.0100 .* --max_llm_usd allows \$1"):
        ledger.count_request()
