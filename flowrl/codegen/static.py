"""The static check: an allow-list over the syntax tree of skill code.

Skill code is straight-line arithmetic. That makes the check an exact walk: at every name it is known
whether it holds a number or a group of snapshot fields, so every attribute can be resolved here and
nothing but ``.astype`` is ever looked up on a value.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from flowrl.codegen.allowed import FUNCTIONS, PARAMETERS
from flowrl.codegen.expressions import Expressions, Kind, Value
from flowrl.codegen.library import refuse
from flowrl.errors import ProposalRefused, nearest
from flowrl.worlds.snapshot import SnapshotSpec

MAX_SOURCE_CHARS = 12_000
MAX_NODES = 3_000
MAX_DEPTH = 100

_SIGNATURE = f"({', '.join(PARAMETERS)})"

_STATEMENT_FIXES: dict[type[ast.AST], str] = {
    ast.Import: "jnp and the world's enums are in scope already: remove the import.",
    ast.ImportFrom: "jnp and the world's enums are in scope already: remove the import.",
    ast.If: "Use jnp.where(cond, a, b): conditions are arrays here.",
    ast.For: "Write the terms out one by one.",
    ast.While: "Write the terms out one by one.",
    ast.Assert: "Remove it.",
    ast.Pass: "Write a return statement.",
    ast.Match: "Use jnp.where(cond, a, b).",
    ast.Try: "Remove it: arithmetic on arrays does not raise.",
    ast.ClassDef: "Keep to the two functions is_done and reward.",
    ast.FunctionDef: "Keep to the two functions is_done and reward; write helpers inline.",
}


def check_source(source: str, spec: SnapshotSpec, enums: Mapping[str, Mapping[str, int]]) -> None:
    """Refuses everything but two straight-line functions over snapshots, ``jnp`` and the world's enums.

    Args:
        source: Python text of a proposal. It is parsed to a syntax tree, never compiled.
        spec: the snapshot fields that may be read.
        enums: enum name -> member name -> value.

    Raises:
        ProposalRefused: stage ``static``, with the line and what to write instead.
    """
    tree = _parse(source)
    _check_size(tree)
    functions: dict[str, ast.FunctionDef] = {}
    constants: dict[str, Value] = {}
    expressions = Expressions(spec, enums)
    for position, statement in enumerate(tree.body):
        if isinstance(statement, ast.FunctionDef):
            if statement.name not in FUNCTIONS:
                raise refuse(
                    statement,
                    f"the function {statement.name!r} is neither is_done nor reward",
                    f"{nearest(statement.name, FUNCTIONS)} Write helpers inline.",
                )
            if statement.name in functions:
                raise refuse(statement, f"{statement.name} is defined twice", "Keep one of them.")
            _check_signature(statement)
            functions[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            _assign(statement, expressions, constants, inside=None)
        elif not (position == 0 and _is_docstring(statement)):
            raise _forbidden(statement, "at the top level")
    for name in FUNCTIONS:
        if name not in functions:
            raise ProposalRefused("static", f"{name} is not defined.", f"Define {name}{_SIGNATURE}.")
    for function in functions.values():
        _check_body(function, expressions, constants)


def _parse(source: str) -> ast.Module:
    if len(source) > MAX_SOURCE_CHARS:
        raise ProposalRefused(
            "static", f"The code has {len(source)} characters.", f"Stay below {MAX_SOURCE_CHARS}."
        )
    if "\x00" in source:
        raise ProposalRefused("static", "The code contains null bytes.", "Write plain text.")
    try:
        with warnings.catch_warnings():
            # An invalid escape in a docstring is no reason to print to the user's terminal.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        shown = (error.text or "").strip()[:80]
        at = f"line {error.lineno} ({shown!r}): " if error.lineno else ""
        raise ProposalRefused("static", f"{at}{error.msg}.", "Write valid Python 3.") from None
    except (RecursionError, MemoryError):
        raise ProposalRefused("static", "The code is nested too deeply.", "Use local variables.") from None
    except ValueError:
        raise ProposalRefused("static", "The code cannot be read as Python.", "Write plain text.") from None


def _check_size(tree: ast.Module) -> None:
    """Bounds the tree before anything walks it recursively."""
    count, depth, level = 0, 0, list(ast.iter_child_nodes(tree))
    while level:
        count, depth = count + len(level), depth + 1
        if count > MAX_NODES:
            raise ProposalRefused("static", "The code is too long.", f"Stay below {MAX_NODES} syntax nodes.")
        if depth > MAX_DEPTH:
            raise ProposalRefused("static", "The code is nested too deeply.", "Use local variables.")
        level = [child for node in level for child in ast.iter_child_nodes(node)]


def _check_signature(function: ast.FunctionDef) -> None:
    arguments = function.args
    names = tuple(argument.arg for argument in arguments.args)
    special = (
        arguments.posonlyargs, arguments.kwonlyargs, arguments.vararg, arguments.kwarg, arguments.defaults
    )  # fmt: skip
    if names != PARAMETERS or any(special):
        raise refuse(
            function,
            f"{function.name} does not take exactly {_SIGNATURE}",
            f"Write def {function.name}{_SIGNATURE}:",
        )
    if function.decorator_list:
        raise refuse(function, f"{function.name} has a decorator", "Remove it.")
    if getattr(function, "type_params", None):
        raise refuse(function, f"{function.name} has type parameters", "Remove them.")
    for annotation in (function.returns, *(argument.annotation for argument in arguments.args)):
        _check_annotation(annotation)


def _check_annotation(annotation: ast.expr | None) -> None:
    """Annotations are never evaluated (the child compiles with ``annotations`` postponed)."""
    node = annotation
    while isinstance(node, ast.Attribute):
        node = node.value
    if node is not None and not isinstance(node, ast.Name):
        raise refuse(node, "an annotation is more than a name", "Remove the annotation.")


def _check_body(function: ast.FunctionDef, expressions: Expressions, constants: Mapping[str, Value]) -> None:
    scope: dict[str, Value] = dict(constants)
    scope |= {name: Value(Kind.GROUP, name, ()) for name in PARAMETERS[:-1]}
    scope[PARAMETERS[-1]] = Value(Kind.NUMBER)
    body = function.body[1:] if _is_docstring(function.body[0]) else function.body
    for position, statement in enumerate(body, start=1):
        if isinstance(statement, ast.Return):
            if position < len(body):
                raise refuse(statement, "code follows a return", "Return once, at the end.")
            if statement.value is None:
                raise refuse(statement, f"{function.name} returns nothing", "Return one value.")
            expressions.number(statement.value, scope, function.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            _assign(statement, expressions, scope, inside=function.name)
        else:
            raise _forbidden(statement, f"in {function.name}")
    if not body or not isinstance(body[-1], ast.Return):
        raise refuse(function, f"{function.name} does not end with a return", "Return one value at the end.")


def _assign(
    statement: ast.Assign | ast.AnnAssign | ast.AugAssign,
    expressions: Expressions,
    scope: dict[str, Value],
    inside: str | None,
) -> None:
    """Checks an assignment and records in ``scope`` what its names now hold."""
    if isinstance(statement, ast.AnnAssign):
        _check_annotation(statement.annotation)
    if statement.value is None:
        raise refuse(statement, "a name is declared without a value", "Assign it or remove it.")
    if isinstance(statement, ast.AugAssign):
        expressions.check_operator(statement, statement.op, statement.value)
        expressions.number(ast.copy_location(_read(statement.target), statement), scope, inside)
        expressions.number(statement.value, scope, inside)
        scope[_target(statement.target, expressions)] = Value(Kind.NUMBER)
        return
    if inside is None:
        expressions.constant(statement.value, scope)
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    for target in targets:
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            if len(target.elts) != len(statement.value.elts):
                raise refuse(statement, "the two sides have different lengths", "Assign one name a line.")
            held = [expressions.value(element, scope, inside) for element in statement.value.elts]
            scope |= {
                _target(name, expressions): value for name, value in zip(target.elts, held, strict=True)
            }
        else:
            value = expressions.value(statement.value, scope, inside)
            scope[_target(target, expressions)] = value


def _read(target: ast.expr) -> ast.expr:
    return ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target


def _target(target: ast.expr, expressions: Expressions) -> str:
    if not isinstance(target, ast.Name):
        raise refuse(target, "something other than a plain name is assigned to", "Assign to a local name.")
    if target.id in expressions.library.reserved:
        raise refuse(target, f"the name {target.id!r} is assigned to", "Use another name for it.")
    if target.id.startswith("_") or not target.id.isascii():
        raise refuse(target, f"the name {target.id!r} is not plain", "Use a name of letters and digits.")
    return target.id


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _forbidden(statement: ast.stmt, where: str) -> ProposalRefused:
    if isinstance(statement, ast.Expr):
        return refuse(
            statement, f"an expression stands alone {where}", "Remove it: functions only compute and return."
        )
    kind = type(statement).__name__
    return refuse(
        statement,
        f"a {kind} statement is not allowed {where}",
        _STATEMENT_FIXES.get(type(statement), "Use only assignments and one return."),
    )
