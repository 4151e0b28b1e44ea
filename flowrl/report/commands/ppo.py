"""``ppo``: flat PPO on the game's own reward, trained and then scored like a graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from flowrl.config import (
    BOUNDS,
    Bounds,
    PPOConfig,
    RunConfig,
    validate_batch,
    validate_bounds,
    validate_env_name,
)
from flowrl.report.commands.flags import parse_flags

_OWN = {"episodes": Bounds(1, 1_000_000), "max_steps": Bounds(1, 100_000), "seed": BOUNDS["seed"]}


@dataclass(frozen=True)
class FlatFlags:
    """Trains one policy on the stock game's reward, then plays whole episodes: the control of every claim.

    The trainer, the network and the counting of env steps are those of the skills. The policy is kept every
    million env steps; the same command goes on from there, with a larger --total_timesteps too. Another
    --seed or other settings need another --out.
    """

    env_name: str = RunConfig.env_name
    """World to learn in: Craftax-Classic-Symbolic-v1 or Craftax-Symbolic-v1."""

    out: Path = Path("exp/ppo/")
    """Folder for the policy, its curves and its scores."""

    episodes: int = 512
    """Fresh worlds that the trained policy is scored in, one episode each."""

    max_steps: int = 10_000
    """Env steps after which an episode is cut off, in training and in scoring."""

    seed: int = 0
    """Seed of everything random: worlds, network weights, actions."""

    json: bool = False
    """Print JSON, for scripts."""

    ppo: PPOConfig = field(default_factory=PPOConfig)


def ppo(args: Sequence[str], prog: str) -> int:
    """``flowrl ppo``."""
    flags = parse_flags(FlatFlags, args, prog)
    validate_env_name(flags.env_name)
    validate_bounds(flags, {**BOUNDS, **_OWN})
    validate_batch(flags.ppo)
    from flowrl.pipeline.flat import train_flat
    from flowrl.report.evaluation import render_evaluation
    from flowrl.report.live import terminal_view

    with terminal_view() as view:
        result = train_flat(
            flags.env_name, flags.ppo, flags.out, flags.episodes, flags.max_steps, flags.seed, [view]
        )
    if flags.json:
        print(json.dumps(result, indent=2))
    else:
        render_evaluation(result, Console())
    return 0
