"""The tracing child: ``python -I -B -c BOOT`` (see :mod:`flowrl.codegen.tracer`) runs :func:`main`.

It shares nothing with its parent but three pipes: requests, replies, and a lifeline whose end kills it.
It imports JAX, ``flowrl.errors`` and the child's half of ``flowrl.codegen``, locks itself down, says what
held, and then traces one skill a request until its input ends.
"""

from __future__ import annotations

import base64
import os
import traceback
from typing import Any

from flowrl.codegen import lockdown
from flowrl.codegen.frames import MAX_REPLY_BYTES, MAX_REQUEST_BYTES, FrameError, read_frame, write_frame

GRACE_S = 2.0


def main(requests: int, replies: int, lifeline: int) -> None:
    """Serves requests ``{"id", "source", "fields", "enums", "timeout_s"}`` until end-of-file.

    Replies are ``{"id", "artifact": base64}`` or ``{"id", "reason", "fix"}``; the first message is
    ``{"containment": {...}}``.

    Args:
        requests: file descriptor to read from.
        replies: file descriptor to write to.
        lifeline: file descriptor whose other end only the parent holds.
    """
    lockdown.die_with(lifeline)
    lockdown.before_imports()
    # Whatever prints, in JAX or in skill code, prints nowhere: the parent's terminal is not ours.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)

    import jax

    # Artifacts are the same on every machine: no paths of this one in their source locations.
    jax.config.update("jax_include_full_tracebacks_in_locations", False)
    jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*")

    from flowrl.codegen import export, trace_errors

    export.warm_up()
    containment = lockdown.before_model_code()
    os.dup2(null, 2)
    write_frame(replies, {"containment": containment})
    while True:
        try:
            request = read_frame(requests, MAX_REQUEST_BYTES)
        except FrameError:
            return
        reply: dict[str, Any]
        with lockdown.alarm(request["timeout_s"] + GRACE_S):
            try:
                payload = export.export_skill(request["source"], request["fields"], request["enums"])
                reply = {"artifact": base64.b64encode(payload).decode()}
                if len(payload) > MAX_REPLY_BYTES // 2:
                    reply = {"reason": "the traced program is too large.", "fix": "Write less code."}
            except BaseException as error:
                reply = trace_errors.explain(error, _line(error, export.SOURCE_NAME))
        write_frame(replies, {"id": request["id"], **reply})


def _line(error: BaseException, source_name: str) -> int | None:
    """The line of the skill's source where ``error`` came from."""
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == source_name
    ]
    return lines[-1] if lines else None
