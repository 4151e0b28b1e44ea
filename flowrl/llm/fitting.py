"""Makes a prompt fit the model's context: cuts in a fixed order, one after the other, until it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowrl.errors import FatalProviderError
from flowrl.llm.context import CUTS
from flowrl.llm.interface import Message

_CHARACTERS_A_TOKEN = 3.0
_RESERVE = 1500
"""Tokens kept free for the feedback that a node adds when it asks again."""


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Tokens of a conversation, on the high side: tables and code have about three characters a token."""
    return sum(int(len(message.content) / _CHARACTERS_A_TOKEN) + 8 for message in messages)


def fit(
    compose: Callable[[int], tuple[list[Message], tuple[str, ...]]], limit: int | None
) -> tuple[list[Message], tuple[str, ...]]:
    """The least shortened conversation within ``limit`` tokens, and what was cut.

    Args:
        compose: level -> the conversation after that many cuts, and what these were.
        limit: tokens that the prompt may have; None when unknown, then nothing is cut.

    Raises:
        FatalProviderError: it does not fit even after all cuts.
    """
    for level in range(len(CUTS) + 1):
        messages, cuts = compose(level)
        if limit is None or estimate_tokens(messages) <= limit - _RESERVE:
            return messages, cuts
    raise FatalProviderError(
        f"The prompt needs about {estimate_tokens(messages) + _RESERVE} tokens even after all that may be "
        f"left out is left out; the model has room for {limit}. Use a model with a longer context, or a "
        "smaller --max_new_tokens."
    )
