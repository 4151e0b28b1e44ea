"""A model's reply, as text, becomes a :class:`SkillProposal`. Nothing is executed or even compiled here."""

from __future__ import annotations

import json
import re
import textwrap
import unicodedata
from typing import Any

from flowrl.codegen.fences import Fence, find_fences
from flowrl.errors import ProposalRefused, nearest
from flowrl.skills.facts import Vocabulary
from flowrl.skills.operator import parse_operator
from flowrl.skills.proposal import SkillProposal

MAX_REPLY_CHARS = 100_000
MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 1_000
MAX_STEPS = 10_000
MAX_REASON_CHARS = 600

REQUIRED_KEYS = ("name", "description", "requires", "consumes", "gains")
OPTIONAL_KEYS = ("max_steps",)

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*", re.ASCII)
_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)
_FORMAT = "Reply with one ```json block (the operator) and one ```python block (is_done and reward)."

_COUNTS = "Write every count as an int or as an expression such as '2*n + 1'."


class _BadJson(ValueError):
    """A JSON block that cannot be read; ``fix`` says how to mend it."""

    def __init__(self, reason: str, fix: str) -> None:
        self.fix = fix
        super().__init__(reason)


def parse_reply(text: str, vocabulary: Vocabulary) -> SkillProposal:
    """Reads one reply: prose with one ```json and one ```python block (docs/ARCHITECTURE.md, "A reply").

    More blocks are fine as long as only one pair is complete. Line ends, a byte-order mark, unlabelled
    fences and indented fences are forgiven; anything about the content that is missing, unknown, doubled
    or of the wrong type is refused.

    Args:
        text: the reply as it came.
        vocabulary: the world's facts.

    Raises:
        ProposalRefused: stage ``parse``, with the offending value and what to write instead.
    """
    try:
        return _parse(text, vocabulary)
    except ProposalRefused as refusal:
        reason = _shorten(refusal.reason, MAX_REASON_CHARS)
        fix = _shorten(refusal.fix or _COUNTS, MAX_REASON_CHARS)
        raise ProposalRefused("parse", reason, fix) from None


def _parse(text: str, vocabulary: Vocabulary) -> SkillProposal:
    if len(text) > MAX_REPLY_CHARS:
        raise ProposalRefused(
            "parse", f"The reply has {len(text)} characters.", f"Stay below {MAX_REPLY_CHARS}. {_FORMAT}"
        )
    reply = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not reply.strip():
        raise ProposalRefused("parse", "The reply is empty.", _FORMAT)
    if "\x00" in reply:
        raise ProposalRefused("parse", "The reply contains null bytes.", "Write plain text.")
    if any(unicodedata.category(char) == "Cs" for char in reply):
        raise ProposalRefused(
            "parse", "The reply contains broken Unicode (lone surrogates).", "Write plain text."
        )
    fences = find_fences(reply)
    data = _choose_json([fence for fence in fences if _is_json(fence)])
    source = _choose_python([fence for fence in fences if _is_python(fence)])
    _check_keys(data)
    operator = parse_operator(data, vocabulary)
    return SkillProposal(
        name=_name(data["name"]),
        description=_description(data["description"]),
        operator=operator,
        source=source,
        max_steps=_max_steps(data.get("max_steps")),
        reply=text,
    )


def _is_json(fence: Fence) -> bool:
    if fence.label:
        return fence.label in ("json", "json5", "jsonc")
    return fence.text.lstrip().startswith("{")


def _is_python(fence: Fence) -> bool:
    if fence.label:
        return fence.label in ("python", "py", "python3")
    return any(name in ("is_done", "reward") for name in _DEFINITION.findall(fence.text))


def _unclosed(fence: Fence) -> ProposalRefused:
    return ProposalRefused(
        "parse",
        f"The block that opens at line {fence.line} of the reply is never closed.",
        "End every block with a line that holds ``` alone.",
    )


def _choose_json(blocks: list[Fence]) -> dict[str, Any]:
    """The one complete operator among the JSON blocks; with none complete, the only block as it is."""
    if not blocks:
        raise ProposalRefused("parse", "There is no ```json block.", _FORMAT)
    read: list[dict[str, Any] | _BadJson] = []
    for block in blocks:
        if not block.closed:
            raise _unclosed(block)
        try:
            read.append(_load_json(block))
        except _BadJson as error:
            read.append(error)
    complete = [item for item in read if isinstance(item, dict) and all(key in item for key in REQUIRED_KEYS)]
    if len(complete) == 1 or (complete and all(item == complete[0] for item in complete)):
        return complete[0]
    if complete:
        raise ProposalRefused(
            "parse", f"The reply holds {len(complete)} different operators.", f"Propose one skill. {_FORMAT}"
        )
    last = read[-1]
    if isinstance(last, _BadJson):
        raise ProposalRefused("parse", str(last), last.fix)
    return last


