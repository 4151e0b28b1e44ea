"""What a node's answer must look like before the next node may build on it.

Only the form is checked: names, blocks, sections. Whether the content is right is for the checks behind the
proposal stage, whose refusals go to the repairer.
"""

from __future__ import annotations

import re
from typing import Any

from agentkit import AfterQueryError
from agentkit.after_query import BaseAfterQuery

from flowrl.llm.reply_text import find_json, find_python

_NAME = re.compile(r"(?=.{1,64}$)[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_SECTIONS = ("requires", "consumes", "gains")


class SkillChoice(BaseAfterQuery):
    """A new name and a description. ``value`` is ``{"name", "description"}``."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        super().__init__()
        self._taken = taken
        self.value: dict[str, Any] = {}

    def post_process(self) -> None:
        """Accepts the node's answer or says what is wrong."""
        data = _json(self.node.result)
        name, description = data.get("name"), data.get("description")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _wrong(f"The name {name!r} is not snake_case: small letters, digits and underscores.")
        if name in self._taken:
            raise _wrong(f"The name {name!r} is taken. Choose another skill, with another name.")
        if not isinstance(description, str) or not description.strip():
            raise _wrong("There is no description.")
        self.value = {"name": name, "description": description.strip()}


class OperatorSections(BaseAfterQuery):
    """The sections of an operator. ``value`` is the object as written, without name and description."""

    def __init__(self) -> None:
        super().__init__()
        self.value: dict[str, Any] = {}

    def post_process(self) -> None:
        """Accepts the node's answer or says what is wrong."""
        data = _json(self.node.result)
        for section in _SECTIONS:
            if not isinstance(data.get(section, {}), dict):
                raise _wrong(f"{section!r} is not an object in braces.")
        if not data.get("gains"):
            raise _wrong("'gains' is missing or empty: a skill must gain at least one fact.")
        rest = {key: value for key, value in data.items() if key not in (*_SECTIONS, "name", "description")}
        self.value = {**{section: data.get(section, {}) for section in _SECTIONS}, **rest}


class Functions(BaseAfterQuery):
    """The two functions. ``value`` is the source."""

    def __init__(self) -> None:
        super().__init__()
        self.value = ""

    def post_process(self) -> None:
        """Accepts the node's answer or says what is wrong."""
        self.value = _python(self.node.result)


class MendedReply(BaseAfterQuery):
    """A whole reply, with both blocks, that differs from the refused one."""

    def __init__(self, refused: str) -> None:
        super().__init__()
        self._refused = refused

    def post_process(self) -> None:
        """Accepts the node's answer or says what is wrong."""
        operator, source = _json(self.node.result), _python(self.node.result)
        try:
            unchanged = (operator, source) == (find_json(self._refused), find_python(self._refused))
        except ValueError:
            unchanged = False
        if unchanged:
            raise _wrong("Nothing has changed: this is the proposal that was refused.")


def _json(text: str) -> dict[str, Any]:
    if not text.strip():
        raise _wrong("Your reply is empty.")
    try:
        return find_json(text)
    except ValueError as error:
        raise _wrong(str(error)) from None


def _python(text: str) -> str:
    if not text.strip():
        raise _wrong("Your reply is empty.")
    try:
        return find_python(text)
    except ValueError as error:
        raise _wrong(str(error)) from None


def _wrong(error: str) -> AfterQueryError:
    return AfterQueryError("invalid answer", error)
