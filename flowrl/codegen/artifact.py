"""Artifacts: exported skill programs, as bytes. The parent trusts none that it has not read itself.

An artifact is a magic word, a SHA-256 digest and what ``jax.export`` serialized. The digest catches files
that rotted or were cut off before anything but Python looks at them. Then the StableHLO module is read
against an allow-list of operations, so that calling the program can only compute numbers.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.extend import mlir as portable
from jax.interpreters import mlir
from jaxlib.mlir import ir

from flowrl.codegen.allowed import PLATFORMS
from flowrl.errors import ProposalRefused

MAX_BYTES = 1 << 20
MAX_OPERATIONS = 2_000
MAX_UNREFINED_OPERATIONS = 40_000
MAX_ELEMENTS = 4_096

_MAGIC = b"flowrl-skill-1\n\x00"
_HEADER_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_FIX = "Work on single numbers with arithmetic and jnp functions."

# Batch sizes at which all shapes are worked out: the small one bounds arrays of fixed size, the large one
# those that grow with the square of the batch. Nothing is computed, so the large one costs nothing.
_PROBE_BATCHES = (7, 100_003)

_STABLEHLO = """
    abs add and atan2 broadcast_in_dim cbrt ceil clamp compare concatenate constant convert cosine divide
    dynamic_broadcast_in_dim dynamic_iota dynamic_reshape dynamic_slice exponential exponential_minus_one
    floor get_dimension_size iota is_finite log log_plus_one logistic maximum minimum multiply negate not or
    pad power real_dynamic_slice reduce remainder reshape return round_nearest_afz round_nearest_even rsqrt
    select shift_right_logical sign sine slice sqrt subtract tan tanh transpose xor
