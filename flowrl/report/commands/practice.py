"""``practice``: all skills of a graph trained together, in whole episodes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowrl.config import (
    BOUNDS,
    PPOConfig,
    RunConfig,
    ValidationConfig,
    validate_batch,
    validate_bounds,
    validate_evidence,
)
from flowrl.report.commands.flags import parse_flags


@dataclass(frozen=True)
class PracticeFlags:
    """Trains all skills of a graph together, in the whole episodes that its agent plays.

    Each learns where the agent really calls it, and how to stay alive on the way. Skills that were refused
    for want of success are practised too, and join the graph when they are good enough then. The policies
    take the place of the skills' own; `flowrl evaluate` plays them. A second practice goes on from the first.
    --total_timesteps is the budget of all skills together, --layer_size is the graph's.

    Policies are kept every million env steps. After an interruption the same command goes on from them with
    the env steps that are left, and the learning rate that it had come to.
    """

    graph_path: Path = RunConfig.graph_path
    """Folder of the skill graph."""

    success_state_rate: float = ValidationConfig.success_state_rate
    """Share of episodes of a refused skill that must succeed: the Wilson 95% lower bound has to reach it."""

    validation_episodes: int = ValidationConfig.validation_episodes
    """Episodes on worlds that training never saw, for each refused skill."""

    undo: bool = False
    """Train nothing: set the last practice aside, into archive/; what it replaced plays again."""

    seed: int = 0
    """Seed of everything random: worlds, network weights, actions."""

    ppo: PPOConfig = field(
        default_factory=lambda: PPOConfig(total_timesteps=10_000_000, lr=3e-4, ent_coef=0.002, anneal_lr=True)
    )


def practice(args: Sequence[str], prog: str) -> int:
    """``flowrl practice``."""
    flags = parse_flags(PracticeFlags, args, prog)
    validate_bounds(flags, BOUNDS)
    validate_batch(flags.ppo)
    validate_evidence(ValidationConfig(flags.success_state_rate, flags.validation_episodes))
    if flags.undo:
        return _undo(flags.graph_path)
    from flowrl.pipeline.practice import practise
    from flowrl.pipeline.practice_left import what_is_left
    from flowrl.report.live import terminal_view
    from flowrl.report.running import RunningFile

    with terminal_view() as view, contextlib.closing(RunningFile(flags.graph_path)) as running:
        practise(
            flags.graph_path,
            flags.ppo,
            flags.seed,
            flags.success_state_rate,
            flags.validation_episodes,
            [view, running],
            what_is_left(flags.graph_path, flags.ppo, flags.seed),
        )
    return 0


def _undo(graph_path: Path) -> int:
    from flowrl.store.graph_store import GraphStore
    from flowrl.store.manifest import read_graph

    with GraphStore.open(graph_path, read_graph(graph_path).env_name, create=False) as store:
        archive = store.set_last_practice_aside()
    print(f"the last practice is in {archive.relative_to(graph_path)}")
    return 0
