"""Files that a flag names for output: looked at before the long work, not after it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from flowrl.errors import UserError, nearest

PLOTS = (".png", ".svg", ".pdf")
"""Endings of pictures that can be drawn."""


def check_output(flag: str, path: Path, endings: Iterable[str]) -> None:
    """Whether a file can be written to ``path``.

    Args:
        flag: that names it, such as ``--plot``.
        endings: that are known, with the dot, in small letters.

    Raises:
        UserError: unknown ending, no such folder, or no right to write there.
    """
    if path.suffix.lower() not in endings:
        raise UserError(
            f"{flag} {str(path)!r} ends in {path.suffix!r}, which is no kind of file that is known here. "
            f"{nearest(path.suffix.lower(), endings)}"
        )
    if not path.parent.is_dir():
        raise UserError(f"{flag} {str(path)!r}: there is no folder {str(path.parent)!r}. Make it first.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{flag} {str(path)!r} cannot be written. Name a file in a folder of yours.")
