"""The files of one node or practice: written once, checked by their sha256 whenever they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrl.errors import GraphError
from flowrl.skills.graph import Failure, Practice, SkillNode
from flowrl.skills.strict_json import encode
from flowrl.store import atomic, jsonl
from flowrl.store.arrays import Tree, load_arrays, save_arrays
from flowrl.store.faults import reading
from flowrl.store.layout import EntryLayout, GraphLayout, PracticeLayout


@dataclass(frozen=True)
class LoadedNode:
    """What is needed to run a skill again.

    Attributes:
        node: its record in the graph.
        proposal: the model's whole reply.
        artifact: the checked skill code, as exported.
        params: the trained policy: nested dicts of numpy arrays.
    """

    node: SkillNode
    proposal: str
    artifact: bytes
    params: Tree


def write_node(
    entry: EntryLayout,
    node: SkillNode,
    reply: str,
    artifact: bytes,
    params: Tree,
    start_states: Tree | None,
    curves: Iterable[Mapping[str, Any]],
) -> dict[str, str]:
    """Writes all files of a node into ``entry`` (a folder not yet in place) and returns their sha256.

    Raises:
        OSError: when the file system fails.
        TypeError: when a tree holds something that is no array.
    """
    claim = {"name": node.name, "description": node.description, **node.operator.to_json()}
    entry.proposal.write_bytes(_text(reply))
    entry.operator.write_bytes(_pretty(claim))
    entry.artifact.write_bytes(artifact)
    entry.evidence.write_bytes(_pretty(node.evidence))
    entry.curves.write_bytes(jsonl.lines(curves))
    entry.params.parent.mkdir()
    save_arrays(entry.params, params)
    if start_states is not None:
        entry.start_states.parent.mkdir()
        save_arrays(entry.start_states, start_states)
    written = sorted(path for path in entry.root.rglob("*") if path.is_file())
    return {path.relative_to(entry.root).as_posix(): atomic.sha256_of(path) for path in written}


def write_failure(
    entry: EntryLayout, failure: Failure, reply: str, curves: Iterable[Mapping[str, Any]]
) -> None:
    """Writes what a refused skill left: its reply, its curves, and why it was refused.

    Raises:
        OSError: when the file system fails.
    """
    entry.proposal.write_bytes(_text(reply))
    entry.evidence.write_bytes(_pretty(failure.summary()))
    entry.curves.write_bytes(jsonl.lines(curves))


def write_practice(
    folder: PracticeLayout, params: Tree, curves: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """Writes the files of a practice into ``folder`` (not yet in place) and returns their sha256.

    Raises:
        OSError: when the file system fails.
    """
    save_arrays(folder.policies, params)
    folder.curves.write_bytes(jsonl.lines(curves))
    return {path.name: atomic.sha256_of(path) for path in (folder.policies, folder.curves)}


def load_practice(layout: GraphLayout, practice: Practice) -> Tree:
    """The policies of a practice, in the form in which they were trained.

    Raises:
        GraphError: naming the file that is missing or damaged.
    """
    return load_arrays(_of_practice(practice, PracticeLayout(layout.root / practice.folder).policies), _UNDO)


def load_practice_curves(layout: GraphLayout, practice: Practice) -> list[dict[str, Any]]:
    """The training curves of a practice, oldest first.

    Raises:
        GraphError: naming the file that is missing or damaged.
    """
    path = _of_practice(practice, PracticeLayout(layout.root / practice.folder).curves)
    with reading(path, _UNDO):
        return jsonl.parse(path.read_bytes(), path, _UNDO)


_UNDO = "Put back a good copy of it, or set the practice aside with: flowrl practice --undo."


def _of_practice(practice: Practice, path: Path) -> Path:
    with reading(path, _UNDO):
        found = atomic.sha256_of(path)
    if found != practice.files.get(path.name):
        raise GraphError(f"{path} is damaged: its sha256 is not the recorded one. {_UNDO}")
    return path


def verify_node(layout: GraphLayout, node: SkillNode) -> None:
    """Compares every file of a node with its recorded sha256.

    Raises:
        GraphError: naming the first file that is missing or damaged.
    """
    entry = layout.node(node.index, node.name)
    for name in node.files:
        _verified(entry, node, entry.root / name)


def load_node(layout: GraphLayout, node: SkillNode) -> LoadedNode:
    """Reads a node's proposal, artifact and policy.

    Raises:
        GraphError: naming the file that is missing or damaged.
    """
    entry = layout.node(node.index, node.name)
    return LoadedNode(
        node=node,
        proposal=_read(entry, node, entry.proposal).decode(),
        artifact=_read(entry, node, entry.artifact),
        params=load_arrays(_verified(entry, node, entry.params), _fix(node)),
    )


def load_start_states(layout: GraphLayout, node: SkillNode) -> Tree | None:
    """The bank of start states, or None when the node was committed without one.

    Raises:
        GraphError: naming the file that is missing or damaged.
    """
    entry = layout.node(node.index, node.name)
    if entry.start_states.relative_to(entry.root).as_posix() not in node.files:
        return None
    return load_arrays(_verified(entry, node, entry.start_states), _fix(node))


def load_curves(layout: GraphLayout, node: SkillNode) -> list[dict[str, Any]]:
    """The training curves, oldest first.

    Raises:
        GraphError: naming the file that is missing or damaged.
    """
    entry = layout.node(node.index, node.name)
    return jsonl.parse(_read(entry, node, entry.curves), entry.curves, _fix(node))


def load_refused_reply(layout: GraphLayout, failure: Failure) -> str | None:
    """What was refused, as the model wrote it; None when there was nothing to keep, or it is gone."""
    if failure.folder is None:
        return None
    path = EntryLayout(layout.root / failure.folder).proposal
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _verified(entry: EntryLayout, node: SkillNode, path: Path) -> Path:
    name = path.relative_to(entry.root).as_posix()
    with reading(path, _fix(node)):
        found = atomic.sha256_of(path)
    if found != node.files.get(name):
        raise GraphError(f"{path} is damaged: its sha256 is not the recorded one. {_fix(node)}")
    return path


def _read(entry: EntryLayout, node: SkillNode, path: Path) -> bytes:
    with reading(path, _fix(node)):
        return _verified(entry, node, path).read_bytes()


def _fix(node: SkillNode) -> str:
    return (
        f"Put back a good copy of it, or learn on from before this node with --current_i {node.index} "
        "(what follows goes to archive/)."
    )


def _pretty(record: Any) -> bytes:
    return json.dumps(encode(record), indent=1, allow_nan=False).encode() + b"\n"


def _text(reply: str) -> bytes:
    # A lone surrogate in a model's reply has no UTF-8 form; it must not cost a trained skill.
    return reply.encode(errors="replace")
