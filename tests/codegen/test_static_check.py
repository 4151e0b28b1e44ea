"""Forbidden code, each with a word that its refusal must contain; and honest code that must pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

from flowrl.codegen.static import check_source
from flowrl.errors import ProposalRefused
from flowrl.worlds.snapshot import SnapshotSpec

# As the value that reward returns.
EXPRESSIONS = {
    "import": ("__import__('os')", "'__import__'"),
    "eval": ("eval('1')", "'eval' cannot be called"),
    "exec": ("exec('import os')", "'exec' cannot be called"),
    "compile": ("compile('1', '', 'eval')", "'compile'"),
    "open a file": ("open('/etc/passwd').read()", "'read'"),
    "write a file": ("open('x', 'w')", "'open'"),
    "print": ("print(now)", "'print'"),
    "environment": ("os.environ['OPENAI_API_KEY']", "Subscript"),
    "environment by method": ("os.getenv(n)", "'os' is not in scope"),
    "getattr": ("getattr(now, 'x')", "'getattr'"),
    "globals": ("globals()", "'globals'"),
    "vars": ("vars(now)", "'vars'"),
    "type": ("type(now)", "'type'"),
    "class of a literal": ("().__class__", "underscore"),
    "subclasses": ("().__class__.__base__.__subclasses__()", "'__subclasses__'"),
    "class of a number": ("now.inventory.wood.__class__", "underscore"),
    "class by full-width letters": ("now.inventory.wood.__ｃlass__", "underscore"),
    "private of a library": ("jnp._src", "underscore"),
    "globals of a function": ("jnp.where.__globals__", "underscore"),
    "module inside a library": ("jnp.linalg.norm(n)", "jnp.linalg.norm"),
    "loader of a library": ("jnp.__loader__.load_module(n)", "jnp.__loader__.load_module"),
    "save through a library": ("jnp.save('x', n)", "jnp.save is not offered"),
    "load through a library": ("jnp.load('x')", "jnp.load is not offered"),
    "host callback": ("jax.pure_callback(abs, n, n)", "jax.pure_callback"),
    "debug callback": ("jax.debug.print('x')", "jax.debug.print"),
    "io callback": ("jax.experimental.io_callback(abs, n, n)", "io_callback"),
    "endless loop in a library": ("jax.lax.while_loop(abs, abs, n)", "while_loop"),
    "foreign call": ("jax.ffi.ffi_call('x', n)(n)", "something other than a function"),
    "random numbers": ("jax.random.uniform(jax.random.PRNGKey(0))", "jax.random.uniform"),
    "cond": ("jax.lax.cond(n > 0, abs, abs, n)", "Use jnp.where"),
    "huge array": ("jnp.zeros((10**9,))", "jnp.zeros is not offered"),
    "huge range": ("jnp.sum(jnp.arange(1000000000))", "jnp.arange is not offered"),
    "huge list": ("[0] * 1000000000", "List"),
    "huge list in a call": ("jnp.sum([0] * 1000000000)", "List"),
    "huge power": ("9 ** 9 ** 9", "exponent"),
    "power of a value": ("2 ** n", "jnp.power"),
    "huge integer": ("1" + "0" * 40, "int32"),
    "huge integer, 5000 digits": ("9" * 5000, "line 5"),
    "huge shift": ("1 << 1000000", "LShift"),
    "matrix product": ("n @ n", "MatMult"),
    "numpy": ("np.abs(n)", "Use jnp"),
    "math": ("math.sqrt(n)", "Use jnp"),
    "f-string": ("f'{now}'", "JoinedStr"),
    "f-string attribute": ("f'{now.__class__}'", "JoinedStr"),
    "format string": ("'{0.__class__}'.format(now)", "'format'"),
    "string": ("'x'", "str constant"),
    "bytes": ("b'x'", "bytes constant"),
    "complex": ("1j", "complex constant"),
    "ellipsis": ("...", "ellipsis constant"),
    "list comprehension": ("[i for i in n]", "ListComp"),
    "generator": ("sum(i for i in n)", "'sum'"),
    "lambda": ("(lambda: 1)()", "something other"),
    "walrus": ("(x := 1)", "NamedExpr"),
    "ternary": ("1.0 if now.inventory.wood > 0 else 0.0", "jnp.where"),
    "and": ("now.sleeping and now.near.crafting_table", "(a) & (b)"),
    "or": ("now.sleeping or now.near.crafting_table", "(a) | (b)"),
    "not": ("not now.sleeping", "~(a)"),
    "chained comparison": ("0 < now.inventory.wood < 5", "(a < b) & (b < c)"),
    "missing parentheses": ("now.floor > 0 & now.floor < 3", "parentheses"),
    "in": ("now.facing_block in (4, 5)", "(x == a) | (x == b)"),
    "is": ("now.sleeping is True", "Use =="),
    "subscript": ("now.inventory['wood']", "now.inventory.wood"),
    "slice": ("now[0:5]", "Subscript"),
    "dict": ("{1: 2}", "Dict"),
    "set": ("{1, 2}", "Set"),
    "tuple": ("1, 2", "Return or assign one value"),
    "await": ("await now", "Await"),
    "yield": ("(yield now)", "Yield"),
    "star arguments": ("jnp.maximum(*now)", "Starred"),
    "double-star arguments": ("jnp.maximum(n, n, **now)", "keyword argument **"),
    "size keyword": ("jnp.where(n > 0, size=10)", "'size'"),
    "out keyword": ("jnp.abs(n, out=n)", "'out'"),
    "method of a number": ("now.inventory.wood.item()", "'item'"),
    "attribute of a number": ("now.inventory.wood.at", "no attribute 'at'"),
    "method with a side effect": ("now.inventory.wood.block_until_ready()", "'block_until_ready'"),
    "a group as a number": ("now.inventory + 1", "now.inventory.stone"),
    "a snapshot as a number": ("now", "group of fields"),
    "a group in a call": ("jnp.sum(now.inventory)", "group of fields"),
    "unknown field": ("now.inventory.wod", "Did you mean 'wood'?"),
    "unknown group": ("now.inventor.wood", "Did you mean 'inventory'?"),
    "unknown member": ("now.facing_block == BlockType.TREES", "Did you mean 'TREE'?"),
    "enum without member": ("BlockType", "BlockType.GRASS"),
    "name of a member": ("BlockType.TREE.name", "Write BlockType.TREE"),
    "unknown name": ("nox", "Did you mean 'now'?"),
    "unknown jnp function": ("jnp.absolut(n)", "Did you mean 'absolute'?"),
    "function not called": ("jnp.where", "without a call"),
    "library as a value": ("jnp", "as a value"),
    "builtin as a value": ("abs", "without a call"),
    "recursion": ("reward(start, prev, now, n)", "Only reward may call is_done"),
    "other arguments": ("is_done(start, now, now, n)", "is_done(start, prev, now, n)"),
    "call of a call": ("abs(n)(n)", "something other than a function"),
    "call of a number": ("n(1)", "something other than a function"),
}

# As the whole source.
PAIR = """def is_done(start, prev, now, n):
    return n > 1

