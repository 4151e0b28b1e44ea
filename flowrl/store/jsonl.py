"""One JSON object a line: how the journal and the training curves are encoded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flowrl.errors import GraphError
from flowrl.skills.strict_json import encode


def line(record: Mapping[str, Any]) -> bytes:
    """The record as one line with its newline. Numbers of numpy are fine; NaN and infinity become null."""
    return json.dumps(encode(record), allow_nan=False).encode() + b"\n"


def lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    """All records, one a line."""
    return b"".join(map(line, records))


def split_torn(data: bytes) -> tuple[bytes, bytes]:
    """``(whole lines, what follows the last newline)``: a crash tears at most the last line."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def parse_line(data: bytes) -> dict[str, Any] | None:
    """The object on one line, or None when there is none."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def parse(data: bytes, path: Path, fix: str) -> list[dict[str, Any]]:
    """All records of whole lines: ``data`` is empty or ends with a newline.

    Raises:
        GraphError: naming ``path``, the line's number, and ``fix``.
    """
    records = []
    for number, text in enumerate(data.split(b"\n")[:-1], start=1):
        record = parse_line(text)
        if record is None:
            raise GraphError(f"{path}, line {number}, holds no JSON object: the file is damaged. {fix}")
        records.append(record)
    return records
