"""Names that skill code takes from outside: ``jnp``, ``jax.nn`` and the world's enums."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from flowrl.codegen.allowed import (
    BUILTINS,
    FUNCTIONS,
    JNP_CONSTANTS,
    JNP_DTYPES,
    JNP_FUNCTIONS,
    NN_FUNCTIONS,
    PARAMETERS,
    REPLACEMENTS,
)
from flowrl.errors import ProposalRefused, nearest

_NUMPY = ("np", "numpy", "math")


def refuse(node: ast.AST, what: str, fix: str) -> ProposalRefused:
    """A refusal at stage ``static`` that names the line."""
    line = getattr(node, "lineno", None)
    return ProposalRefused("static", (f"line {line}: " if line else "") + f"{what}.", fix)


class Library:
    """Checks dotted names against the allow-list for one world.

    Attributes:
        enums: enum name -> member name -> value.
        reserved: names that skill code cannot assign to.
    """

    def __init__(self, enums: Mapping[str, Mapping[str, int]]) -> None:
        self.enums = enums
        self.reserved = frozenset({*PARAMETERS, *FUNCTIONS, *BUILTINS, *enums, "jnp", "jax"})

    def check_value(self, node: ast.Attribute, path: tuple[str, ...]) -> None:
        """A dotted name that is not a snapshot's: an enum member or a ``jnp`` constant, else refused."""
        if path[0] in self.enums:
            members = self.enums[path[0]]
            if path[1] not in members:
                raise refuse(node, f"{path[0]} has no member {path[1]!r}", nearest(path[1], members))
            if path[2:] not in ((), ("value",)):
                raise refuse(node, f"{'.'.join(path)!r} is not offered", f"Write {path[0]}.{path[1]}.")
            return
        library, name = split_library(path)
        if library == "jnp" and name in JNP_CONSTANTS:
            return
        if library == "jnp" and name in JNP_FUNCTIONS | JNP_DTYPES:
            raise refuse(node, f"{'.'.join(path)} is used without a call", "Call it.")
        raise self.unknown(node, path)

    def is_dtype(self, path: tuple[str, ...]) -> bool:
        """Whether a dotted name can be given as a dtype."""
        library, name = split_library(path)
        return (library == "jnp" and name in JNP_DTYPES) or path in (("float",), ("int",), ("bool",))

    def is_function(self, path: tuple[str, ...]) -> bool:
        """Whether a dotted name can be called."""
        library, name = split_library(path)
        return {"jnp": name in JNP_FUNCTIONS | JNP_DTYPES, "nn": name in NN_FUNCTIONS}.get(library, False)

    def unknown(self, node: ast.AST, path: tuple[str, ...], local: Iterable[str] = ()) -> ProposalRefused:
        """The refusal of a dotted name that is not offered, with the nearest that is."""
        if path[0] not in ("jnp", "jax"):
            hint = "Use jnp instead." if path[0] in _NUMPY else nearest(path[0], {*self.reserved, *local})
            return refuse(node, f"the name {path[0]!r} is not in scope", hint)
        fix = REPLACEMENTS.get(path[-1])
        if fix is None:
            fix = nearest(path[-1], NN_FUNCTIONS if path[:2] == ("jax", "nn") else JNP_FUNCTIONS | JNP_DTYPES)
        return refuse(node, f"{'.'.join(path)} is not offered", fix)


def dotted(node: ast.expr) -> tuple[str, ...] | None:
    """``("jax", "numpy", "where")`` for ``jax.numpy.where``; None when it is no chain of plain names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return (node.id, *reversed(names))


def split_library(path: tuple[str, ...]) -> tuple[str, str]:
    """``("jnp", name)`` or ``("nn", name)`` for a function of these, else ``("", "")``."""
    if len(path) == 2 and path[0] == "jnp":
        return "jnp", path[1]
    if len(path) == 3 and path[:2] in (("jax", "numpy"), ("jax", "nn")):
        return ("jnp" if path[1] == "numpy" else "nn"), path[2]
    return "", ""
