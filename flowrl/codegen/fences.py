"""Fenced code blocks of a Markdown text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^(?P<indent>[ \t]*(?:>[ \t]?)*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")


@dataclass(frozen=True)
class Fence:
    """One fenced block.

    Attributes:
        label: the first word after the opening fence, lower case, without punctuation; "" when there is none.
        text: what stands between the fences, without the fence's own indentation.
        line: where the opening fence stands, counted from 1.
        closed: whether a closing fence follows.
    """

    label: str
    text: str
    line: int
    closed: bool


def find_fences(text: str) -> list[Fence]:
    """All fenced blocks of ``text``, in order."""
    fences: list[Fence] = []
    opening: re.Match[str] | None = None
    opened_at = 0
    content: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        match = _FENCE.match(line.rstrip())
        if opening is None:
            if match is not None:
                opening, opened_at, content = match, number, []
        elif match is not None and not match["info"] and match["mark"].startswith(opening["mark"]):
            fences.append(_fence(opening, content, opened_at, closed=True))
            opening = None
        elif match is not None and match["info"] and match["mark"] == opening["mark"] and _label(match):
            # A labelled fence inside a block: the block before it was left open.
            fences.append(_fence(opening, content, opened_at, closed=False))
            opening, opened_at, content = match, number, []
        else:
            content.append(line.removeprefix(opening["indent"]))
    if opening is not None:
        fences.append(_fence(opening, content, opened_at, closed=False))
    return fences


def _label(match: re.Match[str]) -> str:
    words = re.findall(r"[A-Za-z0-9+#]+", match["info"])
    return words[0].lower() if words else ""


def _fence(opening: re.Match[str], content: list[str], line: int, closed: bool) -> Fence:
    return Fence(_label(opening), "\n".join(content), line, closed)