def reward(start, prev, now, n):
    return 1.0
"""
SOURCES = {
    "syntax error": ("def is_done(:\n", "line 1"),
    "bad indentation": ("def is_done(start, prev, now, n):\nreturn 1\n", "line 2"),
    "null byte": (PAIR + "\x00", "null bytes"),
    "too long": (PAIR + "# " + "x" * 20_000, "characters"),
    "too many nodes": ("X = " + "+".join(["1"] * 2_000) + "\n" + PAIR, "too"),
    "deep parentheses": ("X = " + "(" * 5_000 + "\n", "nested"),
    "deep unary operators": ("X = " + "-" * 11_000 + "1\n", "nested"),
    "deep sum": ("X = " + "1+" * 5_900 + "1\n", "nested"),
    "deep attributes": ("X = a" + ".b" * 5_900 + "\n", "nested"),
    "deep calls": ("X = " + "f(" * 90 + ")" * 90 + "\n" + PAIR, "calls a function"),
    "deep lambdas": ("X = " + "lambda:" * 1_600 + "1\n", "nested"),
    "import at the top": ("import os\n" + PAIR, "remove the import"),
    "import from": ("from os import system\n" + PAIR, "remove the import"),
    "code at the top": (PAIR + "print(1)\n", "stands alone"),
    "call in a constant": ("X = abs(1)\n" + PAIR, "constant calls"),
    "helper function": ("def helper(x):\n    return x\n" + PAIR, "neither is_done nor reward"),
    "class": ("class A:\n    pass\n" + PAIR, "ClassDef"),
    "async function": ("async " + PAIR, "AsyncFunctionDef"),
    "while": (PAIR.replace("return 1.0", "while True: pass"), "While"),
    "for": (PAIR.replace("return 1.0", "for i in n: pass"), "For"),
    "if": (PAIR.replace("return 1.0", "if n > 1:\n        return 1.0"), "Use jnp.where"),
    "match": (PAIR.replace("return 1.0", "match n:\n        case 1: return 1"), "Match"),
    "try": (PAIR.replace("return 1.0", "try:\n        return 1\n    except: return 2"), "Try"),
    "with": (PAIR.replace("return 1.0", "with now: return 1"), "With"),
    "raise": (PAIR.replace("return 1.0", "raise now"), "Raise"),
    "assert": (PAIR.replace("return 1.0", "assert n > 0\n    return 1.0"), "Assert"),
    "delete": (PAIR.replace("return 1.0", "del n\n    return 1.0"), "Delete"),
    "global": (PAIR.replace("return 1.0", "global x\n    return 1.0"), "Global"),
    "nonlocal": (PAIR.replace("return 1.0", "nonlocal x\n    return 1.0"), "Nonlocal"),
    "inner function": (PAIR.replace("return 1.0", "def f(): return 1\n    return 1.0"), "FunctionDef"),
    "inner import": (PAIR.replace("return 1.0", "import os\n    return 1.0"), "Import"),
    "pass": (PAIR.replace("return 1.0", "pass"), "Pass"),
    "no return": (PAIR.replace("return 1.0", "x = 1.0"), "does not end with a return"),
    "empty return": (PAIR.replace("return 1.0", "return"), "returns nothing"),
    "code after the return": (PAIR + "    x = 1\n", "follows a return"),
    "only a docstring": (PAIR.replace("return 1.0", "'nothing'"), "does not end with a return"),
    "assigns an attribute": (
        PAIR.replace("return 1.0", "now.inventory.wood = 1\n    return 1.0"),
        "plain name",
    ),
    "assigns an element": (PAIR.replace("return 1.0", "now[0] = 1\n    return 1.0"), "plain name"),
    "assigns a library": (PAIR.replace("return 1.0", "jnp = 1\n    return 1.0"), "'jnp'"),
    "assigns a parameter": (PAIR.replace("return 1.0", "n += 1\n    return 1.0"), "'n'"),
    "assigns a function at the top": ("is_done = 1\n" + PAIR, "'is_done'"),
    "aliases a library": (PAIR.replace("return 1.0", "x = jnp\n    return x.save(n)"), "as a value"),
    "aliases a builtin": (PAIR.replace("return 1.0", "x = abs\n    return x(n)"), "without a call"),
    "unpacks a list": (PAIR.replace("return 1.0", "a, b = [1, 2]\n    return a"), "List"),
    "unpacks unevenly": (PAIR.replace("return 1.0", "a, b = 1, 2, 3\n    return a"), "lengths"),
    "unpacks with a star": (PAIR.replace("return 1.0", "a, *b = 1, 2\n    return a"), "plain name"),
    "name before its assignment": (PAIR.replace("return 1.0", "y = x\n    x = 1\n    return y"), "'x'"),
    "declared without value": (PAIR.replace("return 1.0", "x: int\n    return 1.0"), "without a value"),
    "underscore name": (PAIR.replace("return 1.0", "__builtins__ = 1\n    return 1.0"), "not plain"),
    "annotation runs code": (PAIR.replace("now, n):", "now, n: open('x')):", 1), "annotation"),
    "default runs code": (PAIR.replace("now, n)", "now, n=open('x'))", 1), "does not take exactly"),
    "decorator": ("@abs\n" + PAIR, "decorator"),
    "star parameter": (PAIR.replace("(start, prev, now, n)", "(*args)", 1), "does not take exactly"),
    "other parameters": (PAIR.replace("(start, prev, now, n)", "(state, n)", 1), "(start, prev, now, n)"),
    "defined twice": (PAIR + PAIR, "defined twice"),
    "one missing": (PAIR.split("\n\n")[0], "reward is not defined"),
    "global constant is a string": ("X = 'secret'\n" + PAIR, "str constant"),
    "operator assignment with a huge power": (
        PAIR.replace("return 1.0", "x = 9\n    x **= 99999\n    return x"),
        "expo",
    ),
    "type alias": ("type X = int\n" + PAIR, "line 1"),
}


@pytest.mark.parametrize("case", EXPRESSIONS)
def test_refuses_an_expression(
    case: str, spec: SnapshotSpec, enums: dict[str, dict[str, int]], write_source: Callable[..., str]
) -> None:
    expression, word = EXPRESSIONS[case]
    with pytest.raises(ProposalRefused) as refused:
        check_source(write_source(reward=expression), spec, enums)
    assert refused.value.stage == "static"
    assert word in str(refused.value)
    assert "line 5" in refused.value.reason
    assert refused.value.fix


@pytest.mark.parametrize("case", SOURCES)
def test_refuses_a_source(case: str, spec: SnapshotSpec, enums: dict[str, dict[str, int]]) -> None:
    source, word = SOURCES[case]
    warnings.simplefilter("error")  # pytest puts the filters back
    with pytest.raises(ProposalRefused) as refused:
        check_source(source, spec, enums)
    assert refused.value.stage == "static"
    assert word in str(refused.value)
    assert refused.value.fix
    assert len(str(refused.value)) < 500


HONEST = {
    "as in the docs": "1.0 * (now.inventory.wood - prev.inventory.wood)",
    "where": "jnp.where(now.inventory.wood > prev.inventory.wood, 1.0, -0.01)",
    "flags with parentheses": "jnp.float32((now.sleeping) & ~(prev.sleeping) | (n > 3))",
    "cast by method": "(now.inventory.wood > 0).astype(jnp.float32)",
    "cast with a builtin dtype": "now.sleeping.astype(float) + jnp.array(now.sleeping, dtype=int)",
    "long name of the library": "jax.numpy.tanh(now.closest_blocks.tree.distance) + jax.nn.relu(n)",
    "enum": "1.0 * (now.facing_block == BlockType.TREE) + (now.facing_block != BlockType.STONE.value)",
    "stack": "jnp.sum(jnp.stack([now.inventory.wood, now.inventory.stone], axis=0))",
    "nested lists": "jnp.array([[1.0, 2.0], [3.0, n]]).sum()".replace(".sum()", "").join(["jnp.max(", ")"]),
    "builtins": "float(max(0, min(now.inventory.wood, 5))) + abs(int(n)) + bool(n)",
    "small powers": "now.closest_blocks.tree.dx ** 2 + 2.0 ** -n + now.floor ** -1",
    "constants of the library": "jnp.minimum(now.closest_blocks.tree.distance, jnp.inf) * jnp.pi * 0",
    "done inside the reward": "jnp.where(is_done(start, prev, now, n), 10.0, 0.0)",
}


@pytest.mark.parametrize("case", HONEST)
def test_accepts_an_honest_expression(
    case: str, spec: SnapshotSpec, enums: dict[str, dict[str, int]], write_source: Callable[..., str]
) -> None:
    check_source(write_source(reward=HONEST[case]), spec, enums)


def test_accepts_the_shapes_that_models_write(spec: SnapshotSpec, enums: dict[str, dict[str, int]]) -> None:
    check_source(
        '''
"""A module docstring with {braces} and \\d escapes."""
GOAL: float = 2 * 3.5  # a constant
TREE = BlockType.TREE
HALF = GOAL / 2

def is_done(start: Snapshot, prev: s.Snapshot, now, n: int) -> jnp.ndarray:
    """Has it n more?"""
    inventory, before = now.inventory, start.inventory
    tree = now.closest_blocks.tree
    gained = inventory.wood - before.wood
    gained += 0 * tree.dx
    return (gained >= n) & (now.facing_block == TREE)

def reward(start, prev, now, n):
    a = b = HALF
    c, d = a + b, 1.0
    c: float = c * d
    return c
''',
        spec,
        enums,
    )
