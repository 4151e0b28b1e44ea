"""Snapshots: the observables that skill code may read, as one flat float32 vector with a field table.

A snapshot travels between programs as a vector of shape ``[D]`` (batched: ``[B, D]``), one column a field,
and is read by skill code as ``now.inventory.wood``. Integers up to 2**24 and booleans are exact in float32.
The table of fields here is the only definition: prompts, the checker, the docs and the facts all use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One scalar observable.

    Attributes:
        path: dotted name that skill code writes after ``now.``, such as ``inventory.wood``.
        dtype: ``int32``, ``float32`` or ``bool``: what skill code sees.
        unit: ``items``, ``steps``, ``tiles``, ``0..9``, ...
        meaning: one line.
        fact: the fact whose value this column holds, or None.
    """

    path: str
    dtype: str
    unit: str
    meaning: str
    fact: str | None = None


class SnapshotSpec:
    """The fields of one world's snapshot, in column order."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = fields
        self.columns: Mapping[str, int] = {field.path: column for column, field in enumerate(fields)}
        self.fact_columns: Mapping[str, int] = {
            field.fact: column for column, field in enumerate(fields) if field.fact is not None
        }

    def __len__(self) -> int:
        return len(self.fields)

    def to_json(self) -> list[dict[str, str]]:
        """``[{"path", "dtype", "unit", "meaning"}, ...]`` in column order: what the tracing child needs."""
        return [{"path": f.path, "dtype": f.dtype, "unit": f.unit, "meaning": f.meaning} for f in self.fields]

    def table(self) -> str:
        """The fields as a Markdown table, for prompts and docs."""
        rows = [f"| `{f.path}` | {f.dtype} | {f.unit} | {f.meaning} |" for f in self.fields]
        return "\n".join(["| field | type | unit | meaning |", "|---|---|---|---|", *rows])

    def values(self, row: Any) -> dict[str, Any]:
        """One snapshot vector ``[D]`` as ``{path: value}``, each of its field's type, for people and logs."""
        cast = {"int32": int, "float32": float, "bool": bool}
        return {field.path: cast[field.dtype](row[column]) for column, field in enumerate(self.fields)}
