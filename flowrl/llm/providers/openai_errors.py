"""What an OpenAI-compatible server's failures mean: worth trying again, or not, and what to do.

litellm's exceptions derive from these too.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

from flowrl.errors import FatalProviderError, ProviderError, TransientProviderError

_TRANSIENT_STATUS = (408, 409, 425, 429)
_TOO_LONG = (
    "context_length",
    "maximum context length",
    "context window",
    "too many tokens",
    "prompt is too long",
)
_REFUSED = ("content_policy", "content_filter", "content management policy", "safety system", "moderation")


def translate(
    error: Exception, name: str, key_variable: str | None, unknown_model: Callable[[], str]
) -> ProviderError:
    """The failure of one request as a transient or a fatal error.

    Args:
        error: what the client raised.
        name: the model's name as the user typed it.
        key_variable: variable that holds its key, for the message.
        unknown_model: words the advice for a model that the server does not know.
    """
    import openai

    if isinstance(error, openai.APITimeoutError):
        return TransientProviderError("the request timed out.")
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        detail = f": {type(cause).__name__}" if cause is not None else ""
        return TransientProviderError(f"the connection failed{detail}.")
    if isinstance(error, openai.APIResponseValidationError):
        return TransientProviderError("the answer is not what the API promises.")
    if isinstance(error, openai.APIStatusError):
        return _from_status(error, name, key_variable, unknown_model)
    if isinstance(error, ValueError):
        return TransientProviderError("the answer is not valid JSON. If this goes on, check the base URL.")
    if isinstance(error, openai.OpenAIError):
        return FatalProviderError(f"{name}: {_one_line(str(error))}")
    return TransientProviderError(f"{type(error).__name__}: {_one_line(str(error))}")


def _from_status(
    error: Exception, name: str, key_variable: str | None, unknown_model: Callable[[], str]
) -> ProviderError:
    status = int(getattr(error, "status_code", 0) or 0)
    code = f"{getattr(error, 'code', None) or ''} {getattr(error, 'type', None) or ''}"
    message = _one_line(str(error))
    everything = f"{code} {message}".lower()
    if status == 429 and "insufficient_quota" in everything:
        return FatalProviderError(f"{name}: the account has no quota left. Add credit, or use another model.")
    if status in _TRANSIENT_STATUS or status >= 500:
        return TransientProviderError(f"the server answered {status}: {message}", retry_after(error))
    if status in (401, 403):
        variable = f" Check {key_variable}." if key_variable else ""
        return FatalProviderError(f"{name}: the server refused the key ({status}).{variable}")
    if status == 404:
        return FatalProviderError(
            f"{name}: the server does not know this model (404). {unknown_model()}".rstrip()
        )
    if any(word in everything for word in _TOO_LONG):
        return FatalProviderError(
            f"{name}: the prompt is longer than the model's context. Give the model's context_tokens in your "
            f"--models_file so that prompts are cut to fit. ({message})"
        )
    if any(word in everything for word in _REFUSED):
        return FatalProviderError(f"{name}: the provider refused the content of the prompt. ({message})")
    return FatalProviderError(f"{name}: the server refused the request ({status}): {message}")


def retry_after(error: Exception) -> float | None:
    """Seconds that the server asks to wait (``Retry-After``, as seconds or as a date), if it does."""
    # litellm keeps them beside a made-up response that has none.
    headers = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", None
    )
    if headers is None:
        return None
    try:
        if headers.get("retry-after-ms"):
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        try:
            return max(0.0, float(value))
        except ValueError:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _one_line(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + " ..."
