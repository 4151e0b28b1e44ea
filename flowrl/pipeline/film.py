"""One episode as a sequence of scenes: the game's picture, and what the agent was doing and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flowrl.pipeline.evaluate import PlayedGraph, worth_of_achievements
from flowrl.rl.agent import Moment
from flowrl.rl.compiled import compiled
from flowrl.skills.plan import PlanStep

FILM_STEPS = 2_000
"""Env steps of an episode that a film shows at most: more than three minutes at ten a second."""


@dataclass(frozen=True)
class Scene:
    """One moment of an episode, as a person would want it explained.

    Attributes:
        picture: uint8 ``[H, W, 3]``, the game's own.
        step: env steps made so far.
        skill: the skill in charge.
        rule: the maintenance rule that called it; None when the plan did.
        target: the fact or skill pursued.
        reached: the target is reached already: there is nothing left to pursue.
        plan: what is left to do for the target, the current step first.
        inventory: what is in the bag and how much of it; nothing that is 0.
        vitals: each with its level and that at an episode's start.
        achievements: those done so far, in the game's order.
    """

    picture: np.ndarray
    step: int
    skill: str
    rule: str | None
    target: str
    reached: bool
    plan: tuple[PlanStep, ...]
    inventory: dict[str, int]
    vitals: dict[str, tuple[float, int]]
    achievements: tuple[str, ...]


@dataclass(frozen=True)
class Film:
    """An episode to be shown.

    Attributes:
        env_name: of the world.
        episode: its index among those played.
        length: env steps of the whole episode.
        steps: env steps that are shown.
        died: whether the episode ended in death.
        possible_achievements: how many the world has.
        scenes: ``steps + 1`` of them, played as they are asked for; once.
    """

    env_name: str
    episode: int
    length: int
    steps: int
    died: bool
    possible_achievements: int
    scenes: Iterator[Scene]


def film_best(done: PlayedGraph) -> Film:
    """The episode whose achievements are worth most, the first of equals, played again step by step."""
    world = done.bench.world
    best = int(np.argmax(worth_of_achievements(done.ended.end, world)))
    length = int(done.ended.length[best])
    steps = min(length, FILM_STEPS)
    return Film(
        world.name,
        best,
        length,
        steps,
        bool(done.ended.died[best]),
        len(world.achievement_values),
        _scenes(done, best, steps),
    )


def _scenes(done: PlayedGraph, episode: int, steps: int) -> Iterator[Scene]:
    render = compiled(done.bench.world.render)
    moments = done.player.agent.watch(done.worlds, episode, steps, done.actions_key)
    for step, moment in enumerate(moments):
        yield _scene(done, moment, step, np.asarray(render(moment.state)))


def _scene(done: PlayedGraph, moment: Moment, step: int, picture: np.ndarray) -> Scene:
    world, does = done.bench.world, done.player.does
    held: dict[str, dict[str, float]] = {"inventory": {}, "vital": {}, "achievement": {}}
    for fact, column in world.snapshot_spec.fact_columns.items():
        namespace, _, name = fact.partition(":")
        held.get(namespace, {})[name] = float(moment.snapshot[column])
    return Scene(
        picture=picture,
        step=step,
        skill=does.policies[moment.policy],
        rule=does.rules[moment.rule] if moment.rule >= 0 else None,
        target=does.targets[moment.target],
        reached=bool(moment.reached),
        plan=does.rows[moment.target][moment.step].rest,
        inventory={name: int(count) for name, count in held["inventory"].items() if count},
        vitals={name: (level, world.initial_facts[f"vital:{name}"]) for name, level in held["vital"].items()},
        achievements=tuple(name for name, done_so_far in held["achievement"].items() if done_so_far),
    )
