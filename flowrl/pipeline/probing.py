"""Real play to probe proposals with: random actions, and the accepted skills' own policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from flowrl.codegen.transitions import ProbeBank, Transitions
from flowrl.config import PPOConfig
from flowrl.pipeline.compilation_cache import use_compilation_cache
from flowrl.pipeline.library import LearnedSkill
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.workbench import Workbench, build_workbench, tree_to_states
from flowrl.rl.compiled import step_keys
from flowrl.rl.environment import Placed, Seen, rows_of
from flowrl.store.arrays import Tree
from flowrl.worlds.base import World

RANDOM_STEPS = 48
"""Env steps of random play, each of the whole batch."""

SKILL_STEPS = 24
"""Env steps of each accepted skill's play."""

KEPT = 1024
"""Transitions kept of each play: probing asks every one of them."""

START_STATES = 128
"""Snapshots of states that skills could start in."""

RANDOM_ENVS = 64
"""Envs of random play where nothing is trained: enough to probe with, quick to start."""


def random_play(world: World) -> ProbeBank:
    """What a proposal is probed with where there is no run: random play alone."""
    use_compilation_cache()
    _, shape = resolve_sizes(PPOConfig(num_envs=RANDOM_ENVS), 1, RANDOM_ENVS)
    builder = ProbeBankBuilder(build_workbench(world, PPOConfig(), shape, seed=0))
    builder.add_random_play()
    return builder.bank()


class ProbeBankBuilder:
    """Grows with the graph: each accepted skill shows situations that random play never reaches."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._like = bench.probing_worlds(1)
        self._plays: list[Transitions] = []
        self._starts: list[np.ndarray] = []

    def add_random_play(self) -> None:
        """Random actions from fresh worlds."""
        bench = self._bench
        worlds = bench.probing_worlds(bench.programs.batch)
        self._starts.append(np.asarray(worlds.seen.snapshot[:START_STATES]))
        actions = bench.world.num_actions

        def choose(_: Seen, key: jax.Array) -> jax.Array:
            return jax.random.randint(key, (bench.programs.batch,), 0, actions)

        self._play(worlds, choose, RANDOM_STEPS)

    def add_skill_play(self, skill: LearnedSkill, starts: Tree) -> None:
        """A skill's policy from its own start states.

        Args:
            skill: an accepted one.
            starts: as :func:`~flowrl.pipeline.workbench.states_to_tree` gives them.

        Raises:
            ValueError: they are of another form than this world's.
        """
        begun = tree_to_states(starts, self._like)
        rows = np.arange(self._bench.programs.batch) % begun.rows
        placed: Placed = rows_of(begun, rows)
        self._starts.append(np.asarray(begun.seen.snapshot[: START_STATES // 4]))
        chooser = self._bench.episodes.chooser(skill.task, skill.params, placed.seen)
        self._play(placed, chooser, SKILL_STEPS)

    def bank(self) -> ProbeBank:
        """What a proposal is probed with now."""
        joined: Any = jax.tree.map(lambda *rows: np.concatenate(rows), *self._plays)
        return ProbeBank(joined, np.concatenate(self._starts))

    def _play(self, placed: Placed, choose: Callable[[Seen, jax.Array], jax.Array], steps: int) -> None:
        key = jax.random.key(self._bench.seed)
        start = prev = np.asarray(placed.seen.snapshot)
        alive = np.ones(len(start), bool)
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for step in range(steps):
            action_key, env_key = step_keys(key, step)
            placed = self._bench.programs.advance(placed.states, choose(placed.seen, action_key), env_key)
            now = np.asarray(placed.seen.snapshot)
            rows.append((start[alive], prev[alive], now[alive]))
            alive &= ~np.asarray(placed.seen.died | placed.seen.time_up)
            prev = now
        starts, before, after = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        kept = np.random.default_rng(self._bench.seed).permutation(len(starts))[:KEPT]
        ones = np.ones(len(kept), np.int32)
        self._plays.append(Transitions(starts[kept], before[kept], after[kept], ones))
