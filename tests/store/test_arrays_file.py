"""Nested arrays through a file: nothing changes, and no damage goes unnoticed or unnamed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from flowrl.errors import GraphError
from flowrl.store.arrays import load_arrays, save_arrays

DTYPES = (
    npst.boolean_dtypes()
    | npst.integer_dtypes(endianness="?")
    | npst.unsigned_integer_dtypes()
    | npst.floating_dtypes(endianness="?")
    | npst.unicode_string_dtypes(max_len=3)
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4))
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
TREES = st.recursive(
    ARRAYS | SCALARS,
    lambda inner: (
        st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    else:
        assert repr(found) == repr(expected)


@given(tree=TREES)
def test_round_trip(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("arrays") / "tree.npz"
    save_arrays(path, tree)
    assert_same(load_arrays(path, "Fix."), tree)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_the_small_floats_of_accelerators(dtype: type, tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).astype(dtype)
    save_arrays(tmp_path / "a.npz", {"w": array})
    assert_same(load_arrays(tmp_path / "a.npz", "Fix."), {"w": array})


def test_arrays_of_jax_and_views_come_back_as_numpy(tmp_path: Path) -> None:
    view = np.arange(12).reshape(3, 4).T[::2]
    save_arrays(tmp_path / "a.npz", {"jax": jnp.ones((2, 2), jnp.int32), "view": view, "one": np.float32(3)})
    loaded = load_arrays(tmp_path / "a.npz", "Fix.")
    assert_same(loaded["jax"], np.ones((2, 2), np.int32))
    assert_same(loaded["view"], np.ascontiguousarray(view))
    assert_same(loaded["one"], np.array(3, np.float32))


def test_numpy_alone_can_open_it_without_pickle(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", {"params": {"Dense_0": {"kernel": np.eye(2)}}, "a/b": np.zeros(1)})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as plain:
        np.testing.assert_array_equal(plain["params/Dense_0/kernel"], np.eye(2))
        assert "a%2Fb" in plain


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, {"x": np.arange(5)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"b": object()}}, "a/b is a object"),
        ({"a": [{1, 2}]}, "a/0 is a set"),
        ({"a": {3: np.zeros(1)}}, "a has the key 3"),
        ({"a": np.array([None])}, "a is an array of Python objects"),
        (object(), "the tree is a object"),
    ],
)
def test_what_is_no_array_is_named_by_its_place(tree: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        save_arrays(tmp_path / "a.npz", tree)


def test_every_truncation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, {"x": np.arange(50), "y": [np.eye(3)]})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(GraphError, match=r"a\.npz is damaged .*Fix\."):
            load_arrays(path, "Fix.")


def test_a_flipped_byte_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    path, tree = tmp_path / "a.npz", {"x": np.arange(50), "y": [np.eye(3)]}
    save_arrays(path, tree)
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert_same(load_arrays(path, "Fix."), tree)
        except GraphError as error:
            noticed += 1
            assert "a.npz" in str(error) and str(error).endswith("Fix.")  # noqa: PT017, PT018
    assert noticed > len(whole) / 2


@pytest.mark.parametrize(
    "structure",
    [[], 3, {}, {"nope": 1}, {"dict": []}, {"array": "absent"}, {"array": "x", "dtype": "nope"}, {"list": 3}],
)
def test_a_tree_that_makes_no_sense_is_named(structure: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tree.json", json.dumps(structure))
        with archive.open("x.npy", "w") as member:
            np.save(member, np.zeros(1))
    with pytest.raises(GraphError, match=r"a\.npz is damaged"):
        load_arrays(path, "Fix.")


def test_a_pickle_inside_is_refused_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tree.json", json.dumps({"array": "x"}))
        with archive.open("x.npy", "w") as member:
            np.lib.format.write_array(member, np.array([{}]), allow_pickle=True)
    with pytest.raises(GraphError, match="allow_pickle=False"):
        load_arrays(path, "Fix.")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"a\.npz is missing. Fix\."):
        load_arrays(tmp_path / "a.npz", "Fix.")
