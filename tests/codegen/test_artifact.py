"""Artifacts: round trips, and what the parent refuses although a child sent it or a disk held it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from flowrl.codegen.allowed import JNP_CONSTANTS, JNP_DTYPES, JNP_FUNCTIONS, NN_FUNCTIONS, PLATFORMS
from flowrl.codegen.artifact import SkillProgram, load, seal
from flowrl.codegen.static import check_source
from flowrl.codegen.tracer import Tracer
from flowrl.errors import ProposalRefused
from flowrl.worlds.snapshot import SnapshotSpec

Enums = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def compile_skill(
    tracer: Tracer, spec: SnapshotSpec, enums: Enums, write_source: Callable[..., str]
) -> Callable[..., SkillProgram]:
    def compile_(**parts: str) -> SkillProgram:
        source = write_source(**parts)
        check_source(source, spec, enums)
        return seal(tracer.trace(source, spec, enums), len(spec))

    return compile_


def rows(spec: SnapshotSpec, count: int, **values: float) -> np.ndarray:
    """float32 ``[count, D]`` with the fields of these paths (``__`` for a dot) set."""
    made = np.zeros((count, len(spec)), np.float32)
    for path, value in values.items():
        made[:, spec.columns[path.replace("__", ".")]] = value
    return made


def test_computes_what_the_code_says(compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec) -> None:
    program = compile_skill(reward="1.0 * (now.inventory.wood - prev.inventory.wood) + 0.5 * now.sleeping")
    start, prev = rows(spec, 3, inventory__wood=1), rows(spec, 3, inventory__wood=2)
    now = rows(spec, 3, inventory__wood=4, sleeping=1)
    reward, done = program(start, prev, now, np.array([1, 3, 4], np.int32))
    np.testing.assert_array_equal(reward, np.float32([2.5, 2.5, 2.5]))
    np.testing.assert_array_equal(done, [True, True, False])
    assert (reward.dtype, done.dtype) == (jnp.float32, jnp.bool_)


@pytest.mark.parametrize("batch", [1, 2, 64, 1000])
def test_takes_any_batch_size_inside_jit(
    batch: int, compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec
) -> None:
    program = compile_skill()
    table = rows(spec, batch)
    reward, done = jax.jit(lambda *arrays: program(*arrays))(table, table, table, np.ones(batch, np.int32))
    assert reward.shape == done.shape == (batch,)


def test_fields_have_their_own_types(compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec) -> None:
    program = compile_skill(reward="now.vitals.food // 2 + now.closest_blocks.tree.distance / 2")
    table = rows(spec, 1, vitals__food=5, closest_blocks__tree__distance=5)
    assert program(table, table, table, np.ones(1, np.int32))[0][0] == 2 + 2.5


def test_builtins_mean_what_they_mean_in_python(
    compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec
) -> None:
    program = compile_skill(
        reward="max(2, min(now.vitals.food, 7), 1) + 10 * int(-2.7 * n) + 100 * bool(n - 1) + abs(-0.5)"
    )
    table = rows(spec, 2, vitals__food=9)
    reward, _ = program(table, table, table, np.array([1, 2], np.int32))
    np.testing.assert_allclose(reward, [7 - 20 + 0.5, 7 - 50 + 100 + 0.5])


def test_round_trips_as_bytes(compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec) -> None:
    program = compile_skill()
    again = load(program.artifact, len(spec))
    assert again == program
    assert again.digest == program.digest == hashlib.sha256(program.artifact[48:]).hexdigest()
    table = rows(spec, 4, inventory__wood=3)
    for one, other in zip(
        program(0 * table, 0 * table, table, np.ones(4, np.int32)),
        again(0 * table, 0 * table, table, np.ones(4, np.int32)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_the_same_code_gives_the_same_bytes_in_every_child(
    compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec, write_source: Callable[..., str]
) -> None:
    with Tracer() as other:
        assert seal(other.trace(write_source(), spec, {}), len(spec)) == compile_skill()


def test_no_path_of_this_machine_is_inside(compile_skill: Callable[..., SkillProgram]) -> None:
    assert b"worker" not in compile_skill().artifact
    assert b"codegen" not in compile_skill().artifact


@pytest.mark.parametrize("name", sorted(JNP_FUNCTIONS | NN_FUNCTIONS))
def test_every_allowed_function_gets_through(
    name: str, tracer: Tracer, spec: SnapshotSpec, write_source: Callable[..., str]
) -> None:
    library = "jax.nn" if name in NN_FUNCTIONS else "jnp"
    distance, flag, count = "now.closest_blocks.tree.distance", "now.sleeping", "now.inventory.wood"
    for arguments in (
        distance, count, f"{distance}, {distance}", f"{flag}, {flag}", f"{flag}, {distance}, {count}",
        f"[{distance}, 1.0]", flag,
    ):  # fmt: skip
        source = write_source(reward=f"jnp.sum({library}.{name}({arguments}))")
        check_source(source, spec, {})
        try:
            payload = tracer.trace(source, spec, {})
        except ProposalRefused:
            continue  # Other arguments are right for this function.
        assert seal(payload, len(spec)).operations
        return
    raise AssertionError(f"no arguments fit {name}")


def test_the_other_allowed_names_exist() -> None:
    assert all(hasattr(jnp, name) for name in JNP_DTYPES | JNP_CONSTANTS)


REFUSED_BY_TYPE = {
    "done is a number": ({"done": "now.inventory.wood"}, "is_done returns int32, not bool"),
    "done is a float": ({"done": "1.0 * n"}, "is_done returns float32, not bool"),
    "done is None": ({"done": "None"}, "is_done does not return a number"),
    "reward is an array": ({"reward": "jnp.stack([n, n])"}, "shape (2,)"),
    "reward is None": ({"reward": "None"}, "reward does not return a number"),
    "flags subtracted": ({"reward": "now.sleeping - prev.sleeping"}, "jnp.float32(now.x)"),
    "size from the game": ({"reward": "jnp.sum(n, axis=n)"}, "jnp.where"),
    "shapes that do not fit": ({"reward": "jnp.sum(jnp.stack([n, n]) + jnp.stack([n, n, n]))"}, "shapes"),
    "not a list": ({"reward": "jnp.sum(jnp.stack(n))"}, "jnp.stack([a, b])"),
    "division by a constant zero": ({"reward": "1 / 0"}, "divided by zero"),
    "integer overflow": ({"reward": "2147483647 * 2147483647 + n"}, "int32"),
    "too large an array": ({"reward": "jnp.sum(jnp.ones_like(n, None, (50000,)))"}, "50000 elements"),
    "an enormous array": (
        {"reward": "jnp.sum(jnp.full_like(n, 1, float, [1000000, 1000000]))"},
        "builds an array",
    ),
    "no arguments": ({"reward": "jnp.maximum(n)"}, "argument"),
}


@pytest.mark.parametrize("case", REFUSED_BY_TYPE)
def test_refuses_at_trace(case: str, compile_skill: Callable[..., SkillProgram]) -> None:
    parts, words = REFUSED_BY_TYPE[case]
    with pytest.raises(ProposalRefused) as refused:
        compile_skill(**parts)
    assert refused.value.stage == "trace"
    assert words in str(refused.value)
    assert refused.value.fix


def test_refuses_too_many_operations(
    tracer: Tracer, spec: SnapshotSpec, write_source: Callable[..., str]
) -> None:
    doubling = "\n".join(f"    x = jnp.where(x > {i}, x, -x) + n % {i + 2}" for i in range(280))
    source = write_source().replace("    return 1.0 *", f"    x = n\n{doubling}\n    return x + 1.0 *")
    with pytest.raises(ProposalRefused, match="operations, over the limit"):
        seal(tracer.trace(source, spec, {}), len(spec))


def test_growing_integers_end_at_the_time_out(spec: SnapshotSpec, write_source: Callable[..., str]) -> None:
    squares = "\n".join("    x = x * x" for _ in range(60))
    source = write_source().replace("    return 1.0 *", f"    x = 9\n{squares}\n    return x + 1.0 *")
    check_source(source, spec, {})
    with Tracer(timeout_s=2.0) as impatient:
        assert impatient.containment
        with pytest.raises(ProposalRefused) as refused:
            impatient.trace(source, spec, {})
    assert refused.value.stage == "trace"


def forge(
    judge: Callable[[jax.Array], object],
    spec: SnapshotSpec,
    platforms: tuple[str, ...] = PLATFORMS,
    trusted: str = "",
) -> bytes:
    """What a child under foreign control could send: any function of n, exported with the right arguments."""
    (batch,) = export.symbolic_shape("b")
    table = jax.ShapeDtypeStruct((batch, len(spec)), jnp.float32)
    counts = jax.ShapeDtypeStruct((batch,), jnp.int32)
    jitted = jax.jit(lambda *arrays: judge(arrays[-1]), keep_unused=True)
    checks = [export.DisabledSafetyCheck.custom_call(trusted)] if trusted else []
    exported = export.export(jitted, platforms=platforms, disabled_checks=checks)
    return bytes(exported(table, table, table, counts).serialize())


def honest(n: jax.Array) -> tuple[jax.Array, jax.Array]:
    return n * 1.0, n > 1


def _loop(n: jax.Array) -> object:
    return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x, n * 1.0), n > 1


FORGED: dict[str, tuple[Callable[[jax.Array], object], str]] = {
    "while": (_loop, "uses stablehlo.while"),
    "random": (lambda n: (n + jax.random.uniform(jax.random.key(0)), n > 1), "uses"),
    "sort": (lambda n: (jnp.sort(n * 1.0), n > 1), "uses"),
    "every pair of episodes": (lambda n: ((n[:, None] + n[None]).sum(1) * 1.0, n > 1), "builds an array"),
    "many elements an episode": (
        lambda n: (jnp.ones((n.shape[0] * 10_000,)).sum() + n, n > 1),
        "builds an array",
    ),
    "many elements": (lambda n: (jnp.ones((50_000,)).sum() + n, n > 1), "builds an array"),
    "large constant": (lambda n: (np.arange(50_000.0, dtype=np.float32) @ jnp.ones(50_000) + n, n > 1), ""),
    "results swapped": (lambda n: (n > 1, n * 1.0), "does not map"),
    "three results": (lambda n: (n * 1.0, n > 1, n), "does not map"),
    "no batch": (lambda n: (n.sum() * 1.0, n > 1), "does not map"),
}


def test_a_forged_program_that_is_harmless_passes(spec: SnapshotSpec) -> None:
    assert seal(forge(honest, spec), len(spec)).operations


@pytest.mark.parametrize("case", FORGED)
def test_refuses_a_forged_program(case: str, spec: SnapshotSpec) -> None:
    function, words = FORGED[case]
    with pytest.raises(ProposalRefused) as refused:
        seal(forge(function, spec), len(spec))
    assert refused.value.stage == "trace"
    assert words in str(refused.value)


@pytest.mark.parametrize("target", ["xla_ffi_python_cpu_callback", "lapack_sgesdd", "anything"])
def test_refuses_custom_calls(target: str, spec: SnapshotSpec) -> None:
    def foreign(n: jax.Array) -> object:
        return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(n.shape, jnp.float32))(n), n > 1

    with pytest.raises(ProposalRefused, match=r"side effects|calls back out"):
        seal(forge(foreign, spec, trusted=target), len(spec))


def test_refuses_other_platforms_and_other_worlds(spec: SnapshotSpec) -> None:
    with pytest.raises(ProposalRefused, match="not exported by flowrl"):
        seal(forge(honest, spec, ("cpu",)), len(spec))
    with pytest.raises(ProposalRefused, match="columns"):
        seal(forge(honest, spec), len(spec) + 1)


def test_refuses_every_damaged_file(compile_skill: Callable[..., SkillProgram], spec: SnapshotSpec) -> None:
    whole = compile_skill().artifact
    generator = np.random.default_rng(0)
    damaged = [
        b"",
        b"x",
        whole[:10],
        whole[:-1],
        whole[: len(whole) // 2],
        whole + b"\x00",
        b"\x00" * len(whole),
    ]
    for _ in range(200):
        changed = bytearray(whole)
        changed[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        damaged.append(bytes(changed))
    for data in damaged:
        with pytest.raises(ProposalRefused):
            load(data, len(spec))


def test_refuses_payloads_that_are_no_export(spec: SnapshotSpec) -> None:
    generator = np.random.default_rng(1)
    for data in (b"", b"\x00" * 64, generator.bytes(5_000), b"\xff" * 5_000, bytes(2 << 20)):
        with pytest.raises(ProposalRefused) as refused:
            seal(data, len(spec))
        assert refused.value.stage == "trace"
