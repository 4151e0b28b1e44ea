"""The expression half of the static check: which operations, names, attributes and calls are allowed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from flowrl.codegen.allowed import BUILTINS, FUNCTIONS, KEYWORDS, PARAMETERS
from flowrl.codegen.library import Library, dotted, refuse
from flowrl.errors import nearest
from flowrl.worlds.snapshot import SnapshotSpec

MAX_INT = 2**31 - 1
MAX_EXPONENT = 16

_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr, ast.BitXor
)  # fmt: skip
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)

_EXPRESSION_FIXES: dict[type[ast.AST], str] = {
    ast.IfExp: "Use jnp.where(cond, a, b).",
    ast.Lambda: "Write the expression inline.",
    ast.Subscript: "Snapshot fields are read with dots: now.inventory.wood.",
    ast.JoinedStr: "Skill code works on numbers only.",
    ast.Dict: "Skill code works on numbers only.",
    ast.List: "A list may only be an argument, as in jnp.stack([a, b]).",
    ast.Tuple: "Return or assign one value.",
    ast.ListComp: "Write the elements out one by one.",
    ast.GeneratorExp: "Write the elements out one by one.",
    ast.NamedExpr: "Assign on a line of its own.",
}


class Kind(Enum):
    """What a name or an expression holds."""

    NUMBER = "number"
    GROUP = "group"


@dataclass(frozen=True)
class Value:
    """What an expression evaluates to: a number, or the snapshot fields under ``path`` of ``snapshot``."""

    kind: Kind
    snapshot: str = ""
    path: tuple[str, ...] = ()


NUMBER = Value(Kind.NUMBER)
Scope = Mapping[str, Value]


class Expressions:
    """Checks expressions against the allow-list for one world.

    Attributes:
        library: the names from outside.
    """

    def __init__(self, spec: SnapshotSpec, enums: Mapping[str, Mapping[str, int]]) -> None:
        self.library = Library(enums)
        self._leaves = {tuple(field.path.split(".")) for field in spec.fields}
        self._groups = {path[:end] for path in self._leaves for end in range(len(path))}

    def number(self, node: ast.expr, scope: Scope, inside: str | None) -> None:
        """Refuses ``node`` unless it is an allowed expression that yields a number."""
        value = self.value(node, scope, inside)
        if value.kind is Kind.GROUP:
            name = ".".join((value.snapshot, *value.path))
            example = ".".join(
                (value.snapshot, *min(p for p in self._leaves if p[: len(value.path)] == value.path))
            )
            raise refuse(
                node, f"{name} is a group of fields, not a number", f"Name one field, such as {example}."
            )

    def constant(self, node: ast.expr, scope: Scope) -> None:
        """Refuses ``node`` unless it is arithmetic on literals, enum members and earlier constants."""
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                raise refuse(part, "a top-level constant calls a function", "Move it into the functions.")
        self.number(node, scope, None)

    def value(self, node: ast.expr, scope: Scope, inside: str | None) -> Value:
        """What an allowed expression yields; refuses any other.

        Args:
            node: the expression.
            scope: what the names that are bound here hold.
            inside: the function that the expression stands in, or None at the top level.
        """
        match node:
            case ast.Constant():
                self._literal(node)
            case ast.Name():
                return self._name(node, scope)
            case ast.Attribute():
                return self._attribute(node, scope, inside)
            case ast.BinOp():
                self.check_operator(node, node.op, node.right, node.left)
                self.number(node.left, scope, inside)
                self.number(node.right, scope, inside)
            case ast.UnaryOp():
                if isinstance(node.op, ast.Not):
                    raise refuse(node, "'not' does not work on arrays", "Use ~(a) or jnp.logical_not(a).")
                self.number(node.operand, scope, inside)
            case ast.BoolOp():
                sign = "&" if isinstance(node.op, ast.And) else "|"
                word = "and" if isinstance(node.op, ast.And) else "or"
                raise refuse(
                    node, f"'{word}' does not work on arrays", f"Use (a) {sign} (b), with parentheses."
                )
            case ast.Compare():
                self._compare(node, scope, inside)
            case ast.Call():
                self._call(node, scope, inside)
            case _:
                raise refuse(
                    node,
                    f"a {type(node).__name__} expression is not allowed",
                    _EXPRESSION_FIXES.get(type(node), "Use arithmetic, comparisons and jnp functions only."),
                )
        return NUMBER

    def check_operator(
        self, node: ast.AST, operator: ast.operator, right: ast.expr, left: ast.expr | None = None
    ) -> None:
        """Refuses operators outside arithmetic, and powers that could build huge Python ints."""
        if not isinstance(operator, _OPERATORS):
            raise refuse(
                node, f"the operator {type(operator).__name__} is not allowed", "Use + - * / // % **."
            )
        if not isinstance(operator, ast.Pow):
            return
        exponent = right.operand if isinstance(right, ast.UnaryOp) else right
        small = (
            isinstance(exponent, ast.Constant)
            and isinstance(exponent.value, int | float)
            and abs(exponent.value) <= MAX_EXPONENT
        )
        float_base = isinstance(left, ast.Constant) and isinstance(left.value, float)
        if not small and not float_base:
            raise refuse(
                node,
                f"an exponent is not a number up to {MAX_EXPONENT}",
                "Use jnp.power(a, b) for other powers.",
            )

    def _literal(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, int) and abs(value) > MAX_INT:
            raise refuse(node, "an integer does not fit into int32", f"Stay within {MAX_INT}.")
        if value is not None and not isinstance(value, bool | int | float):
            raise refuse(
                node, f"a {type(value).__name__} constant is not allowed", "Skill code works on numbers only."
            )

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        if node.id in scope:
            return scope[node.id]
        if node.id in BUILTINS or node.id in FUNCTIONS:
            raise refuse(node, f"{node.id!r} is used without a call", f"Call it: {node.id}(...).")
        if node.id in self.library.enums:
            example = f"{node.id}.{next(iter(self.library.enums[node.id]), 'MEMBER')}"
            raise refuse(node, f"{node.id!r} is used without a member", f"Write {example}.")
        if node.id in ("jnp", "jax"):
            raise refuse(
                node, f"{node.id!r} is used as a value", "Call a function of it: jnp.where(cond, a, b)."
            )
        raise self.library.unknown(node, (node.id,), scope)

    def _attribute(self, node: ast.Attribute, scope: Scope, inside: str | None) -> Value:
        if node.attr.startswith("_"):
            raise refuse(node, f"the attribute {node.attr!r} begins with an underscore", "Remove it.")
        if (path := dotted(node)) is not None and path[0] not in scope:
            self.library.check_value(node, path)
            return NUMBER
        base = self.value(node.value, scope, inside)
        if base.kind is Kind.NUMBER:
            raise refuse(
                node,
                f"a number has no attribute {node.attr!r} here",
                "Only .astype(jnp.float32) is offered on numbers.",
            )
        reached = (*base.path, node.attr)
        if reached in self._leaves:
            return NUMBER
        if reached in self._groups:
            return Value(Kind.GROUP, base.snapshot, reached)
        siblings = {
            p[: len(reached)] for p in self._leaves | self._groups if p[: len(base.path)] == base.path
        }
        names = [sibling[-1] for sibling in siblings if len(sibling) == len(reached)]
        group = ".".join((base.snapshot, *base.path))
        raise refuse(node, f"{group} has no field {node.attr!r}", nearest(node.attr, names))

    def _compare(self, node: ast.Compare, scope: Scope, inside: str | None) -> None:
        for operator in node.ops:
            if isinstance(operator, ast.In | ast.NotIn):
                raise refuse(node, "'in' is not allowed", "Write (x == a) | (x == b).")
            if not isinstance(operator, _COMPARISONS):
                raise refuse(node, "'is' is not allowed", "Use == or !=.")
        if len(node.ops) > 1:
            raise refuse(
                node,
                "a chained comparison does not work on arrays",
                "Write (a < b) & (b < c), with parentheses around each comparison.",
            )
        self.number(node.left, scope, inside)
        self.number(node.comparators[0], scope, inside)

    def _call(self, node: ast.Call, scope: Scope, inside: str | None) -> None:
        self._callee(node, scope, inside)
        if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            return
        for argument in node.args:
            self._argument(argument, scope, inside)
        for keyword in node.keywords:
            if keyword.arg not in KEYWORDS:
                shown = "**" if keyword.arg is None else repr(keyword.arg)
                raise refuse(
                    node, f"the keyword argument {shown} is not allowed", nearest(keyword.arg or "", KEYWORDS)
                )
            self._argument(keyword.value, scope, inside)

    def _callee(self, node: ast.Call, scope: Scope, inside: str | None) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id not in scope:
            if function.id in FUNCTIONS:
                self._call_of_skill_function(node, function.id, inside)
            elif function.id not in BUILTINS:
                raise refuse(
                    node,
                    f"{function.id!r} cannot be called",
                    f"Builtins in scope: {', '.join(sorted(BUILTINS))}.",
                )
            return
        if not isinstance(function, ast.Attribute):
            raise refuse(
                node, "something other than a function of jnp is called", "Call jnp functions by name."
            )
        path = dotted(function)
        if path is not None and path[0] not in scope:
            if not self.library.is_function(path):
                raise self.library.unknown(function, path)
        elif function.attr == "astype":
            self.number(function.value, scope, inside)
        else:
            raise refuse(node, f"the method {function.attr!r} is not offered", "Use a function of jnp.")

    def _call_of_skill_function(self, node: ast.Call, name: str, inside: str | None) -> None:
        names = tuple(argument.id if isinstance(argument, ast.Name) else "" for argument in node.args)
        if inside != "reward" or name != "is_done":
            raise refuse(node, f"{name} is called in {inside}", "Only reward may call is_done.")
        if names != PARAMETERS or node.keywords:
            raise refuse(
                node, "is_done is called with other arguments", "Write is_done(start, prev, now, n)."
            )

    def _argument(self, node: ast.expr, scope: Scope, inside: str | None) -> None:
        """Like :meth:`number`, and lists, dtypes and the builtins that stand for dtypes are fine too."""
        if isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                self._argument(element, scope, inside)
            return
        path = dotted(node)
        if path is not None and path[0] not in scope and self.library.is_dtype(path):
            return
        self.number(node, scope, inside)
