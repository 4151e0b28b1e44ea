"""Plays a trained skill from start states of several kinds, and keeps what each kind showed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.errors import ProposalRefused
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.prepare import StartStateSource, plan_for
from flowrl.pipeline.refine_starts import StartVariant
from flowrl.pipeline.streams import stream_number
from flowrl.rl.environment import Placed
from flowrl.rl.episodes import Outcomes
from flowrl.skills.operator import Operator
from flowrl.skills.trajectories import Trajectories
from flowrl.worlds.base import World

EPISODES = 128
"""From the skill's own start states, at least; more where the env's batch has room."""

EPISODES_A_REPEAT = 48
"""At least so many for each n: every n is judged by itself, and some fail."""

VARIANT_EPISODES = 64
"""From each other kind of start, for n = 1: at a success rate of 90% their Wilson bound is 0.8, which lets a
requirement go (``change.AS_GOOD``); 32 would not do."""

OWN = StartVariant("own", {})
"""Where the skill's own plan leads: start states that are there already."""


class Player:
    """Plays one skill, as long as there are env steps for it.

    Args:
        skill: trained.
        starts: its own start states.
        source: where they came from.

    Attributes:
        parts: what each kind of start showed, every time that it was played.
        untried: kinds of start states that there were no env steps for.
    """

    def __init__(self, skill: LearnedSkill, starts: Placed, source: StartStateSource) -> None:
        self.parts: list[tuple[StartVariant, Trajectories]] = []
        self.untried = 0
        self._skill = skill
        self._own = starts
        self._source = source
        self._bench = source.bench
        self._rounds = 0
        self._steps_before = source.bench.programs.env_steps

    @property
    def episodes(self) -> Trajectories:
        """All of them."""
        return Trajectories.joined([episodes for _, episodes in self.parts])

    @property
    def env_steps(self) -> int:
        """Spent since it was made."""
        return self._bench.programs.env_steps - self._steps_before

    def play_own(self) -> None:
        """From the skill's own start states, for every n that it was trained for; each time from others."""
        batch, max_repeat = self._bench.programs.batch, self._skill.task.max_repeat
        wanted = max(EPISODES, EPISODES_A_REPEAT * max_repeat)
        count = min(-(-wanted // batch) * batch, self._own.rows)
        times = sum(start == OWN for start, _ in self.parts)
        rows = (np.arange(count) + times * count) % self._own.rows
        starts = jax.tree.map(lambda leaf: leaf[rows], self._own)
        self.parts.append((OWN, self._play(starts, max_repeat, f"own {times}" if times else "own")))

    def play_variants(self, variants: Iterable[StartVariant], operator: Operator, until: int) -> bool:
        """From other starts, each time from others again; whether a plan leads to any of them.

        Args:
            operator: of the skill as it is known by now: plans may make use of it.
            until: env steps from which on none is prepared any more.
        """
        library = SkillLibrary()
        for name in self._source.library.operators:
            library.add(self._source.library[name])
        library.add(dataclasses.replace(self._skill, operator=operator))
        found = []
        for variant in variants:
            if self.env_steps >= until:
                self.untried += 1
            elif (starts := self._prepared(variant, operator, library)) is not None:
                found.append((variant, starts))
        for repeats in sorted({variant.repeats for variant, _ in found}):
            self._play_together([pair for pair in found if pair[0].repeats == repeats], repeats)
        self._rounds += 1
        return bool(found)

    def _prepared(self, variant: StartVariant, operator: Operator, library: SkillLibrary) -> Placed | None:
        goal = variant.operator(operator)
        name = f"{self._skill.name} {variant.label}"
        again = f" {self._rounds}" if any(variant == played for played, _ in self.parts) else ""
        try:
            source = dataclasses.replace(
                self._source,
                name=name,
                operator=goal,
                steps=plan_for(name, goal, library.operators, self._bench.world),
                library=library,
                stream=f"{self._source.stream} {variant.label}{again}",
                _batches=0,
            )
            return source.training(max(VARIANT_EPISODES, EPISODES_A_REPEAT * variant.repeats))
        except ProposalRefused:
            return None

    def _play_together(self, group: Sequence[tuple[StartVariant, Placed]], repeats: int) -> None:
        """One run for all: a batch of envs is seldom full with one kind."""
        purpose = self._rounds if repeats == 1 else f"{self._rounds} for {repeats}"
        starts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(part for _, part in group))
        played = self._play(starts, repeats, purpose)
        first = 0
        for variant, part in group:
            self.parts.append((variant, played.select(np.arange(first, first + part.rows))))
            first += part.rows

    def _play(self, starts: Placed, max_repeat: int, purpose: str | int) -> Trajectories:
        key = jax.random.fold_in(
            jax.random.key(self._bench.seed), stream_number(self._source.stream, "refine", purpose)
        )
        task = dataclasses.replace(self._skill.task, max_repeat=max_repeat)
        outcomes = self._bench.episodes.run(task, self._skill.params, starts, key)
        return trajectories_of(outcomes, self._bench.world)


def trajectories_of(outcomes: Outcomes, world: World) -> Trajectories:
    """Episodes read in the world's facts."""
    facts = tuple(name for name in world.vocabulary if name in world.snapshot_spec.fact_columns)
    columns = [world.snapshot_spec.fact_columns[name] for name in facts]

    def read(snapshots: Any) -> np.ndarray:
        return np.rint(np.asarray(snapshots)[:, columns]).astype(np.int32)

    return Trajectories(
        facts=facts,
        start=read(outcomes.start),
        end=read(outcomes.end),
        fell=read(outcomes.fell),
        rose=read(outcomes.rose),
        done=np.asarray(outcomes.claimed) & ~np.asarray(outcomes.died),
        died=np.asarray(outcomes.died),
        n=np.asarray(outcomes.n),
        length=np.asarray(outcomes.length),
    )
