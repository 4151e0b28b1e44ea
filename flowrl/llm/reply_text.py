"""The reply format: a fenced ``json`` block and a fenced ``python`` block, with prose around them.

Reads and writes the text only. Whether an operator or a function is any good is for ``codegen`` to say.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_HEAD = ("name", "description")


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """All fenced blocks as ``(language, body)``, in order: ``json``, ``python`` or another.

    A block without a language goes by what is in it.
    """
    blocks = []
    for label, indented in _FENCE.findall(text.replace("\r\n", "\n")):
        body, language = textwrap.dedent(indented), label.lower()
        if not language:
            language = "json" if body.lstrip().startswith("{") else "python" if "def " in body else ""
        blocks.append(("python" if language in ("py", "python3") else language, body))
    return blocks


def find_json(text: str) -> dict[str, Any]:
    """The one JSON object in ``text``: the last fenced ``json`` block, or the whole text.

    Raises:
        ValueError: there is none, or it is no object; the message can go back to a model.
    """
    blocks = [body for language, body in fenced_blocks(text) if language == "json"]
    candidate = blocks[-1] if blocks else text.strip()
    if not blocks and not candidate.startswith("{"):
        raise ValueError("There is no ```json block in your reply.")
    try:
        value = json.loads(candidate)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The json block is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"The json block holds a {type(value).__name__}, not an object in braces.")
    return value


def find_python(text: str) -> str:
    """The one Python block in ``text``: the last fenced ``python`` block.

    Raises:
        ValueError: there is none, or it does not define both functions; the message can go back to a model.
    """
    blocks = [body for language, body in fenced_blocks(text) if language == "python"]
    if not blocks:
        raise ValueError("There is no ```python block in your reply.")
    for function in ("is_done", "reward"):
        if not re.search(rf"^def {function}\s*\(", blocks[-1], re.MULTILINE):
            raise ValueError(f"The python block does not define {function}(start, prev, now, n).")
    return blocks[-1].strip("\n")


def skill_part(operator: Mapping[str, Any]) -> str:
    """The fenced name and description: what the ``skill`` node writes."""
    return _fence("json", json.dumps({key: operator[key] for key in _HEAD if key in operator}, indent=1))


def operator_part(operator: Mapping[str, Any]) -> str:
    """The fenced rest of the JSON block: what the ``operator`` node writes."""
    return _fence("json", _dump({key: value for key, value in operator.items() if key not in _HEAD}))


def code_part(source: str) -> str:
    """The fenced functions: what the ``code`` node writes."""
    return _fence("python", source.strip("\n"))


def whole_reply(operator: Mapping[str, Any], source: str) -> str:
    """A whole reply, from its parts."""
    head = {key: operator[key] for key in _HEAD if key in operator}
    rest = {key: value for key, value in operator.items() if key not in _HEAD}
    return f"{_fence('json', _dump({**head, **rest}))}\n{code_part(source)}\n"


def _dump(value: Mapping[str, Any]) -> str:
    """JSON with one line a key: easy to read, and to compare in a diff."""
    lines = [f" {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _fence(language: str, body: str) -> str:
    return f"```{language}\n{body}\n```"
