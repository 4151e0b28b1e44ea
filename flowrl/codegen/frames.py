"""Messages between the tracer and its child: a length, then that much JSON."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

MAX_REQUEST_BYTES = 4 << 20
MAX_REPLY_BYTES = 4 << 20

_LENGTH = struct.Struct("<I")


class FrameError(Exception):
    """The other side is gone, too slow, or does not keep to the format."""


class FrameTimeout(FrameError):
    """The other side did not answer in time."""


def write_frame(fd: int, message: dict[str, Any]) -> None:
    """Writes one message to ``fd``, blocking.

    Raises:
        FrameError: when nobody reads any more.
    """
    body = json.dumps(message).encode()
    data = memoryview(_LENGTH.pack(len(body)) + body)
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        raise FrameError(f"writing failed: {error.strerror}") from None


def read_frame(fd: int, max_bytes: int, timeout_s: float | None = None) -> dict[str, Any]:
    """Reads one message of at most ``max_bytes`` from ``fd``.

    Raises:
        FrameTimeout: after ``timeout_s`` seconds in all.
        FrameError: at end-of-file, or for anything but one JSON object of allowed size.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    (length,) = _LENGTH.unpack(_read(fd, _LENGTH.size, deadline))
    if length > max_bytes:
        raise FrameError(f"a message of {length} bytes is over the limit of {max_bytes}")
    try:
        message = json.loads(_read(fd, length, deadline))
    except (ValueError, RecursionError):
        raise FrameError("a message is not JSON") from None
    if not isinstance(message, dict):
        raise FrameError("a message is not an object")
    return message


def _read(fd: int, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        if deadline is not None:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise FrameTimeout("no answer in time")
        try:
            chunk = os.read(fd, min(size - len(data), 1 << 16))
        except OSError as error:
            raise FrameError(f"reading failed: {error.strerror}") from None
        if not chunk:
            raise FrameError("end of file")
        data += chunk
    return bytes(data)
