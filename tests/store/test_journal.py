"""The journal: append-only, never torn in the middle, and a torn end is mended, not hidden."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from flowrl.errors import GraphError
from flowrl.store.journal import Journal, read_journal


def filled(path: Path, count: int = 3) -> bytes:
    journal = Journal(path)
    for number in range(count):
        journal.append("event", {"number": number, "text": "größer\nline"})
    journal.close()
    return path.read_bytes()


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("train", {"loss": np.float32(0.5), "bad": float("nan"), "names": ("a", "b")})
    journal.append("note", {"text": "two\nlines \ud800"})
    first, second = read_journal(path)
    assert (first["kind"], first["loss"], first["bad"], first["names"]) == ("train", 0.5, None, ["a", "b"])
    assert second["text"] == "two\nlines \ud800"
    assert first["time"].endswith("+00:00")
    assert journal.note == ""
    journal.close()


def test_every_cut_of_the_file_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = filled(path)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        live = read_journal(path)
        assert len(live) == whole[:length].count(b"\n"), "a reader leaves a torn line out and changes nothing"
        assert path.read_bytes() == whole[:length]
        journal = Journal(path)
        journal.append("later", {})
        journal.close()
        after = read_journal(path)
        numbers = [record["number"] for record in after if record["kind"] == "event"]
        assert numbers == list(range(len(numbers)))
        assert after[-1]["kind"] == "later"
        torn = whole[:length].split(b"\n")[-1].decode(errors="replace")
        repaired = [record for record in after if record["kind"] == "journal_repaired"]
        assert [record["torn"] for record in repaired] == ([torn] if journal.note else [])


def test_a_last_line_that_only_lacks_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(filled(path)[:-1])
    journal = Journal(path)
    journal.close()
    assert journal.note == ""
    assert [record["number"] for record in read_journal(path)] == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"garbage", b"", b"[1]", b'{"torn": ', b"\xff\xfe", b"\x00" * 9])
def test_damage_in_the_middle_names_file_and_line(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = filled(path).split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    for read in (read_journal, Journal):
        with pytest.raises(GraphError, match=r"journal\.jsonl, line 2, holds no JSON object.*Move it aside"):
            read(path)
    assert path.read_bytes() == b"\n".join(lines), "damage is reported, not touched"


def test_a_short_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    whole = filled(path)
    journal = Journal(path)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
        with pytest.raises(GraphError, match=r"journal\.jsonl cannot be written: the disk is full"):
            journal.append("event", {"number": 3})
    assert path.read_bytes() == whole
    journal.append("event", {"number": 3})
    journal.close()
    assert [record["number"] for record in read_journal(path)] == [0, 1, 2, 3]


def test_a_failed_flush_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(GraphError, match="Input/output error"):
            journal.append("event", {})
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl") == []


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)

    def write(name: int) -> None:
        for number in range(20):
            journal.append("event", {"name": name, "number": number, "padding": "x" * 500})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    records = read_journal(path)
    assert len(records) == 80
    assert [r["number"] for r in records if r["name"] == 2] == list(range(20))


def test_missing_and_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"journal\.jsonl is missing"):
        read_journal(tmp_path / "journal.jsonl")
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(GraphError, match=r"journal\.jsonl cannot be written"):
        Journal(tmp_path / "journal.jsonl")
