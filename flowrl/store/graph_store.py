"""The skill graph on disk: what one run holds, adds to, and can always go on from.

The order of writes is the whole trick. A node's folder is complete and in place before ``graph.json`` names
it, and a rewind's ``graph.json`` forgets a node before its folder moves: at every instant the manifest names
only what is there, and whatever it does not name is set aside when the graph is next opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from flowrl.errors import FlowrlError, GraphError, UserError
from flowrl.skills.graph import Failure, Practice, SkillGraph, SkillNode
from flowrl.store import atomic, checkpoint
from flowrl.store.arrays import Tree
from flowrl.store.checkpoint import LoadedNode
from flowrl.store.faults import writing
from flowrl.store.journal import Journal
from flowrl.store.layout import EntryLayout, GraphLayout, PracticeLayout
from flowrl.store.lock import FolderLock
from flowrl.store.manifest import read_graph, read_manifest, write_graph


class GraphStore:
    """One skill graph, held by this process until :meth:`close` (or the end of a ``with`` block).

    Attributes:
        layout: where everything lies.
        journal: append-only events.
        notes: what opening repaired or set aside, as sentences for the person at the terminal.
    """

    layout: GraphLayout
    journal: Journal
    notes: tuple[str, ...]

    def __init__(self, layout: GraphLayout, lock: FolderLock) -> None:
        """Use :meth:`open`."""
        self.layout = layout
        self.notes = ()
        self._lock = lock
        self._graph = SkillGraph("")

    @classmethod
    def open(
        cls, path: Path | str, env_name: str, create: bool = True, current_i: int | None = None
    ) -> GraphStore:
        """Takes the path's lock, sets aside what a crash left over, and checks every file of every node.

        Args:
            path: the folder given as ``--graph-path``.
            env_name: the world; a graph of another one is refused.
            create: whether to begin an empty graph when there is none.
            current_i: go on at this index: :meth:`rewind` first, so that a damaged node that falls away does
                not matter. None goes on from the end.

        Raises:
            GraphError: when the path is a file, cannot be written or is in use, when a file is missing or
                damaged (named), or ``current_i`` is beyond the end.
            UserError: when the graph is of another world or another schema.
        """
        layout = GraphLayout(Path(path))
        if not create or layout.root.is_file():
            read_graph(layout.root, env_name)
        with writing(layout.root):
            layout.root.mkdir(parents=True, exist_ok=True)
        store = cls(layout, FolderLock(layout))
        try:
            store._load(env_name, current_i)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def graph(self) -> SkillGraph:
        """The graph as it is on disk."""
        return self._graph

    def commit_node(
        self,
        node: SkillNode,
        proposal_reply: str,
        artifact: bytes,
        params: Tree,
        start_states: Tree | None,
        curves: Iterable[Mapping[str, Any]],
    ) -> SkillNode:
        """Adds an accepted skill; it is on disk, complete, when this returns.

        Args:
            node: its record, with the next index; ``files`` is filled in.
            proposal_reply: the model's whole reply.
            artifact: the checked skill code, as exported.
            params: the policy: nested dicts of arrays.
            start_states: the bank it was trained from, as nested dicts of arrays, or None.
            curves: one record a point.

        Returns:
            The node as stored.

        Raises:
            GraphError: when it cannot be written; ``graph`` then says what the disk holds.
            ValueError: when the node does not fit the graph.
        """
        self._graph.with_node(node)
        entry = self.layout.node(node.index, node.name)
        self._set_aside_in_the_way(entry)
        with atomic.new_folder(entry.root) as folder:
            files = checkpoint.write_node(
                EntryLayout(folder), node, proposal_reply, artifact, params, start_states, curves
            )
        self._replace_graph(self._graph.with_node(replace(node, files=files)))
        return self._graph.nodes[-1]

    def record_failure(
        self, failure: Failure, reply: str = "", curves: Iterable[Mapping[str, Any]] = ()
    ) -> Failure:
        """Keeps a refused skill with its reply and curves, for people and for later proposals.

        Returns:
            The failure as stored, with its folder.

        Raises:
            GraphError: when it cannot be written; ``graph`` then says what the disk holds.
            ValueError: when it holds what JSON cannot.
        """
        entry = self.layout.failure(len(self._graph.failures), failure.name)
        failure = replace(failure, folder=entry.root.relative_to(self.layout.root).as_posix())
        graph = self._graph.with_failure(failure)
        self._set_aside_in_the_way(entry)
        with atomic.new_folder(entry.root) as folder:
            checkpoint.write_failure(EntryLayout(folder), graph.failures[-1], reply, curves)
        self._replace_graph(graph)
        return self._graph.failures[-1]

    def commit_practice(
        self,
        practice: Practice,
        params: Tree,
        curves: Iterable[Mapping[str, Any]],
        instead_of_last: bool = False,
    ) -> Practice:
        """Adds a practice; it is on disk, complete, when this returns.

        Args:
            practice: its record; ``folder`` and ``files`` are filled in.
            params: all policies together.
            curves: one record a point.
            instead_of_last: the same practice, some env steps later: what was kept of it before goes.

        Returns:
            The practice as stored.

        Raises:
            GraphError: when it cannot be written; ``graph`` then says what the disk holds.
            ValueError: when it holds what JSON cannot.
        """
        before = self._graph.practices[-1] if instead_of_last else None
        if before is not None and before.env_steps == practice.env_steps:
            raise ValueError(f"what was kept after {practice.env_steps} env steps is not replaced by itself")
        self._graph.with_practice(practice)
        entry = self.layout.practice(len(self._graph.practices) - instead_of_last, practice.env_steps)
        self._set_aside_in_the_way(entry)
        with atomic.new_folder(entry.root) as folder:
            files = checkpoint.write_practice(PracticeLayout(folder), params, curves)
        where = entry.root.relative_to(self.layout.root).as_posix()
        stored = replace(practice, folder=where, files=files)
        self._replace_graph(self._graph.with_practice(stored, instead_of_last))
        if before is not None:
            atomic.remove_folder(self.layout.root / before.folder)
        return self._graph.practices[-1]

    def set_last_practice_aside(self) -> Path:
        """Forgets the last practice; it, and the manifest as it was, goes to ``archive/<time>/``.

        Returns:
            The archive folder.

        Raises:
            UserError: there was no practice.
            GraphError: on a failed write.
        """
        if not self._graph.practices:
            raise UserError(f"{self.layout.root} was never practised: there is nothing to undo.")
        return self._set_aside(self._graph.without_last_practice())

    def rewind(self, k: int) -> Path | None:
        """Keeps nodes ``0..k-1``; what follows, and the manifest as it was, goes to ``archive/<time>/``.

        Returns:
            The archive folder, or None when nothing follows.

        Raises:
            GraphError: when ``k`` is beyond the end (says how many nodes there are), or on a failed write.
        """
        count = len(self._graph.nodes)
        if not 0 <= k <= count:
            raise GraphError(
                f"--current_i {k}: {self.layout.root} holds {count} nodes. Give 0 to {count}, "
                "or leave it out to go on from the end."
            )
        if k == count:
            return None
        return self._set_aside(self._graph.truncated(k))

    def load_node(self, index: int) -> LoadedNode:
        """A node's proposal, artifact and policy, checked; see :func:`checkpoint.load_node`."""
        return checkpoint.load_node(self.layout, self._graph.nodes[index])

    def load_start_states(self, index: int) -> Tree | None:
        """A node's bank of start states, checked, or None when it has none."""
        return checkpoint.load_start_states(self.layout, self._graph.nodes[index])

    def load_curves(self, index: int) -> list[dict[str, Any]]:
        """A node's training curves, checked."""
        return checkpoint.load_curves(self.layout, self._graph.nodes[index])

    def load_practice(self) -> Tree:
        """The policies of the last practice, checked; see :func:`checkpoint.load_practice`."""
        return checkpoint.load_practice(self.layout, self._graph.practices[-1])

    def load_refused_reply(self, failure: Failure) -> str | None:
        """The reply that was refused, or None when it was not kept."""
        return checkpoint.load_refused_reply(self.layout, failure)

    def close(self) -> None:
        """Releases the path. Doing it twice is harmless."""
        if hasattr(self, "journal"):
            self.journal.close()
        self._lock.release()

    def __enter__(self) -> GraphStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, env_name: str, current_i: int | None) -> None:
        layout, notes = self.layout, []
        if self._lock.previous is not None:
            owner = self._lock.previous
            notes.append(f"took over from pid {owner.pid} on host {owner.host}, which ended without closing")
        # Node folders without a manifest are not a fresh start: read_graph says so.
        fresh = not layout.graph.exists() and not layout.entries(layout.nodes)
        if fresh:
            created = datetime.now(UTC).isoformat(timespec="seconds")
            write_graph(layout, SkillGraph(env_name, provenance={"created": created}))
        self._graph = read_graph(layout.root, env_name)
        for folder in (layout.root, layout.nodes, layout.failures, layout.practices, *layout.archives()):
            atomic.remove_temporaries(folder)
        if not fresh and not layout.journal.exists():
            notes.append(f"{layout.journal.name} was missing: a new one begins")
        if current_i is not None and (archive := self.rewind(current_i)):
            notes.append(f"nodes from {current_i} on are in {archive.relative_to(layout.root)}")
        if moved := self._set_aside_unnamed(layout.new_archive()):
            names = ", ".join(f"{path.parent.name}/{path.name}" for path in moved)
            notes.append(
                f"{names}: never committed, set aside in {moved[0].parent.parent.relative_to(layout.root)}"
            )
        for node in self._graph.nodes:
            checkpoint.verify_node(layout, node)
        self.journal = Journal(layout.journal)
        if self.journal.note:
            notes.append(self.journal.note)
        self.notes = tuple(notes)

    def _replace_graph(self, graph: SkillGraph) -> None:
        try:
            write_graph(self.layout, graph)
        except BaseException:
            # The rename may have happened before the failure: the disk decides what the graph is.
            with suppress(FlowrlError):
                self._graph = read_graph(self.layout.root)
            raise
        self._graph = graph

    def _set_aside(self, smaller: SkillGraph) -> Path:
        """Goes back to ``smaller``; what it does not name goes to an archive, with the manifest as it was."""
        archive = self.layout.new_archive()
        with writing(archive):
            archive.mkdir(parents=True)
        atomic.write_bytes(archive / self.layout.graph.name, read_manifest(self.layout))
        self._replace_graph(smaller)
        self._set_aside_unnamed(archive)
        return archive

    def _set_aside_unnamed(self, archive: Path) -> list[Path]:
        """Moves folders that the manifest does not name into ``archive``: nothing is used that it lacks."""
        nodes = {self.layout.node(node.index, node.name).root for node in self._graph.nodes}
        failures = {self.layout.root / failure.folder for failure in self._graph.failures if failure.folder}
        practices = {self.layout.root / practice.folder for practice in self._graph.practices}
        moved = []
        for parent, named in (
            (self.layout.nodes, nodes),
            (self.layout.failures, failures),
            (self.layout.practices, practices),
        ):
            for entry in self.layout.entries(parent):
                if entry not in named:
                    moved.append(atomic.move_into(archive / parent.name, entry))
        return moved

    def _set_aside_in_the_way(self, entry: EntryLayout | PracticeLayout) -> None:
        # What an earlier attempt of this very process left after its manifest could not be written.
        if entry.root.exists():
            atomic.move_into(self.layout.new_archive() / entry.root.parent.name, entry.root)
