"""The control of classic_playbook.py: flat PPO on the game's own reward, for as many env steps.

    python experiments/classic_ppo.py --total_timesteps 1e7
    python experiments/classic_ppo.py --like exp/classic_playbook/graph    # as many steps as that graph took

The trainer, the network, the sizes, PPO's settings and the counting of env steps are those of the recipe's
practice, but the learning rate ends at 0, not at a tenth. Writes OUT/result.json; the same command goes on
where it stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from flowrl.cli import guarded
from flowrl.config import PPOConfig
from flowrl.errors import UserError
from flowrl.report.commands.flags import parse_flags

GOES_ON = " The same command goes on from what was kept last."


@dataclass(frozen=True)
class Recipe:
    """What may differ between repetitions."""

    seed: int = 0
    """Of worlds, network weights and actions."""

    out: Path = Path("exp/classic_ppo/")
    """Folder for the policy, its curves and its scores."""

    total_timesteps: int = 10_000_000
    """Env steps to train for."""

    layer_size: int = 256
    """Units in each hidden layer, as in classic_playbook.py."""

    like: Path | None = None
    """A skill graph: train for as many env steps as it took in all, failures included."""

    episodes: int = 512
    """Whole episodes to score the policy with."""

    max_steps: int = 10_000
    """Env steps after which an episode is cut off."""


def ppo_config(recipe: Recipe) -> PPOConfig:
    """PPO's settings: those of practice, and the budget."""
    from flowrl.pipeline.practice import with_sizes
    from flowrl.report.commands.practice import PracticeFlags

    steps = recipe.total_timesteps if recipe.like is None else steps_of(recipe.like)
    ppo = dataclasses.replace(PracticeFlags().ppo, total_timesteps=steps, layer_size=recipe.layer_size)
    return with_sizes(ppo)


def steps_of(graph_path: Path) -> int:
    """Env steps that a graph took: of its skills, of those that were refused, and in practice.

    Raises:
        UserError: it has taken none.
    """
    from flowrl.store.reader import GraphReader

    steps = GraphReader(graph_path).graph.env_steps
    if not steps:
        raise UserError(f"--like {graph_path}: that graph has no skill yet. Learn one first.")
    return steps


def main(recipe: Recipe) -> int:
    """Trains, plays, writes the result."""
    from rich.console import Console

    from flowrl.pipeline.flat import train_flat
    from flowrl.report.evaluation import render_evaluation
    from flowrl.report.live import terminal_view

    with terminal_view() as view:
        measured = train_flat(
            "Craftax-Classic-Symbolic-v1",
            ppo_config(recipe),
            recipe.out,
            recipe.episodes,
            recipe.max_steps,
            recipe.seed,
            [view],
        )
    render_evaluation(measured, Console())
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(parse_flags(Recipe, sys.argv[1:], "classic_ppo.py", __doc__)), GOES_ON))
