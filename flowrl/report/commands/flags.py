"""From argv to a frozen dataclass of flags, with tyro; what is wrong comes back as one line.

tyro draws its errors as boxes. A command of flowrl says what is wrong in one line, so the box is captured
and its message kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import types
import typing
from collections.abc import Iterator, Sequence, Set
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from flowrl.errors import UserError

Flags = TypeVar("Flags")

_MOST_DIGITS = 30
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"[─-]{8,}")
_FRAME = re.compile(r"^[│|╭╰]\s?|\s*[│|╮╯]$")


def parse_flags(flags: type[Flags], args: Sequence[str], prog: str, description: str | None = None) -> Flags:
    """Reads ``args`` into an instance of the dataclass ``flags``.

    Nested dataclasses give flat flags: ``ppo.lr`` is ``--lr``. ``--graph-path`` and ``--graph_path`` are the
    same. ``--help`` prints and raises ``SystemExit(0)``.

    Args:
        flags: a dataclass with a default for every optional flag.
        args: without the program's name.
        prog: the program as it is typed, for usage lines.
        description: what ``--help`` begins with; None for the docstring of ``flags``.

    Raises:
        UserError: what is wrong with ``args``, in one line.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                flags,
                prog=prog,
                description=description,
                args=_gather_repeats(args, set(_list_flags(flags))),
                use_underscores=True,
                config=(tyro.conf.OmitArgPrefixes,),
                registry=_REGISTRY,
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        raise UserError(f"{_one_line(complaint.getvalue())} See {prog} --help.") from None


def _list_flags(flags: Any) -> Iterator[str]:
    """The flags of a dataclass that take several values, as ``--name``."""
    for name, kind in typing.get_type_hints(flags).items():
        if dataclasses.is_dataclass(kind):
            yield from _list_flags(kind)
        elif typing.get_origin(kind) is tuple:
            yield f"--{name}"


def _gather_repeats(args: Sequence[str], list_flags: Set[str]) -> list[str]:
    """Moves what follows a repeated list flag behind its first use: ``--x a --x b`` is ``--x a b``.

    tyro would let the last use replace the ones before, or take only one value a use; people type both.
    """
    current: list[str] = []
    groups = [current]
    first_use: dict[str, list[str]] = {}
    for arg in args:
        name, _, value = arg.partition("=")
        flag = "--" + name[2:].replace("-", "_")
        if not arg.startswith("--"):
            current.append(arg)
        elif flag in list_flags and flag in first_use:
            current = first_use[flag]
            current.extend([value] if value else [])
        else:
            current = [flag, *([value] if value else [])] if flag in list_flags else [arg]
            groups.append(current)
            if flag in list_flags:
                first_use[flag] = current
    return [arg for group in groups for arg in group]


def parse_count(text: str) -> int:
    """A whole number as people write it: ``5000``, ``200_000``, ``5e7``, ``2.5e6``.

    Raises:
        ValueError: when it is no whole number.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if number.is_finite() and number.adjusted() > _MOST_DIGITS:  # int() would take for ever
        raise ValueError(f"{text!r} is too large.")
    if not number.is_finite() or number != number.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number. Write it like 5000, 200_000 or 5e7.")
    return int(number)


def format_count(value: int) -> str:
    """The shortest text that :func:`parse_count` reads back: ``2e6`` rather than ``2000000``."""
    digits = str(value).rstrip("0")
    zeros = len(str(value)) - len(digits)
    return f"{digits}e{zeros}" if value and zeros >= 5 else str(value)


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number. Write it like 0.5 or 2e-4.") from None


def _shown(value: int | float | None) -> str:
    """A default as ``--help`` shows it."""
    if value is None:
        return "unset"
    return format_count(value) if isinstance(value, int) else str(value)


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Reads ``int``, ``float`` and either ``| None``; the latter's None can only be the default."""
    kind: Any = info.type
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        if len(members) != 1:
            return None
        kind = members[0]
    if kind not in (int, float):
        return None
    parse = parse_count if kind is int else _parse_number
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="COUNT" if kind is int else "NUMBER",
        instance_from_str=lambda args: parse(args[0]),
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=lambda value: [_shown(value)],
    )


def _one_line(box: str) -> str:
    """The message of one of tyro's error boxes, with the flag that it offers instead, if any.

    A box has a title, then sections with rules between them, the message first. Its frame is drawn with
    Unicode, or with dashes and blanks where stdout is not UTF-8, and it may be coloured.
    """
    lines = _COLOUR.sub("", box).splitlines()
    body = lines[1:] if lines and lines[0].startswith("╭") else lines[2:]
    plain = "\n".join(_FRAME.sub("", line.rstrip()) for line in body)
    message, *others = [" ".join(part.split()) for part in _RULE.split(plain)]
    message = re.sub(r"^Error parsing (--\w+): ", r"\1: ", message).rstrip(".")
    offered = [re.findall(r"--\w+", part) for part in others if part.startswith("Perhaps you meant")]
    if offered and offered[0]:
        message += f". Did you mean {offered[0][0]!r}?"
    return message if message.endswith("?") else f"{message}."