def _choose_python(blocks: list[Fence]) -> str:
    """The one block that defines both functions."""
    if not blocks:
        raise ProposalRefused("parse", "There is no ```python block.", _FORMAT)
    sources: list[str] = []
    for block in blocks:
        if not block.closed:
            raise _unclosed(block)
        names = _DEFINITION.findall(block.text)
        if "is_done" in names and "reward" in names:
            sources.append(textwrap.dedent(block.text.expandtabs(4)).strip("\n") + "\n")
    if sources and all(source == sources[0] for source in sources):
        return sources[0]
    if sources:
        raise ProposalRefused(
            "parse",
            f"{len(sources)} different ```python blocks define is_done and reward.",
            f"Keep the one that you mean. {_FORMAT}",
        )
    defined = [name for block in blocks for name in _DEFINITION.findall(block.text)]
    missing = [name for name in ("is_done", "reward") if name not in defined]
    if not missing:
        raise ProposalRefused(
            "parse", "is_done and reward are in different blocks.", "Put both into one ```python block."
        )
    fix = f"Define {missing[0]}(start, prev, now, n)."
    strangers = [name for name in defined if name not in ("is_done", "reward")]
    if strangers:
        fix += f" Found {strangers[0]!r}. {nearest(strangers[0], missing)}"
    raise ProposalRefused("parse", f"The ```python block does not define {' or '.join(missing)}.", fix)


def _load_json(block: Fence) -> dict[str, Any]:
    def no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _BadJson(
                    f"The ```json block has the key {key!r} twice in one object.", "Keep one of them."
                )
            found[key] = value
        return found

    def no_constant(name: str) -> Any:
        raise _BadJson(f"The ```json block holds {name}, which is not a count.", "Write an int or '2*n + 1'.")

    try:
        data = json.loads(block.text, object_pairs_hook=no_doubles, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        lines = block.text.splitlines() or [""]
        shown = lines[min(error.lineno, len(lines)) - 1].strip()
        raise _BadJson(
            f"The ```json block is not valid JSON at its line {error.lineno} ({_shorten(shown, 80)!r}): "
            f"{error.msg}.",
            _json_fix(block.text, error),
        ) from None
    except RecursionError:
        raise _BadJson("The ```json block is nested too deeply.", "Counts are ints or texts.") from None
    except _BadJson:
        raise
    except ValueError:
        raise _BadJson("The ```json block holds a number that is too long.", "Write a small int.") from None
    if not isinstance(data, dict):
        raise _BadJson(f"The ```json block holds a {type(data).__name__}, not an object.", "Write { ... }.")
    return data


def _json_fix(text: str, error: json.JSONDecodeError) -> str:
    before = text[: error.pos].rstrip()
    rest = text[error.pos :].lstrip()
    if re.match(r".?\s*,\s*[}\]]", text[max(0, len(before) - 1) :], re.DOTALL):
        return "Remove the trailing comma."
    if rest.startswith("'"):
        return "Use double quotes."
    if rest.startswith(("//", "#", "/*")):
        return "JSON has no comments: put remarks outside the block."
    if rest.startswith(("True", "False", "None")):
        return "JSON writes true, false and null; counts are ints."
    if not rest:
        return "The object is cut off: close every bracket."
    if error.msg.startswith("Expecting ',' delimiter"):
        return "A comma or a closing bracket is missing before this place."
    if error.msg.startswith("Extra data"):
        return "Write one object only."
    return "Write one JSON object with double-quoted keys."


def _check_keys(data: dict[str, Any]) -> None:
    allowed = (*REQUIRED_KEYS, *OPTIONAL_KEYS)
    for key in data:
        if key not in allowed:
            raise ProposalRefused(
                "parse",
                f"The ```json block has the unknown key {_shorten(key, 60)!r}.",
                f"{nearest(key, [known for known in allowed if known not in data] or allowed)} "
                f"The keys are {', '.join(allowed)}.",
            )
    for key in REQUIRED_KEYS:
        if key not in data:
            empty = key in ("requires", "consumes", "gains")
            raise ProposalRefused(
                "parse",
                f"The ```json block lacks the key {key!r}.",
                f'Write "{key}": {{}} when there is none.' if empty else f'Write "{key}": "...".',
            )


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ProposalRefused("parse", f"'name' is {_shorten(repr(value), 60)}.", "Write a snake_case text.")
    if len(value) > MAX_NAME_CHARS:
        raise ProposalRefused(
            "parse", f"'name' has {len(value)} characters.", f"Use at most {MAX_NAME_CHARS}."
        )
    if not _NAME.fullmatch(value):
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value)
        guess = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
        advice = f"Did you mean {guess!r}?" if _NAME.fullmatch(guess) else "For example 'collect_wood'."
        raise ProposalRefused("parse", f"'name' is {value!r}, not snake_case.", advice)
    return value


def _description(value: Any) -> str:
    if not isinstance(value, str):
        raise ProposalRefused("parse", f"'description' is {_shorten(repr(value), 60)}.", "Write a sentence.")
    text = " ".join(value.split())
    if not text:
        raise ProposalRefused("parse", "'description' is empty.", "Write a sentence.")
    if len(text) > MAX_DESCRIPTION_CHARS:
        raise ProposalRefused(
            "parse", f"'description' has {len(text)} characters.", f"Use at most {MAX_DESCRIPTION_CHARS}."
        )
    # It is printed to terminals and written to files: escape sequences and surrogates have no place in it.
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ProposalRefused("parse", "'description' holds control characters.", "Write plain text.")
    return text


def _max_steps(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_STEPS:
        raise ProposalRefused(
            "parse",
            f"'max_steps' is {_shorten(repr(value), 60)}.",
            f"Write an int from 1 to {MAX_STEPS}, or leave it out.",
        )
    return value


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
