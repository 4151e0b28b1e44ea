"""Frozen records to JSON and back, strictly: an error names the field, its value and what was expected.

Driven by a dataclass's own type hints, so a record and its form on disk cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from flowrl.errors import GraphError, nearest
from flowrl.skills.operator import Count, Linear, Operator

_SECTIONS = ("requires", "consumes", "gains")


def encode(value: Any) -> Any:
    """A record, or any nest of mappings, sequences and scalars, as JSON data.

    Numbers of numpy become Python's own; what JSON cannot say (NaN, infinity) becomes null. A dataclass may
    name properties in ``DERIVED``: they are written too, for readers, and checked by :func:`decode`.

    Raises:
        TypeError: when something in it has no JSON form.
    """
    if isinstance(value, Operator):
        return {section: _encode_counts(getattr(value, section)) for section in _SECTIONS}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: encode(getattr(value, name)) for name in (*names, *_derived(type(value)))}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and JAX, without importing either
        return encode(value.tolist())
    raise TypeError(f"{value!r} ({type(value).__name__}) has no JSON form")


def _encode_counts(counts: Mapping[str, Count]) -> dict[str, Any]:
    # A PLACE fact's values are always a list here, so that reading them back needs no vocabulary.
    return {
        name: count.to_json() if isinstance(count, Linear) else list(count) for name, count in counts.items()
    }


def decode(kind: Any, data: Any, where: str) -> Any:
    """JSON data as a value of the annotated type ``kind``.

    Args:
        kind: a dataclass, ``Operator``, a scalar type, ``Any``, or ``X | None``, ``tuple[...]``,
            ``Mapping[str, X]`` of those.
        data: what ``json.loads`` gave.
        where: the field's place, such as ``nodes[3].evidence``, for messages.

    Raises:
        GraphError: naming the field, what is there and what was expected.
    """
    if kind is Any:
        return data
    if kind is Operator:
        return _decode_operator(data, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_record(kind, data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if data is None else decode(inner, data, where)
    if origin is tuple:
        return _decode_tuple(arguments, data, where)
    if origin is not None and issubclass(origin, Mapping):
        items = _expect(data, dict, "an object", where)
        return {key: decode(arguments[1], item, f"{where}.{key}") for key, item in items.items()}
    return _decode_scalar(kind, data, where)


def _expect(data: Any, kind: type, meaning: str, where: str) -> Any:
    if not isinstance(data, kind):
        raise GraphError(f"{where} is {_shown(data)}, not {meaning}")
    return data


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."


def _decode_scalar(kind: type, data: Any, where: str) -> Any:
    if kind is float:
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            raise GraphError(f"{where} is {_shown(data)}, not a number")
        return float(data)
    if kind is int and isinstance(data, bool):
        raise GraphError(f"{where} is {_shown(data)}, not a whole number")
    return _expect(data, kind, {int: "a whole number", str: "text", bool: "true or false"}[kind], where)


def _decode_tuple(arguments: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    items = _expect(data, list, "a list", where)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(items)
    if len(items) != len(arguments):
        raise GraphError(f"{where} has {len(items)} entries, not {len(arguments)}")
    pairs = zip(arguments, items, strict=True)
    return tuple(decode(kind, item, f"{where}[{position}]") for position, (kind, item) in enumerate(pairs))


def _decode_record(kind: type, data: Any, where: str) -> Any:
    _expect(data, dict, "an object", where)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    derived = _derived(kind)
    for name in data:
        if name not in fields and name not in derived:
            raise GraphError(f"{where} has the unknown field {name!r}. {nearest(name, [*fields, *derived])}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = decode(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise GraphError(f"{where}.{name} is missing")
    try:
        record = kind(**values)
    except ValueError as error:
        raise GraphError(f"{where}: {error}") from None
    for name in derived:
        expected = encode(getattr(record, name))
        if name in data and not _same(data[name], expected):
            raise GraphError(
                f"{where}.{name} is {_shown(data[name])}; the other fields give {_shown(expected)}"
            )
    return record


def _derived(kind: type) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(kind, "DERIVED", ())
    return names


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, int | float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(found == expected)


def _decode_operator(data: Any, where: str) -> Operator:
    _expect(data, dict, "an object", where)
    if set(data) != set(_SECTIONS):
        raise GraphError(f"{where} has the fields {sorted(data)}, not {', '.join(_SECTIONS)}")
    requires, consumes, gains = (_decode_counts(data[s], f"{where}.{s}") for s in _SECTIONS)
    amounts: dict[str, Linear] = {}
    for name, count in consumes.items():
        if not isinstance(count, Linear):
            raise GraphError(f"{where}.consumes.{name} is a list; only amounts are consumed")
        amounts[name] = count
    return Operator(
        types.MappingProxyType(requires), types.MappingProxyType(amounts), types.MappingProxyType(gains)
    )


def _decode_counts(data: Any, where: str) -> dict[str, Count]:
    counts: dict[str, Count] = {}
    for name, value in _expect(data, dict, "an object", where).items():
        if isinstance(value, list):
            counts[name] = _decode_tuple((int, ...), value, f"{where}.{name}")
            continue
        try:
            counts[name] = Linear.parse(value)
        except ValueError as error:
            raise GraphError(f"{where}.{name}: {error}") from None
    return counts
