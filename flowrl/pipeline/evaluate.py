"""Whole episodes in fresh worlds of the stock game: what a graph is worth as a player."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flowrl.config import PPOConfig
from flowrl.errors import UserError
from flowrl.pipeline.agent import Player, make_player
from flowrl.pipeline.game_reward import HEALTH, HEALTH_VALUE
from flowrl.pipeline.run import load_library, use_compilation_cache
from flowrl.pipeline.sizes import layer_size_of, resolve_sizes
from flowrl.pipeline.skill_calls import calls_by_skill
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.agent import Played
from flowrl.rl.environment import Placed
from flowrl.skills.graph import SkillGraph, wilson_interval
from flowrl.store.reader import GraphReader
from flowrl.worlds.base import World
from flowrl.worlds.registry import make_world

EVALUATION_ENVS = 128
"""Envs side by side; episodes beyond are played in further batches."""


@dataclass(frozen=True)
class Episodes:
    """How ``E`` whole episodes ended, as any player leaves them behind.

    Attributes:
        start, before, end: float32 ``[E, D]``, snapshots at the start, before the last step, at the end.
        length: int32 ``[E]``.
        died: bool ``[E]``.
    """

    start: np.ndarray
    before: np.ndarray
    end: np.ndarray
    length: np.ndarray
    died: np.ndarray


@dataclass(frozen=True)
class PlayedGraph:
    """A graph's player and the episodes that it has played; the same episodes can be played again.

    Attributes:
        graph: whose skills.
        bench: with the programs that it was played with.
        player: targets, plans and rules.
        worlds: fresh worlds, one an episode.
        played: how the episodes went.
        max_steps: env steps after which an episode was cut off.
        seed: of the worlds and of the actions.
    """

    graph: SkillGraph
    bench: Workbench
    player: Player
    worlds: Placed
    played: Played
    max_steps: int
    seed: int

    @property
    def actions_key(self) -> jax.Array:
        """What the actions were drawn with."""
        return jax.random.key(self.seed)

    @property
    def ended(self) -> Episodes:
        """How the episodes ended."""
        return Episodes(
            np.asarray(self.worlds.seen.snapshot),
            np.asarray(self.played.before),
            np.asarray(self.played.end),
            np.asarray(self.played.length),
            np.asarray(self.played.died),
        )


def play_graph(
    graph_path: Path,
    target: str | None,
    episodes: int,
    max_steps: int,
    seed: int,
    on_progress: Callable[[int], None] = lambda _ended: None,
    practised: bool = True,
) -> PlayedGraph:
    """Plays a graph's skills in ``episodes`` fresh worlds; no teleports, no banks.

    Args:
        target: a skill or fact to pursue; None for every achievement that the graph can gain.
        max_steps: env steps after which an episode is cut off.
        on_progress: is told every few steps how many episodes have ended so far.
        practised: whether the policies of the last practice play, where there was one.

    Raises:
        UserError: the target is unknown, or there from the start; the graph is empty.
        Impossible: no plan leads to the target.
        GraphError: there is no graph, or it is damaged.
    """
    use_compilation_cache()
    reader = GraphReader(graph_path)
    graph = reader.graph
    world = make_world(graph.env_name)
    bench = bench_for(graph, world, seed)
    library = load_library(reader, bench, None, practised)
    player = make_player(graph, library, bench, target)
    worlds = bench.held_out_worlds(0, episodes)
    if target is not None and player.agent.reached_at(np.asarray(worlds.seen.snapshot)).all():
        raise UserError(f"--target {target!r} holds in every fresh world: nothing is to be done for it.")
    played = player.agent.play(worlds, max_steps, jax.random.key(seed), on_progress)
    return PlayedGraph(graph, bench, player, worlds, played, max_steps, seed)


def measure_graph(done: PlayedGraph) -> dict[str, Any]:
    """What the episodes of a graph showed.

    Returns:
        What JSON can hold (``episodes``, ``achievements``, ``return_percent``, ``score``, ``length``),
        with ``deaths`` by cause, ``targets``, ``skills`` (each one's success alone and inside the episodes),
        ``idle`` (the share of all env steps in which nothing was asked of any: every target was reached, and
        no rule in force) and ``maintenance`` (the rules). Of each target: ``reached`` and ``gave_up``, shares
        of the episodes; ``stuck_at``, by skill the share that ended without it where that skill was next to
        be run for it; and its ``plan`` from a fresh world.
    """
    does, played = done.player.does, done.played
    reached, rested = np.asarray(played.reached), np.asarray(played.rested)
    at = done.player.agent.standing_at(np.asarray(played.end))
    return {
        **score_episodes(done.ended, done.bench.world),
        "targets": {
            name: {
                "reached": float(reached[:, row].mean()),
                "gave_up": float((rested[:, row] > 0).mean()),
                "stuck_at": _shares_by_skill(at[~reached[:, row], row], does.policies, len(at)),
                "plan": does.plans[row].to_json(),
            }
            for row, name in enumerate(does.targets)
        },
        "skills": calls_by_skill(done.graph, played),
        "idle": float(1.0 - np.asarray(played.charge).sum() / max(np.asarray(played.length).sum(), 1)),
        "maintenance": list(does.rules),
        "max_steps": done.max_steps,
        "seed": done.seed,
    }


def _shares_by_skill(rows: np.ndarray, names: Sequence[str], episodes: int) -> dict[str, float]:
    """How many of ``episodes`` each skill occurs in, the most first; ``rows`` are numbers of skills."""
    counts = Counter(rows.tolist())
    return {names[row]: count / episodes for row, count in counts.most_common()}


def bench_for(graph: SkillGraph, world: World, seed: int) -> Workbench:
    """A workbench whose network fits the graph's policies.

    Raises:
        GraphError: the nodes were trained with different layer sizes.
    """
    ppo, shape = resolve_sizes(PPOConfig(num_envs=EVALUATION_ENVS, layer_size=layer_size_of(graph)), 1, 1)
    bench = build_workbench(world, ppo, shape, seed)
    bench.compile_ahead()
    return bench


def score_episodes(ended: Episodes, world: World) -> dict[str, Any]:
    """Achievements with intervals, return, Crafter score, length and deaths."""
    episodes = len(ended.length)
    columns = world.snapshot_spec.fact_columns
    rates: dict[str, dict[str, float]] = {}
    for fact in world.achievement_values:
        held = ended.end[:, columns[fact]] > 0
        low, high = wilson_interval(int(held.sum()), episodes)
        rates[fact.partition(":")[2]] = {"rate": float(held.mean()), "low": low, "high": high}
    health = columns[HEALTH]
    # Health pays for every point up and down, so an episode's sum is its last health less its first.
    returns = worth_of_achievements(ended.end, world) + HEALTH_VALUE * (
        ended.end[:, health] - ended.start[:, health]
    )
    best = sum(world.achievement_values.values())
    percent = np.array([100 * entry["rate"] for entry in rates.values()])
    return {
        "env_name": world.name,
        "episodes": episodes,
        "achievements": rates,
        "return": float(returns.mean()),
        "return_percent": float(100 * returns.mean() / best),
        # Hafner 2021 (arXiv 2109.06780), section 4: the geometric mean of success rates, offset by 1%.
        "score": float(np.exp(np.log1p(percent).mean()) - 1),
        "length": float(ended.length.mean()),
        "died": float(ended.died.mean()),
        "deaths": deaths_by_cause(ended, world),
    }


def worth_of_achievements(end: np.ndarray, world: World) -> np.ndarray:
    """What the stock game pays for the achievements that episodes ended with: ``[E]`` from ``[E, D]``."""
    columns = [world.snapshot_spec.fact_columns[fact] for fact in world.achievement_values]
    worth: np.ndarray = (end[:, columns] > 0) @ np.array(list(world.achievement_values.values()))
    return worth


def deaths_by_cause(ended: Episodes, world: World) -> dict[str, float]:
    """Shares of all episodes, told from the last two snapshots: the stock game gives no cause.

    ``lava``: ended on it. ``asleep``: killed while sleeping. ``hunger``, ``thirst``, ``exhaustion``: one
    point lost while that vital was 0. Else ``fight``. Who had one point left loses one, whatever the blow was
    worth, so ``hunger``, ``thirst`` and ``exhaustion`` are upper bounds, ``asleep`` and ``fight`` lower ones.
    """
    spec, facts = world.snapshot_spec.columns, world.snapshot_spec.fact_columns
    lost = ended.before[:, facts["vital:health"]] - ended.end[:, facts["vital:health"]]
    left = ended.died.copy()
    causes: dict[str, float] = {}

    def claim(name: str, rows: np.ndarray) -> None:
        nonlocal left
        causes[name] = float((left & rows).mean())
        left &= ~rows

    claim("lava", ended.end[:, spec["closest_blocks.lava.distance"]] == 0)
    claim("asleep", (ended.before[:, spec["sleeping"]] > 0) & (lost > 1))
    for name, vital in (("hunger", "food"), ("thirst", "drink"), ("exhaustion", "energy")):
        claim(name, (ended.before[:, facts[f"vital:{vital}"]] <= 0) & (lost <= 1))
    claim("fight", np.ones_like(left))
    return causes
