"""Errors that say whose fault it is: the user's, the provider's, the generated code's, or ours.

Anything that is not a :class:`FlowrlError` is a bug in flowrl and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FlowrlError(Exception):
    """Base of every error that flowrl raises on purpose.

    ``exit_code`` is what a command ends with when the error reaches the top: 2 for bad input, 3 for a
    run that stopped early and can be resumed.
    """

    exit_code = 2


class UserError(FlowrlError):
    """Bad input: a flag, a file, a name. The message names the value, what was expected and the fix."""


class GraphError(UserError):
    """Something on disk under ``--graph-path`` cannot be used. The message names the file and the fix."""


class RunStopped(FlowrlError):
    """The run ended early, cleanly; the graph on disk can be resumed."""

    exit_code = 3


class ProposalRefused(FlowrlError):
    """A model's proposal is wrong. The only error whose text goes back to the model.

    Args:
        stage: where it was refused: ``parse``, ``static``, ``trace``, ``probe``, ``plan``,
            ``prepare``, ``train``, ``validate`` or ``refine``.
        reason: what is wrong, naming the offending value.
        fix: what to write instead.
    """

    exit_code = 1

    def __init__(self, stage: str, reason: str, fix: str = "") -> None:
        self.stage = stage
        self.reason = reason
        self.fix = fix
        super().__init__(f"[{stage}] {reason}" + (f" {fix}" if fix else ""))


class ProviderError(FlowrlError):
    """A language-model provider failed. Subclasses say whether trying again can help."""


class TransientProviderError(ProviderError):
    """Trying again later may work: rate limits, server errors, dropped connections, time-outs.

    ``retry_after_s`` is the provider's own advice in seconds, when it gave any.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class FatalProviderError(ProviderError):
    """Trying again cannot work: bad key, unknown model, refused content, context too long."""


class ExhaustedProviderError(ProviderError):
    """Retries, the rate limit or the budget are used up. The message says which."""

    exit_code = 3


def nearest(name: str, choices: Iterable[str]) -> str:
    """A clause that offers the valid name closest to ``name``: ``"Did you mean 'x'?"`` or the choices.

    >>> nearest("inventory:wod", ["inventory:wood", "inventory:stone"])
    "Did you mean 'inventory:wood'?"
    """
    known = sorted(set(choices))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    shown = ", ".join(repr(choice) for choice in known[:12])
    more = f", ... ({len(known)} in all)" if len(known) > 12 else ""
    return f"Choose one of {shown}{more}."
