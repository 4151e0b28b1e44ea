"""``graph.json``: read by anyone at any time, replaced atomically by the owner of the lock."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flowrl.errors import GraphError, UserError
from flowrl.skills.graph import SkillGraph
from flowrl.store import atomic
from flowrl.store.faults import reading
from flowrl.store.layout import GraphLayout

_CHECKSUM = "sha256"
_FIX = (
    "Put back a good copy (a backup, or the newest under archive/), or choose another --graph-path; "
    "the node folders are untouched."
)


def read_graph(graph_path: Path | str, env_name: str | None = None) -> SkillGraph:
    """The last committed graph. Takes no lock, so it works while a run is live.

    Args:
        graph_path: the folder given as ``--graph-path``.
        env_name: the world that the caller wants, or None for any.

    Raises:
        GraphError: when there is none, or it is damaged.
        UserError: when it is of another schema or of another world.
    """
    layout = GraphLayout(Path(graph_path))
    if layout.root.is_file():
        raise GraphError(f"{layout.root} is a file, not a folder. Choose another --graph-path.")
    if not layout.graph.exists():
        raise GraphError(_none_there(layout))
    try:
        data = json.loads(read_manifest(layout))
    except (ValueError, RecursionError) as error:
        raise GraphError(f"{layout.graph} is damaged: it is no JSON ({error}). {_FIX}") from None
    checksum = data.pop(_CHECKSUM, None) if isinstance(data, dict) else None
    try:
        graph = SkillGraph.from_json(data)
    except GraphError as error:
        raise GraphError(f"{layout.graph} is damaged: {error}. {_FIX}") from None
    except UserError as error:
        raise UserError(f"{layout.graph}: {error}") from None
    if env_name is not None and graph.env_name != env_name:
        raise UserError(
            f"{layout.graph} is a skill graph of {graph.env_name!r}, not of {env_name!r}. "
            f"Give --env_name {graph.env_name}, or choose another --graph-path."
        )
    if checksum is not None and checksum != _digest(data):
        raise GraphError(
            f"{layout.graph} does not match its own checksum: it was damaged, or edited by hand. {_FIX} "
            f'If you edited it on purpose, remove its "{_CHECKSUM}" line.'
        )
    return graph


def read_manifest(layout: GraphLayout) -> bytes:
    """``graph.json`` as it is, byte for byte.

    Raises:
        GraphError: when it cannot be read.
    """
    with reading(layout.graph, _FIX):
        return layout.graph.read_bytes()


def write_graph(layout: GraphLayout, graph: SkillGraph) -> None:
    """Replaces ``graph.json``; on failure the old one remains.

    Raises:
        GraphError: when it cannot be written.
    """
    data = graph.to_json()
    text = json.dumps({**data, _CHECKSUM: _digest(data)}, indent=1, allow_nan=False)
    atomic.write_bytes(layout.graph, text.encode() + b"\n")


def _digest(data: dict[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _none_there(layout: GraphLayout) -> str:
    folders = layout.entries(layout.nodes)
    if folders:
        return f"{layout.graph} is missing, but {layout.nodes} holds {len(folders)} node folders. {_FIX}"
    return (
        f"{layout.root} holds no skill graph (no {layout.graph.name}). Check --graph-path, or start one with "
        f"python -m flowrl.bottomup --graph-path {layout.root}"
    )
