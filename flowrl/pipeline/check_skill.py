"""``flowrl check-skill``: a reply in a file, through every check that a model's reply goes through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowrl.codegen.check import check_proposal
from flowrl.codegen.parse import parse_reply
from flowrl.codegen.static import check_source
from flowrl.codegen.tracer import Tracer
from flowrl.errors import ProposalRefused, UserError
from flowrl.pipeline.probing import random_play
from flowrl.worlds.registry import make_world


def check_skill_file(path: Path, env_name: str) -> dict[str, Any]:
    """Checks the reply in ``path``; nothing of it runs in this process.

    Returns:
        ``{"accepted": bool, "stage", "reason", "fix", "name"}``; the last four are text or None.
        ``name`` is the skill's, as soon as it could be read.

    Raises:
        UserError: the file cannot be read, or the world is unknown.
    """
    world = make_world(env_name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Give a text file that holds one reply.") from None
    name = None
    try:
        proposal = parse_reply(text, world.vocabulary)
        name = proposal.name
        # Refused here it is refused at once, before the game has to be played.
        check_source(proposal.source, world.snapshot_spec, world.enums)
        with Tracer() as tracer:
            tracer.start()
            check_proposal(proposal, world, tracer, random_play(world))
    except ProposalRefused as refusal:
        return {
            "accepted": False,
            "stage": refusal.stage,
            "reason": refusal.reason,
            "fix": refusal.fix or None,
            "name": name,
        }
    return {"accepted": True, "stage": None, "reason": None, "fix": None, "name": name}
