"""Operators in a file of their own: plan without a world, a graph or a model.

::

    {"capacity": 9,
     "kinds": {"inventory:pickaxe": "tier"},
     "initial": {"inventory:wood": 1},
     "skills": {"place_table": {"requires": {}, "consumes": {"inventory:wood": 2},
                                "gains": {"near:crafting_table": 1}}}}

Only ``skills`` must be there. ``capacity`` bounds every amount (COUNT and VITAL facts); left out, nothing
does.
The facts are those that occur; their kinds come from their namespaces, or from ``kinds``, which goes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flowrl.errors import ProposalRefused, UserError, nearest
from flowrl.skills.facts import Fact, FactKind, Vocabulary, kind_from_namespace
from flowrl.skills.operator import Operator, parse_operator

_KEYS = ("capacity", "initial", "kinds", "skills")
_SECTIONS = ("requires", "consumes", "gains")


@dataclass(frozen=True)
class OperatorsFile:
    """What an operators file says.

    Attributes:
        vocabulary: every fact that occurs in it.
        initial: the facts at the start; what is not named is 0.
        operators: the skills by name, in the order of the file.
    """

    vocabulary: Vocabulary
    initial: Mapping[str, int]
    operators: Mapping[str, Operator]


def load_operators_file(path: str | Path) -> OperatorsFile:
    """Reads an operators file.

    Raises:
        UserError: naming the file, the skill, the field, the value and the fix.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # an editor may have put a mark in front
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file. Give the path of an operators file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}. Give a JSON file.") from None
    return parse_operators_file(text, str(path))


def parse_operators_file(text: str, source: str) -> OperatorsFile:
    """Reads the text of an operators file; ``source`` names it in messages. Raises like the loader."""
    data = _parse_json(text, source)
    _check_keys(data, _KEYS, source)
    for key in ("kinds", "initial", "skills"):
        _check_object(data.get(key, {}), f"{source}: {key!r}")
    skills = data.get("skills", {})
    if not skills:
        raise UserError(
            f"{source}: 'skills' is {'empty' if 'skills' in data else 'missing'}. List some skills."
        )
    for name, sections in skills.items():
        where = f"{source}: skill {name!r}"
        _check_object(sections, where)
        _check_keys(sections, _SECTIONS, where)
        for section in _SECTIONS:
            _check_object(sections.get(section, {}), f"{where}: {section!r}")
    vocabulary = _vocabulary(data, source)
    initial = _initial(data.get("initial", {}), vocabulary, source)
    operators: dict[str, Operator] = {}
    for name, sections in skills.items():
        try:
            operators[name] = parse_operator(sections, vocabulary)
        except ProposalRefused as error:
            raise UserError(f"{source}: skill {name!r}: {error.reason} {error.fix}".rstrip()) from None
    return OperatorsFile(vocabulary, MappingProxyType(initial), MappingProxyType(operators))


def _parse_json(text: str, source: str) -> Mapping[str, Any]:
    def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UserError(f"{source}: the name {key!r} occurs twice in one object. Keep one of them.")
            found[key] = value
        return found

    try:
        data = json.loads(text, object_pairs_hook=without_doubles)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{source}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}. Mend it there."
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{source}: not JSON that can be read: {error}. Write a smaller number or nest less."
        ) from None
    _check_object(data, source)
    checked: Mapping[str, Any] = data
    return checked


def _check_object(value: object, where: str) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {value!r}, not an object. Write {{...}}.")


def _check_keys(data: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in data:
        if key not in known:
            raise UserError(f"{where}: unknown field {key!r}. {nearest(key, known)}")


def _vocabulary(data: Mapping[str, Any], source: str) -> Vocabulary:
    """All facts that occur, with their kinds and capacities."""
    capacity = data.get("capacity")
    if capacity is not None and (isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1):
        raise UserError(f"{source}: 'capacity' is {capacity!r}. Write a whole number of at least 1.")
    places: dict[str, str] = dict.fromkeys(data.get("initial", {}), "'initial'")
    for skill, sections in data["skills"].items():
        for section in _SECTIONS:
            for name in sections.get(section, {}):
                places.setdefault(name, f"skill {skill!r}: {section!r}")
    kinds: Mapping[str, Any] = data.get("kinds", {})
    for name in kinds:
        if name not in places:
            raise UserError(
                f"{source}: 'kinds' names {name!r}, which occurs nowhere. {nearest(name, places)}"
            )
    facts = []
    for name, where in places.items():
        kind = _kind(name, kinds, where, source)
        facts.append(Fact(name, kind, capacity if kind in (FactKind.COUNT, FactKind.VITAL) else None))
    return Vocabulary(facts)


def _kind(name: str, kinds: Mapping[str, Any], where: str, source: str) -> FactKind:
    choices = [kind.value for kind in FactKind]
    if name in kinds:
        if kinds[name] not in choices:
            fix = nearest(str(kinds[name]), choices)
            raise UserError(f"{source}: 'kinds' gives {name!r} the unknown kind {kinds[name]!r}. {fix}")
        return FactKind(kinds[name])
    kind = kind_from_namespace(name)
    if kind is None:
        raise UserError(
            f"{source}: {where} names {name!r}, and its namespace does not tell its kind. "
            f'Add "kinds": {{"{name}": "..."}} with one of {", ".join(choices)}.'
        )
    return kind


def _initial(raw: Mapping[str, Any], vocabulary: Vocabulary, source: str) -> dict[str, int]:
    initial: dict[str, int] = {}
    for name, value in raw.items():
        fact = vocabulary[name]
        truth = fact.kind in (FactKind.FLAG, FactKind.REACH)
        if isinstance(value, bool) and truth:
            value = int(value)
        most = 1 if truth else fact.capacity
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or value < 0
            or (most is not None and value > most)
        ):
            limit = "of at least 0" if most is None else f"from 0 to {most}"
            raise UserError(
                f"{source}: 'initial' gives {name!r} the value {value!r}. Write a whole number {limit}."
            )
        initial[name] = value
    return initial
