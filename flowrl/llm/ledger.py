"""What language models cost: tokens and dollars by call, role, model, skill and run.

An unknown price stays unknown: it is counted as such and never added as 0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowrl.llm.errors import BudgetExhausted
from flowrl.llm.interface import Usage

if TYPE_CHECKING:  # ``status`` reads ledgers, and must not wait for pydantic
    from flowrl.llm.registry import Price


@dataclass(frozen=True)
class Call:
    """One call, as the ledger and the files under ``llm/`` know it.

    Attributes:
        id: number of its file under ``llm/``, or a running number when nothing is recorded.
        time: when it ended, ISO 8601, UTC.
        run: identifies the process that made it.
        role: what it was for: proposer, coder, repairer, analyst.
        node: prompt-graph node.
        skill: the skill it was about; empty when it was to choose one.
        proposal: ties together the calls of one proposal.
        model: name of the model that answered (or failed last).
        usage: tokens; zeros and None as the provider said.
        usd: dollars; None when the price or the tokens are unknown.
        latency_s: of the attempt that succeeded.
        requests: attempts sent, over all models tried.
        failed: whether no model answered.
    """

    id: str
    time: str
    run: str
    role: str
    node: str
    skill: str
    proposal: str
    model: str
    usage: Usage
    usd: float | None
    latency_s: float
    requests: int
    failed: bool = False


@dataclass(frozen=True)
class Total:
    """A sum over calls.

    ``usd`` is the known part; ``unknown_calls`` counts the calls whose cost is not in it. Likewise for the
    tokens, with ``uncounted_calls``. ``failed_requests`` are in neither: most providers charge nothing for
    them, none says so in its reply.
    """

    calls: int = 0
    answered: int = 0
    requests: int = 0
    failed_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unknown_calls: int = 0
    uncounted_calls: int = 0

    def plus(self, call: Call) -> Total:
        """This total and one more call."""
        uncounted = call.usage.prompt_tokens is None or call.usage.completion_tokens is None
        return Total(
            calls=self.calls + 1,
            answered=self.answered + (not call.failed),
            requests=self.requests + call.requests,
            failed_requests=self.failed_requests + call.requests - (0 if call.failed else 1),
            prompt_tokens=self.prompt_tokens + (call.usage.prompt_tokens or 0),
            completion_tokens=self.completion_tokens + (call.usage.completion_tokens or 0),
            usd=self.usd + (call.usd or 0.0),
            unknown_calls=self.unknown_calls + (call.usd is None and not call.failed),
            uncounted_calls=self.uncounted_calls + (uncounted and not call.failed),
        )

    @property
    def cost(self) -> str:
        """For people: ``$0.0123``, ``free``, ``no answer``, ``unknown``, or how much of it is unknown."""
        if not self.answered:
            return "no answer"
        if self.unknown_calls == self.answered:
            return "unknown"
        if not self.unknown_calls:
            return "free" if self.usd == 0 else "< $0.0001" if self.usd < 0.0001 else f"${self.usd:.4f}"
        plural = "s" if self.unknown_calls > 1 else ""
        return f"${self.usd:.4f} and {self.unknown_calls} call{plural} of unknown cost"

    def to_json(self) -> dict[str, Any]:
        """``usd`` and tokens are null when any part of them is unknown; ``..._known`` is the known part."""
        counted = not self.uncounted_calls
        return {
            "calls": self.calls,
            "answered": self.answered,
            "requests": self.requests,
            "failed_requests": self.failed_requests,
            "prompt_tokens": self.prompt_tokens if counted else None,
            "prompt_tokens_known": self.prompt_tokens,
            "completion_tokens": self.completion_tokens if counted else None,
            "completion_tokens_known": self.completion_tokens,
            "usd": None if self.unknown_calls else round(self.usd, 6),
            "usd_known": round(self.usd, 6),
            "cost": self.cost,
        }


def dollars(usage: Usage, price: Price | None) -> float | None:
    """Cost of one call; None when price or tokens are unknown."""
    if price is None:
        return None
    if price.prompt == price.completion == 0:
        return 0.0
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return (usage.prompt_tokens * price.prompt + usage.completion_tokens * price.completion) / 1e6


def summarize(calls: Iterable[Call], by: str | None = None) -> dict[str, Total]:
    """Totals by ``role``, ``model``, ``skill``, ``run`` or ``node``; by nothing: under the one key ``all``.

    By skill, the call that chose a skill counts for the skill that it chose.
    """
    calls = list(calls)
    chosen = {call.proposal: call.skill for call in calls if call.proposal and call.skill}
    key: Callable[[Call], str]
    if by is None:
        key = _everything
    elif by == "skill":
        key = lambda call: call.skill or chosen.get(call.proposal, "")  # noqa: E731
    else:
        key = lambda call: str(getattr(call, by))  # noqa: E731
    totals: dict[str, Total] = {}
    for call in calls:
        totals[key(call)] = totals.get(key(call), Total()).plus(call)
    return totals


def _everything(_: Call) -> str:
    return "all"


class Ledger:
    """This run's calls, and its budget.

    Args:
        max_usd: dollars that this run may spend; None for no limit.
        max_calls: requests that this run may send, failed ones included; None for no limit.
    """

    def __init__(self, max_usd: float | None = None, max_calls: int | None = None) -> None:
        self._max_usd = max_usd
        self._max_calls = max_calls
        self._requests = 0
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls of this run, in order."""
        with self._lock:
            return tuple(self._calls)

    def total(self) -> Total:
        """The sum over this run."""
        return summarize(self.calls).get("all", Total())

    def by(self, what: str) -> Mapping[str, Total]:
        """Sums of this run by ``role``, ``model``, ``skill``, ``run`` or ``node``."""
        return summarize(self.calls, what)

    def count_request(self) -> None:
        """Counts one request that is about to be sent.

        Raises:
            BudgetExhausted: the budget is used up; nothing may be sent.
        """
        spent = self.total().usd
        with self._lock:
            if self._max_calls is not None and self._requests >= self._max_calls:
                raise BudgetExhausted(
                    f"This run has sent {self._requests} requests to language models, the limit set by "
                    "--max_llm_calls. The graph is on disk: run the command again to go on."
                )
            if self._max_usd is not None and spent >= self._max_usd:
                raise BudgetExhausted(
                    f"This run has spent ${spent:.4f} on models; --max_llm_usd allows ${self._max_usd:g}. "
                    "The graph is on disk: run the command again to go on, with a cheaper model if need be."
                )
            self._requests += 1

    def add(self, call: Call) -> None:
        """Enters a finished call."""
        with self._lock:
            self._calls.append(call)
