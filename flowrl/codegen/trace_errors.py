"""Runs in the child: what JAX says about skill code, in words that help to mend it."""

from __future__ import annotations

import jax

from flowrl.codegen.export import SkillCodeError

MAX_MESSAGE_CHARS = 300

_WHERE = "Use jnp.where(cond, a, b), and & | ~ with parentheses instead of and, or, not."
_CAST = "Convert flags first: jnp.float32(now.x) - jnp.float32(prev.x), or combine them with & | ~."


def explain(error: BaseException, line: int | None) -> dict[str, str]:
    """``{"reason", "fix"}`` for whatever tracing skill code raised.

    Args:
        error: the exception.
        line: where in the skill's source, if known.
    """
    reason, fix = _reason_and_fix(error)
    at = f"line {line}: " if line is not None else ""
    return {"reason": at + reason, "fix": fix}


def _reason_and_fix(error: BaseException) -> tuple[str, str]:
    match error:
        case SkillCodeError():
            return str(error), error.fix
        case jax.errors.TracerBoolConversionError():
            return "a condition depends on values of the game.", _WHERE
        case jax.errors.TracerIntegerConversionError() | jax.errors.TracerArrayConversionError():
            return (
                "a value of the game is used where a fixed number is needed.",
                "Use a literal number there.",
            )
        case jax.errors.ConcretizationTypeError():
            return "a size or a shape depends on values of the game.", _WHERE
        case RecursionError():
            return "the functions call each other without end.", "Compute the result directly."
        case MemoryError():
            return "tracing ran out of memory.", "Work on single numbers, not on arrays."
        case ZeroDivisionError():
            return "a constant is divided by zero.", "Mend the constant."
        case OverflowError():
            return "a number is too large.", "Stay within the range of int32 and float32."
        case NameError():
            return f"{_message(error)}.", "Use snapshots, n, jnp and the world's enums only."
    message = _message(error)
    if "dtype bool" in message:
        return f"arithmetic on a flag: {message}.", _CAST
    if "unsized object" in message or "0-d" in message:
        return "a single number stands where a list of numbers is needed.", "Write a list: jnp.stack([a, b])."
    return f"{type(error).__name__}: {message}.", "Mend the expression."


def _message(error: BaseException) -> str:
    """The first line of the message, shortened."""
    try:
        text = str(error)
    except BaseException:
        return "no message"
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    return (lines[0] if lines else "no message")[:MAX_MESSAGE_CHARS].rstrip(".")
