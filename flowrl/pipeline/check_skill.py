"""``flowrl check-skill``: a reply in a file, through every check that a model's reply goes through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowrl.codegen.check import check_reply
from flowrl.codegen.tracer import Tracer
from flowrl.config import PPOConfig
from flowrl.errors import ProposalRefused, UserError
from flowrl.pipeline.probing import ProbeBankBuilder
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.workbench import build_workbench
from flowrl.worlds.registry import make_world

PROBING_ENVS = 64
"""Envs of random play: enough to probe with, quick to start."""


def check_skill_file(path: Path, env_name: str) -> dict[str, Any]:
    """Checks the reply in ``path``; nothing of it runs in this process.

    Returns:
        ``{"accepted": bool, "stage", "reason", "fix", "name"}``; the last four are text or None.

    Raises:
        UserError: the file cannot be read, or the world is unknown.
    """
    world = make_world(env_name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Give a text file that holds one reply.") from None
    _, shape = resolve_sizes(PPOConfig(num_envs=PROBING_ENVS), 1, PROBING_ENVS)
    probing = ProbeBankBuilder(build_workbench(world, PPOConfig(), shape, seed=0))
    probing.add_random_play()
    with Tracer() as tracer:
        try:
            checked = check_reply(text, world, tracer, probing.bank())
        except ProposalRefused as refusal:
            return {
                "accepted": False,
                "stage": refusal.stage,
                "reason": refusal.reason,
                "fix": refusal.fix or None,
                "name": None,
            }
    return {"accepted": True, "stage": None, "reason": None, "fix": None, "name": checked.proposal.name}
