"""The user's own module ``llm_api`` on the path: ``get_query(model_name)`` gives the function that answers.

Two shapes of that function are understood:
``query(messages, shrink_idx, max_gen=...) -> (text, usage)`` with messages in OpenAI's form, and
``query(prompt, max_gen) -> text``. Both may be coroutine functions.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from flowrl.errors import FatalProviderError, ProviderError, TransientProviderError
from flowrl.llm.interface import CompletionSettings, Message, Reply, Usage
from flowrl.llm.providers.threads import in_daemon_thread

_DEFAULT_MAX_GEN = 4096
_PROGRAMMING_ERRORS = (TypeError, AttributeError, NameError, NotImplementedError, ImportError, SyntaxError)


def find_own_module(name: str, announce: Callable[[str], None]) -> OwnModuleModel | None:
    """The user's model of that name; None without the module, or when it says that it does not serve it.

    It says so with ``None`` or ``NotImplementedError``.

    Raises:
        FatalProviderError: the module is broken.
    """
    try:
        if importlib.util.find_spec("llm_api") is None:
            return None
        module = importlib.import_module("llm_api")
        where = str(getattr(module, "__file__", None) or "llm_api")
        if not callable(getattr(module, "get_query", None)):
            raise AttributeError("it has no function get_query(model_name)")
        query = module.get_query(name)
    except NotImplementedError:
        return None
    except Exception as error:
        raise FatalProviderError(
            f"Your module llm_api failed for the model {name!r}: {type(error).__name__}: {error}. Mend it or "
            "take it off the path."
        ) from error
    if query is None:
        return None
    if not callable(query):
        raise FatalProviderError(
            f"Your module llm_api ({where}) gave {query!r} for {name!r}, not a function."
        )
    announce(f"{name}: answered by your own module {where}.")
    return OwnModuleModel(name, where, query)


def takes_messages(query: Callable[..., Any]) -> bool:
    """Whether ``query`` is of the shape ``(messages, shrink_idx, max_gen=...)``."""
    parameters = list(inspect.signature(query).parameters.values())
    names = [parameter.name for parameter in parameters]
    return "shrink_idx" in names or (bool(names) and names[0] in ("messages", "msgs", "msg"))


class OwnModuleModel:
    """Answers with the user's own function.

    Args:
        name: the model's name.
        where: file of the module.
        query: the function.
    """

    def __init__(self, name: str, where: str, query: Callable[..., Any]) -> None:
        self.name = name
        self._where = where
        self._query = query
        self._takes_messages = takes_messages(query)

    async def start(self) -> None:
        """Nothing to start."""

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """One call of the function, in a thread of its own unless it is a coroutine function."""
        max_gen = settings.max_new_tokens or _DEFAULT_MAX_GEN
        if self._takes_messages:
            turns = [{"role": message.role, "content": message.content} for message in messages]
            arguments: tuple[Any, ...] = (turns, 1)
        else:
            arguments = (as_prompt(messages),)
        try:
            if inspect.iscoroutinefunction(self._query):
                result = await self._query(*arguments, max_gen=max_gen)
            else:
                result = await in_daemon_thread(lambda: self._query(*arguments, max_gen=max_gen))
        except ProviderError:
            raise
        except _PROGRAMMING_ERRORS as error:
            raise FatalProviderError(f"{self.name}: your {self._where} is wrong: {error!r}") from error
        except Exception as error:
            raise TransientProviderError(f"your {self._where} raised {error!r}.") from error
        text, usage = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        if not isinstance(text, str):
            raise FatalProviderError(
                f"{self.name}: your {self._where} returned {type(text).__name__}, not text."
            )
        if not text.strip():
            raise TransientProviderError("the answer is empty.")
        return Reply(text, read_usage(usage), self.name, "stop", 0.0)

    async def close(self) -> None:
        """Nothing to end."""


def as_prompt(messages: Sequence[Message]) -> str:
    """A conversation as one text, for models that take no roles."""
    if len(messages) == 1:
        return messages[0].content
    titles = {"system": "", "user": "## Question\n\n", "assistant": "## Answer\n\n"}
    return "\n\n".join(titles[message.role] + message.content for message in messages) + "\n\n## Answer\n\n"


def read_usage(usage: Any) -> Usage:
    """Tokens in any of the usual forms; unknown where there are none."""

    def number(*names: str) -> int | None:
        for name in names:
            value = usage.get(name) if isinstance(usage, dict) else getattr(usage, name, None)
            if isinstance(value, int):
                return value
        return None

    return Usage(
        number("prompt_tokens", "prompt", "input_tokens"),
        number("completion_tokens", "completion", "output_tokens"),
    )
