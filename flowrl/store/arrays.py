"""Nested arrays in one file, without pickle: an ``.npz`` that ``numpy.load`` opens, plus ``tree.json``.

Dictionaries (text keys), lists, tuples, ``None``, Python scalars and arrays keep their structure, dtype and
shape. Anything else is refused by its place in the tree: the store knows no environment's classes.
"""

from __future__ import annotations

import importlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from flowrl.errors import GraphError

Tree = Any
"""A nest of ``dict[str, Tree]``, ``list`` and ``tuple`` around arrays, Python scalars, text and ``None``."""

_TREE = "tree.json"
# Maps of tiles shrink twentyfold at the fastest level; policies hardly shrink at any.
_COMPRESSION_LEVEL = 1


def save_arrays(path: Path, tree: Tree) -> None:
    """Writes ``tree`` to the new file ``path``; atomic inside :func:`flowrl.store.atomic.new_folder`.

    Raises:
        TypeError: naming the leaf that is neither an array nor a plain scalar.
        OSError: when the file cannot be written.
    """
    leaves: dict[str, np.ndarray] = {}
    structure = _flatten(tree, (), leaves)
    with zipfile.ZipFile(
        path, "x", compression=zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL
    ) as archive:
        archive.writestr(_TREE, json.dumps(structure))
        for name, array in leaves.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_arrays(path: Path, fix: str) -> Tree:
    """Reads what :func:`save_arrays` wrote; arrays come back as numpy arrays.

    Raises:
        GraphError: naming ``path``, what is wrong with it, and ``fix``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _unflatten(json.loads(archive.read(_TREE)), archive)
    except FileNotFoundError as error:
        raise GraphError(f"{path} is missing. {fix}") from error
    except (
        zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RecursionError,
        AttributeError, KeyError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise GraphError(f"{path} is damaged ({error}). {fix}") from error


def _flatten(tree: Tree, place: tuple[str, ...], leaves: dict[str, np.ndarray]) -> Any:
    """The structure as JSON data; arrays go to ``leaves`` under a name made of their place."""
    if tree is None or type(tree) in (bool, int, float, str):
        return {"value": tree}
    if type(tree) is dict:
        for key in tree:
            if not isinstance(key, str):
                raise TypeError(f"{_shown(place)} has the key {key!r}, which is not text")
        return {"dict": {key: _flatten(item, (*place, key), leaves) for key, item in tree.items()}}
    if type(tree) in (list, tuple):
        items = [_flatten(item, (*place, str(position)), leaves) for position, item in enumerate(tree)]
        return {type(tree).__name__: items}
    if not (hasattr(tree, "__array__") and hasattr(tree, "dtype")):
        raise TypeError(
            f"{_shown(place)} is a {type(tree).__name__}, not an array; turn it into nested dicts first "
            "(flax.serialization.to_state_dict)"
        )
    array = np.asarray(tree)
    if array.dtype.hasobject:
        raise TypeError(f"{_shown(place)} is an array of Python objects")
    # A slash in a key must not look like a step down in the tree.
    name = "/".join(quote(part, safe="") for part in place) or "array"
    entry = {"array": name}
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its kin: numpy saves raw bytes
        entry["dtype"] = array.dtype.name
        array = array.view(np.dtype(f"u{array.dtype.itemsize}"))
    leaves[name] = array
    return entry


def _unflatten(structure: Any, archive: zipfile.ZipFile) -> Tree:
    if "array" in structure:
        with archive.open(f"{structure['array']}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            # The checksum is compared at the end of the member, which read_array may not reach.
            if member.read(1):
                raise ValueError(f"{structure['array']} is longer than its shape says")
        if "dtype" in structure:
            return array.view(getattr(importlib.import_module("ml_dtypes"), structure["dtype"]))
        return array
    if "dict" in structure:
        return {key: _unflatten(item, archive) for key, item in structure["dict"].items()}
    if "list" in structure:
        return [_unflatten(item, archive) for item in structure["list"]]
    if "tuple" in structure:
        return tuple(_unflatten(item, archive) for item in structure["tuple"])
    return structure["value"]


def _shown(place: tuple[str, ...]) -> str:
    return "/".join(place) or "the tree"
