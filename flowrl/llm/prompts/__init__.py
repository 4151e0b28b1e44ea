"""Prompts are files next to this one; :func:`render` fills them in, strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_VARIABLE = re.compile(r"\$db\.([a-z_]+)\$")


@cache
def load_prompt(name: str) -> str:
    """The text of ``<name>.md``, with its ``$db.variable$`` placeholders."""
    return (resources.files(__package__) / f"{name}.md").read_text(encoding="utf-8").strip()


def fill(text: str, variables: Mapping[str, str], name: str = "prompt") -> str:
    """``text`` with every placeholder replaced. Values are taken as they are, never filled in again.

    Raises:
        KeyError: a placeholder has no value, or a value no placeholder; names the prompt and the variable.
    """
    wanted = set(_VARIABLE.findall(text))
    for missing in sorted(wanted - set(variables)):
        raise KeyError(f"prompt {name!r} needs the variable {missing!r}, which was not given")
    for unused in sorted(set(variables) - wanted):
        raise KeyError(f"prompt {name!r} does not use the variable {unused!r}, which was given")
    return _VARIABLE.sub(lambda match: variables[match[1]], text)


def render(name: str, variables: Mapping[str, str]) -> str:
    """The prompt ``<name>.md`` filled in. Raises as :func:`fill` does."""
    return fill(load_prompt(name), variables, name)
