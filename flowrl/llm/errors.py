"""The two ways to run out, told apart: only the first lets a fallback model serve."""

from __future__ import annotations

from flowrl.errors import ExhaustedProviderError, RunStopped


class RetriesExhausted(ExhaustedProviderError):
    """A provider kept failing in ways that might have passed. The only failure that a fallback answers."""


class BudgetExhausted(ExhaustedProviderError, RunStopped):
    """``--max_llm_usd`` or ``--max_llm_calls`` is used up. The run can be resumed with another budget."""


class NothingToPropose(ExhaustedProviderError):
    """A provider that answers from files has nothing that can be learned now.

    ``waiting`` is true when skills in training may make more of it possible.
    """

    def __init__(self, message: str, waiting: bool = False) -> None:
        self.waiting = waiting
        super().__init__(message)