"""
_CHLO = "square asinh erf is_inf is_neg_inf is_pos_inf"
_OPERATIONS = frozenset(
    ["builtin.module", "func.func", "func.return", "func.call"]
    + [f"stablehlo.{name}" for name in _STABLEHLO.split()]
    + [f"chlo.{name}" for name in _CHLO.split()]
)
_CUSTOM_CALL = "stablehlo.custom_call"
_SHAPE_ASSERTION = "shape_assertion"
"""What jax.export itself adds to check the batch sizes; it compiles to nothing. The only custom call."""


class SkillProgram:
    """``(start, prev, now, n) -> (reward, done)`` as checked arrays in, arrays out.

    Build it with :func:`seal` or :func:`load`. Two programs are equal when their bytes are.

    Attributes:
        artifact: the bytes that :func:`load` reads.
        width: D, the number of snapshot columns.
        operations: how many StableHLO operations it has, all calls written out.
    """

    def __init__(self, artifact: bytes, exported: export.Exported, width: int, operations: int) -> None:
        self.artifact = artifact
        self.operations = operations
        self.width = width
        self._exported = exported

    def __call__(
        self, start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Judges one step of B episodes. Works inside ``jit``, for any B >= 1; does not ``vmap``.

        Args:
            start: float32 ``[B, D]``, the snapshots at the skill's start.
            prev: float32 ``[B, D]``, before this step.
            now: float32 ``[B, D]``, after this step.
            n: int32 ``[B]``, the repeat counts.

        Returns:
            reward: float32 ``[B]``.
            done: bool ``[B]``.

        Raises:
            ValueError: for other shapes or types.
        """
        reward, done = self._exported.call(start, prev, now, n)
        return reward, done

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the program, in hex: the same code gives the same digest."""
        return self.artifact[len(_MAGIC) : _HEADER_BYTES].hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SkillProgram) and self.artifact == other.artifact

    def __hash__(self) -> int:
        return hash(self.artifact)


def seal(payload: bytes, width: int) -> SkillProgram:
    """Checks what the tracing child sent and makes it an artifact.

    Args:
        payload: what ``jax.export`` serialized; untrusted.
        width: D, the number of snapshot columns of the world.

    Raises:
        ProposalRefused: stage ``trace``.
    """
    exported, operations = _read(payload, width)
    return SkillProgram(_MAGIC + hashlib.sha256(payload).digest() + payload, exported, width, operations)


def load(artifact: bytes, width: int) -> SkillProgram:
    """Reads an artifact back, with every check that :func:`seal` makes.

    Raises:
        ProposalRefused: stage ``trace``.
    """
    payload = artifact[_HEADER_BYTES:]
    if not artifact.startswith(_MAGIC):
        raise _refused("is not a skill artifact of this version")
    if artifact[len(_MAGIC) : _HEADER_BYTES] != hashlib.sha256(payload).digest():
        raise _refused("is damaged: its checksum does not match")
    return seal(payload, width)


def _refused(what: str, fix: str = _FIX) -> ProposalRefused:
    return ProposalRefused("trace", f"The traced program {what}.", fix)


def _read(payload: bytes, width: int) -> tuple[export.Exported, int]:
    if len(payload) > MAX_BYTES:
        raise _refused(f"has {len(payload)} bytes, over the limit of {MAX_BYTES}")
    try:
        exported = export.deserialize(bytearray(payload))
        text = exported.mlir_module()
    except Exception as error:
        raise _refused(f"cannot be read ({type(error).__name__})") from None
    _check_signature(exported, width)
    try:
        with mlir.make_ir_context():
            module = ir.Module.parse(text)
            _check_operations(module, width)
        return exported, _check_sizes(exported, width)
    except ProposalRefused:
        raise
    except Exception as error:
        raise _refused(f"is not valid StableHLO ({type(error).__name__})") from None


def _check_signature(exported: export.Exported, width: int) -> None:
    """Compares what the header claims with the one signature that there is."""
    batch: tuple[Any, ...] = exported.in_avals[0].shape[:1] if exported.in_avals else ()
    symbolic = len(batch) == 1 and export.is_symbolic_dim(batch[0])
    rows, counts = ((*batch, width), jnp.dtype("float32")), (batch, jnp.dtype("int32"))
    expected_in = [rows, rows, rows, counts]
    expected_out = [(batch, jnp.dtype("float32")), (batch, jnp.dtype("bool"))]
    found_in = [(aval.shape, aval.dtype) for aval in exported.in_avals]
    found_out = [(aval.shape, aval.dtype) for aval in exported.out_avals]
    if not symbolic or found_in != expected_in or found_out != expected_out:
        raise _refused(
            f"does not map snapshots of {width} columns to (reward, done)", "Trace it for this world."
        )
    placed = exported.platforms == PLATFORMS and exported.nr_devices == 1
    effects = exported.ordered_effects or exported.unordered_effects or exported.disabled_safety_checks
    if not placed or effects or exported.has_vjp() or exported.module_kept_var_idx != (0, 1, 2, 3):
        raise _refused("was not exported by flowrl, or has side effects")


def _check_operations(module: Any, width: int) -> None:
    """The allow-list, the true signature of ``main``, and a bound on calls before anything inlines them."""
    functions = {operation.attributes["sym_name"].value: operation for operation in _top_level(module)}
    sizes: dict[str, int] = {}
    for name in functions:
        _expanded_size(name, functions, sizes, ())
    main = functions.get("main")
    rows = f"tensor<?x{width}xf32>"
    signature = f"(tensor<i32>, {rows}, {rows}, {rows}, tensor<?xi32>) -> (tensor<?xf32>, tensor<?xi1>)"
    if main is None or str(main.attributes["function_type"].value) != signature:
        raise _refused("has another signature than it claims")
    if sizes["main"] > MAX_UNREFINED_OPERATIONS:
        raise _refused(f"has more than {MAX_UNREFINED_OPERATIONS} operations", "Write less code.")


def _top_level(module: Any) -> Iterator[Any]:
    for operation in module.body.operations:
        if operation.operation.name != "func.func":
            raise _refused(f"uses {operation.operation.name}")
        yield operation.operation


def _expanded_size(
    name: str, functions: dict[str, Any], sizes: dict[str, int], callers: tuple[str, ...]
) -> int:
    """Operations of one function with all calls written out; refuses what is not on the allow-list."""
    if name in sizes:
        return sizes[name]
    if name in callers or name not in functions or len(callers) > 50:
        raise _refused("calls functions in a circle, or functions that are not there")
    size = 0
    for operation in _walk(functions[name]):
        size += 1
        if operation.name == "func.call":
            size += _expanded_size(operation.attributes["callee"].value, functions, sizes, (*callers, name))
        elif operation.name == _CUSTOM_CALL:
            target = operation.attributes["call_target_name"].value
            if target != _SHAPE_ASSERTION or len(operation.results):
                raise _refused(f"calls back out of the program ({target})")
        elif operation.name not in _OPERATIONS:
            raise _refused(f"uses {operation.name}")
    sizes[name] = size
    return size


def _check_sizes(exported: export.Exported, width: int) -> int:
    """Works out every shape at two batch sizes and bounds operations and arrays; returns the operations.

    On the module as exported the batch is unknown, and so would be the size of an array whose shape a
    forged artifact computes.
    """
    operations = 0
    for batch in _PROBE_BATCHES:
        rows = jax.ShapeDtypeStruct((batch, width), jnp.float32)
        counts = jax.ShapeDtypeStruct((batch,), jnp.int32)
        module: Any = jax.jit(exported.call).lower(rows, rows, rows, counts).compiler_ir("stablehlo")
        buffer = io.BytesIO()
        module.operation.write_bytecode(buffer)
        refined = portable.refine_polymorphic_shapes(buffer.getvalue(), True, True)
        with mlir.make_ir_context():
            # Operations are views: the module must outlive them.
            static = ir.Module.parse(refined)
            count = 0
            for operation in _walk(static.operation):
                count += 1
                for result in operation.results:
                    _check_type(result.type, max(MAX_ELEMENTS, width), batch)
        operations = max(operations, count)
    if operations > MAX_OPERATIONS:
        raise _refused(f"has {operations} operations, over the limit of {MAX_OPERATIONS}", "Write less code.")
    return operations


def _check_type(kind: Any, max_elements: int, batch: int) -> None:
    if not isinstance(kind, ir.RankedTensorType) or not kind.has_static_shape:
        raise _refused("has values of unknown shape")
    elements = math.prod(kind.shape)
    if elements > max_elements * batch:
        raise _refused(f"builds an array of {elements} elements for {batch} episodes")


def _walk(operation: Any) -> Iterator[Any]:
    """Every operation inside ``operation``, at any depth, without itself."""
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from _walk(inner.operation)
