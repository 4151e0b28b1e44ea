"""Runs in the child: skill code becomes one batched, exported JAX function."""

from __future__ import annotations
import __future__

import ast
from collections.abc import Mapping, Sequence
from functools import reduce
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from flowrl.codegen.allowed import (
    FUNCTIONS,
    JNP_CONSTANTS,
    JNP_DTYPES,
    JNP_FUNCTIONS,
    NN_FUNCTIONS,
    PLATFORMS,
)
from flowrl.errors import nearest

SOURCE_NAME = "<skill>"


class SkillCodeError(Exception):
    """Skill code does not fit its contract; ``fix`` says what to write instead."""

    def __init__(self, reason: str, fix: str) -> None:
        self.fix = fix
        super().__init__(reason)


class Fields:
    """What skill code sees of a snapshot: ``now.inventory.wood`` is a scalar of the field's own dtype.

    Columns are cast on access, so that an artifact holds only what the code reads.
    """

    __slots__ = ("_name", "_prefix", "_row", "_table")

    def __init__(
        self, row: jax.Array, table: Mapping[str, tuple[int, str]], name: str, prefix: str = ""
    ) -> None:
        self._row, self._table, self._name, self._prefix = row, table, name, prefix

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("_"):
            raise AttributeError(attr)
        path, name = f"{self._prefix}{attr}", f"{self._name}.{attr}"
        if path in self._table:
            column, dtype = self._table[path]
            return self._row[column] != 0 if dtype == "bool" else self._row[column].astype(dtype)
        if any(known.startswith(f"{path}.") for known in self._table):
            return Fields(self._row, self._table, name, f"{path}.")
        inside = [known for known in self._table if known.startswith(self._prefix)]
        choices = {known[len(self._prefix) :].split(".")[0] for known in inside}
        raise SkillCodeError(f"{self._name} has no field {attr!r}.", nearest(attr, choices))


def export_skill(
    source: str, fields: Sequence[Mapping[str, str]], enums: Mapping[str, Mapping[str, int]]
) -> bytes:
    """Executes ``source`` and exports ``(start, prev, now, n) -> (reward, done)``.

    The exported function takes float32 ``[B, D]`` three times and int32 ``[B]`` and gives float32 ``[B]``
    and bool ``[B]``, for any ``B >= 1``, on every one of :data:`PLATFORMS`.

    Args:
        source: skill code that passed the static check.
        fields: ``SnapshotSpec.to_json()``; D is its length.
        enums: enum name -> member name -> value.

    Raises:
        SkillCodeError: for results of the wrong shape or type, or unknown fields.
        Exception: whatever else the code raises.
    """
    table = {field["path"]: (column, field["dtype"]) for column, field in enumerate(fields)}
    scope = _scope(enums)
    tree = _WithoutValue(enums).visit(ast.parse(source))
    exec(compile(tree, SOURCE_NAME, "exec", __future__.annotations.compiler_flag), scope)

    def one(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen = [Fields(row, table, name) for row, name in ((start, "start"), (prev, "prev"), (now, "now"))]
        results = {name: _scalar(name, scope[name](*seen, n)) for name in FUNCTIONS}
        if results["is_done"].dtype != jnp.bool_:
            raise SkillCodeError(
                f"is_done returns {results['is_done'].dtype}, not bool.",
                "Return a comparison, such as a >= b.",
            )
        return results["reward"].astype(jnp.float32), results["is_done"]

    (batch,) = export.symbolic_shape("b")
    rows = jax.ShapeDtypeStruct((batch, len(fields)), jnp.float32)
    counts = jax.ShapeDtypeStruct((batch,), jnp.int32)
    function = jax.jit(jax.vmap(one), keep_unused=True)
    return bytes(export.export(function, platforms=PLATFORMS)(rows, rows, rows, counts).serialize())


def _scalar(name: str, result: Any) -> jax.Array:
    if result is None or isinstance(result, Fields | tuple | list):
        raise SkillCodeError(f"{name} does not return a number.", "Return one value.")
    array = jnp.asarray(result)
    if array.shape != ():
        raise SkillCodeError(
            f"{name} returns an array of shape {array.shape}, not a scalar.",
            "Reduce it with jnp.sum, jnp.any, ...",
        )
    return array


def _scope(enums: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The globals of skill code: the allow-list and nothing else."""
    offered = SimpleNamespace(
        **{name: getattr(jnp, name) for name in JNP_FUNCTIONS | JNP_DTYPES | JNP_CONSTANTS}
    )
    nn = SimpleNamespace(**{name: getattr(jax.nn, name) for name in NN_FUNCTIONS})
    builtins = {
        "abs": abs,
        "min": lambda *values: reduce(jnp.minimum, values[0] if len(values) == 1 else values),
        "max": lambda *values: reduce(jnp.maximum, values[0] if len(values) == 1 else values),
        "float": jnp.float32,
        "int": jnp.int32,
        "bool": jnp.bool_,
    }
    members = {name: SimpleNamespace(**values) for name, values in enums.items()}
    return {
        "__builtins__": builtins,
        "__name__": "skill",
        "jnp": offered,
        "jax": SimpleNamespace(numpy=offered, nn=nn),
        **members,
    }


class _WithoutValue(ast.NodeTransformer):
    """``BlockType.TREE.value`` becomes ``BlockType.TREE``: members are plain ints here."""

    def __init__(self, enums: Mapping[str, Mapping[str, int]]) -> None:
        self._enums = enums

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        inner = node.value
        if (
            node.attr != "value"
            or not isinstance(inner, ast.Attribute)
            or not isinstance(inner.value, ast.Name)
        ):
            return node
        return inner if inner.value.id in self._enums else node


WARM_UP_SOURCE = """
def is_done(start, prev, now, n):
    return jnp.logical_or(now.a.i >= start.a.i + n, now.a.b & ~prev.a.b) | (now.a.f < 1.0)

def reward(start, prev, now, n):
    gain = jnp.clip(max(now.a.i - prev.a.i, 0), 0, n) + jnp.where(is_done(start, prev, now, n), 1.0, 0.0)
    near = jax.nn.sigmoid(jnp.sqrt(jnp.abs(now.a.f))) * jnp.sum(jnp.stack([gain, float(n)]))
    return near + (now.a.b).astype(jnp.float32) ** 2 + jnp.mean(jnp.array([1.0, 2.0])) - E.X.value % 3
"""


def warm_up() -> None:
    """Makes JAX load what it loads lazily, while files can still be opened: every allowed function once."""
    fields = [
        {"path": "a.i", "dtype": "int32"},
        {"path": "a.f", "dtype": "float32"},
        {"path": "a.b", "dtype": "bool"},
    ]
    enums = {"E": {"X": 1}}
    export_skill(WARM_UP_SOURCE, fields, enums)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    for function in [getattr(jnp, name) for name in JNP_FUNCTIONS] + [
        getattr(jax.nn, n) for n in NN_FUNCTIONS
    ]:
        for arguments in ((number,), (number,) * 2):
            try:
                jax.eval_shape(function, *arguments)
                break
            except Exception:
                # Wrong number or type of arguments: refusing that loads modules too.
                continue
    for broken in ("if now.a.i > 0: pass", "jnp.stack(now)", "jnp.arange(n)", "prev.a.b - now.a.b"):
        try:
            export_skill(f"def is_done(start, prev, now, n):\n  {broken}\nreward = is_done", fields, enums)
        except Exception:
            continue
