"""Every request and reply on disk: one JSON file a call under ``<graph path>/llm/``, written atomically.

Headers are never recorded, and any key that was read is taken out of what is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowrl.errors import GraphError
from flowrl.llm.environment import redact
from flowrl.llm.interface import Message, Usage
from flowrl.llm.ledger import Call

SCHEMA = 1


def request_hash(node: str, messages: Sequence[Message]) -> str:
    """Identifies a request by what was asked, not by who was asked. A replay finds its reply by it."""
    text = json.dumps([node, [[message.role, message.content] for message in messages]], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Recorder:
    """Writes calls into a folder. Numbers go on where the folder's last one ended.

    Args:
        folder: made when the first call is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        numbers = [int(path.name[:6]) for path in folder.glob("[0-9]*.json") if path.name[:6].isdigit()]
        self._next = max(numbers, default=-1) + 1

    def take_id(self) -> str:
        """The number of the next call."""
        self._next += 1
        return f"{self._next - 1:06d}"

    def write(self, call_id: str, node: str, record: Mapping[str, Any]) -> Path:
        """Writes one call.

        Raises:
            GraphError: the file cannot be written; what was there before is untouched.
        """
        path = self.folder / f"{call_id}_{node}.json"
        temporary = path.with_suffix(".tmp")
        text = redact(json.dumps({"schema": SCHEMA, "id": call_id, **record}, indent=1, ensure_ascii=False))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise GraphError(
                f"The call cannot be recorded in {str(path)!r}: {error.strerror or error}."
            ) from None
        return path


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All recorded calls in order; none when the folder is not there.

    Raises:
        GraphError: a file does not parse; names it and what to do.
    """
    records = []
    for path in sorted(folder.glob("[0-9]*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict) or record.get("schema") != SCHEMA:
                raise ValueError(f"it is not a recorded call of schema {SCHEMA}")
        except (OSError, ValueError) as error:
            raise GraphError(
                f"The recorded call {str(path)!r} cannot be read: {error}. Move it away; no graph needs it."
            ) from None
        records.append(record)
    return records


def recorded_calls(folder: Path) -> list[Call]:
    """The calls under ``<graph path>/llm/`` of all runs, for ``status``.

    Raises:
        GraphError: a file does not parse.
    """
    return [call_from_record(record) for record in read_records(folder)]


def call_from_record(record: Mapping[str, Any]) -> Call:
    """A ledger entry from what :meth:`Recorder.write` wrote."""
    task = record.get("task") or {}
    usage = record.get("usage") or {}
    requests = record.get("requests")
    return Call(
        id=str(record["id"]),
        time=str(record.get("time", "")),
        run=str(record.get("run", "")),
        role=str(task.get("role", "")),
        node=str(task.get("node", "")),
        skill=str(task.get("skill", "")),
        proposal=str(task.get("proposal", "")),
        model=str(record.get("model", "")),
        usage=Usage(usage.get("prompt_tokens"), usage.get("completion_tokens")),
        usd=record.get("usd"),
        latency_s=float(record.get("latency_s") or 0.0),
        requests=1 if requests is None else int(requests),  # 0 where the budget was used up before any
        failed=record.get("reply") is None,
    )
