"""What language models cost, in words and as data: of one skill, and of all calls recorded for a graph.

What is unknown stays unknown: it is never shown as 0. What is free (the playbook, a replay) is said to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowrl.errors import GraphError
from flowrl.llm.ledger import Call, Total, summarize
from flowrl.llm.recorder import recorded_calls


@dataclass(frozen=True)
class Spending:
    """All calls that were recorded for a graph, by all runs, what was lost or refused included.

    Attributes:
        calls: in order.
        problem: why they could not be read; then ``calls`` is empty and nothing is known.
    """

    calls: Sequence[Call] = field(default=())
    problem: str = ""

    @property
    def total(self) -> Total:
        """The sum."""
        return summarize(self.calls).get("all", Total())

    def to_json(self) -> dict[str, Any]:
        """As ``status --json`` shows it."""
        if self.problem:
            return {"total": None, "problem": self.problem}
        by = {what: summarize(self.calls, what) for what in ("model", "role", "skill", "run")}
        return {
            "total": self.total.to_json(),
            **{
                f"by_{what}": {key: total.to_json() for key, total in totals.items()}
                for what, totals in by.items()
            },
        }


def read_spending(folder: Path) -> Spending:
    """The calls under ``<graph path>/llm/``. Where a file does not parse, the sum is unknown and says so."""
    try:
        return Spending(recorded_calls(folder))
    except GraphError as error:
        return Spending(problem=str(error))


def cost_words(total: Mapping[str, Any]) -> str:
    """The cost in a total, as :attr:`Total.cost` words it."""
    return str(total.get("cost", "unknown"))


def token_words(total: Mapping[str, Any]) -> str:
    """The tokens in a total: ``1,200 + 300 tokens`` (in and out); ``tokens unknown``."""
    asked, wrote = total.get("prompt_tokens"), total.get("completion_tokens")
    return "tokens unknown" if asked is None or wrote is None else f"{asked:,} + {wrote:,} tokens"


def call_words(total: Mapping[str, Any]) -> str:
    """``3 calls``, with the requests that failed, if any did."""
    calls, failed = total.get("calls", 0), total.get("failed_requests", 0)
    words = "1 call" if calls == 1 else f"{calls:,} calls"
    return f"{words} ({failed:,} failed request{'s' * (failed != 1)})" if failed else words
