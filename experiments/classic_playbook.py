"""Craftax-Classic, learned bottom up from the playbook, then practised: no model is asked, no key is needed.

    python experiments/classic_playbook.py                    # one seed, all 24 skills
    python experiments/classic_playbook.py --seed 1 --out exp/classic_playbook/seed_1/

Learns the graph into OUT/graph, practises all its skills together, those that were refused among them, then
plays 512 whole episodes in fresh worlds with it and writes OUT/result.json and OUT/achievements.png. The same
command goes on where it stopped. What it gave: experiments/README.md.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowrl.cli import guarded
from flowrl.config import PPOConfig, RunConfig, ValidationConfig
from flowrl.llm.config import LlmConfig
from flowrl.report.commands.flags import parse_flags

if TYPE_CHECKING:
    # --help is there before JAX could be loaded.
    from flowrl.pipeline.practice_left import PracticeLeft

GOES_ON = " The same command goes on from what was kept last."


@dataclass(frozen=True)
class Recipe:
    """What may differ between repetitions; all else is fixed in :func:`run_config`."""

    seed: int = 0
    """Of worlds, network weights and actions."""

    out: Path = Path("exp/classic_playbook/")
    """Folder for the graph and the result."""

    max_nodes: int = 24
    """Skills to learn; the playbook has 24."""

    total_timesteps: int = 800_000
    """Budget of one skill in env steps."""

    practice_timesteps: int = 80_000_000
    """Env steps in which all skills are practised together afterwards; raise it to go on."""

    layer_size: int = 256
    """Units in each hidden layer; one network plays the whole game once it is practised."""

    refine: bool = False
    """Hold each operator against trajectories; at the end of long plans that is dear."""

    max_parallel_skills: int = 1
    """Skills in training at a time."""

    episodes: int = 512
    """Whole episodes to score the graph with."""

    max_steps: int = 10_000
    """Env steps after which such an episode is cut off."""


def run_config(recipe: Recipe) -> RunConfig:
    """The run: a skill trains until 70% of its episodes succeed; when its budget is spent, 10% are enough.

    A skill that finds a diamond in one of ten searches is worth having: the agent tries again. One that
    trains on from there gets better; that is why the two numbers differ.
    """
    return RunConfig(
        env_name="Craftax-Classic-Symbolic-v1",
        graph_path=recipe.out / "graph",
        max_nodes=recipe.max_nodes,
        max_consecutive_failures=24,
        use_wandb=False,
        seed=recipe.seed,
        ppo=PPOConfig(total_timesteps=recipe.total_timesteps, layer_size=recipe.layer_size),
        validation=ValidationConfig(success_state_rate=0.1, train_until=0.7, refine=recipe.refine),
    )


def still_to_practise(recipe: Recipe) -> PracticeLeft | None:
    """What of the recipe's practice is left, whatever it was cut into; None where nothing is."""
    from flowrl.pipeline.practice_left import PracticeLeft, cut_off_in
    from flowrl.store.reader import GraphReader

    graph_path = recipe.out / "graph"
    before = sum(practice.env_steps for practice in GraphReader(graph_path).graph.practices)
    if before < recipe.practice_timesteps:
        return PracticeLeft(before)
    return PracticeLeft(before, train=False) if cut_off_in(graph_path) else None


def main(recipe: Recipe) -> int:
    """Learns, practises, plays, writes the result."""
    from rich.console import Console

    from flowrl.errors import RunStopped
    from flowrl.llm.errors import NothingToPropose
    from flowrl.pipeline.evaluate import measure_graph, play_graph
    from flowrl.pipeline.parallel_config import ParallelConfig
    from flowrl.pipeline.practice import practise
    from flowrl.pipeline.run import run_bottomup
    from flowrl.report.commands.practice import PracticeFlags
    from flowrl.report.evaluation import draw_evaluation, render_evaluation
    from flowrl.report.live import terminal_view

    config, parallel = run_config(recipe), ParallelConfig(recipe.max_parallel_skills)
    with terminal_view() as view:
        try:
            run_bottomup(config, LlmConfig(llm_name="playbook"), [view], parallel)
        except (RunStopped, NothingToPropose) as stopped:
            print(f"goes on to practise without the rest: {stopped}", flush=True)
    left = still_to_practise(recipe)
    if left is not None:
        ppo = dataclasses.replace(PracticeFlags().ppo, total_timesteps=recipe.practice_timesteps)
        validation = config.validation
        with terminal_view() as view:
            practise(
                config.graph_path, ppo, recipe.seed, validation.success_state_rate,
                validation.validation_episodes, [view], left,
            )  # fmt: skip
    played = play_graph(config.graph_path, None, recipe.episodes, recipe.max_steps, recipe.seed)
    measured = measure_graph(played)
    measured["recipe"] = {**dataclasses.asdict(recipe), "out": str(recipe.out)}
    (recipe.out / "result.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    draw_evaluation(measured, recipe.out / "achievements.png")
    render_evaluation(measured, Console())
    return 0


if __name__ == "__main__":
    sys.exit(
        guarded(lambda: main(parse_flags(Recipe, sys.argv[1:], "classic_playbook.py", __doc__)), GOES_ON)
    )
