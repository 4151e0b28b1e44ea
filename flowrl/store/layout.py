"""The one owner of every path under ``--graph-path`` (docs/ARCHITECTURE.md, "On disk")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_SLUG = re.compile(r"[^A-Za-z0-9_-]+")
_ENTRY = re.compile(r"\d+_.+")


def folder_name(index: int, name: str) -> str:
    """``<index>_<name>``, with anything that has no business in a file name replaced.

    >>> folder_name(3, "../make pickaxe")
    '3_make_pickaxe'
    """
    slug = _SLUG.sub("_", name).strip("_")[:60]
    return f"{index}_{slug or 'unnamed'}"


@dataclass(frozen=True)
class EntryLayout:
    """The files of one node's or one failure's folder."""

    root: Path

    @property
    def proposal(self) -> Path:
        """The model's whole reply."""
        return self.root / "proposal.md"

    @property
    def operator(self) -> Path:
        """Name, description and operator, in the form that a model writes."""
        return self.root / "operator.json"

    @property
    def artifact(self) -> Path:
        """The checked skill code, as exported."""
        return self.root / "artifact.bin"

    @property
    def params(self) -> Path:
        """The trained policy."""
        return self.root / "policy" / "params.npz"

    @property
    def start_states(self) -> Path:
        """The bank of env states from which it was trained; absent when it starts from fresh worlds."""
        return self.root / "start_states" / "bank.npz"

    @property
    def evidence(self) -> Path:
        """What validation measured, for people; the graph holds the same."""
        return self.root / "evidence.json"

    @property
    def curves(self) -> Path:
        """Training curves, one JSON object a line."""
        return self.root / "curves.jsonl"


@dataclass(frozen=True)
class PracticeLayout:
    """The files of one practice's folder."""

    root: Path

    @property
    def policies(self) -> Path:
        """All policies together: what they share, and the biases of each."""
        return self.root / "policies.npz"

    @property
    def curves(self) -> Path:
        """Training curves, one JSON object a line."""
        return self.root / "curves.jsonl"


@dataclass(frozen=True)
class GraphLayout:
    """Where everything of one skill graph lies."""

    root: Path

    @property
    def graph(self) -> Path:
        """The manifest: written last, atomically."""
        return self.root / "graph.json"

    @property
    def journal(self) -> Path:
        """Append-only events, one JSON object a line."""
        return self.root / "journal.jsonl"

    @property
    def running(self) -> Path:
        """What a run is at right now; there only while one is at work."""
        return self.root / "running.json"

    @property
    def nodes(self) -> Path:
        """One folder an accepted skill."""
        return self.root / "nodes"

    @property
    def failures(self) -> Path:
        """One folder a refused skill that left something to keep."""
        return self.root / "failures"

    @property
    def practices(self) -> Path:
        """One folder a practice."""
        return self.root / "practices"

    @property
    def llm(self) -> Path:
        """Every request to a language model and its reply; written by ``flowrl.llm``."""
        return self.root / "llm"

    @property
    def archive(self) -> Path:
        """One folder a rewind or repair, named by its time, with what it set aside."""
        return self.root / "archive"

    @property
    def lock(self) -> Path:
        """Locked by the one process that may write here."""
        return self.root / ".lock"

    @property
    def lock_owner(self) -> Path:
        """Who that process is, for the message to a second one."""
        return self.root / ".lock.json"

    def node(self, index: int, name: str) -> EntryLayout:
        """The folder of an accepted skill."""
        return EntryLayout(self.nodes / folder_name(index, name))

    def failure(self, position: int, name: str) -> EntryLayout:
        """The folder of a failure, numbered by its place in the graph's list."""
        return EntryLayout(self.failures / folder_name(position, name))

    def practice(self, position: int, env_steps: int) -> PracticeLayout:
        """The folder of a practice, numbered by its place in the graph's list, after so many env steps."""
        return PracticeLayout(self.practices / folder_name(position, str(env_steps)))

    def entries(self, parent: Path) -> list[Path]:
        """What looks like a folder of ours in ``nodes/``, ``failures/`` or ``practices/``, sorted."""
        if not parent.is_dir():
            return []
        return sorted(entry for entry in parent.iterdir() if _ENTRY.fullmatch(entry.name))

    def archives(self) -> list[Path]:
        """The folders of what was set aside, oldest first."""
        return sorted(self.archive.iterdir()) if self.archive.is_dir() else []

    def new_archive(self) -> Path:
        """A path for what is set aside now; not created, and not there yet."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path, again = self.archive / stamp, 1
        while path.exists():
            again += 1
            path = self.archive / f"{stamp}-{again}"
        return path
