"""Start states: the accepted skills' policies carry out a plan; the states at its end are banked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.errors import ProposalRefused
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.streams import stream_number
from flowrl.pipeline.tasks import make_plan_program, rows_to
from flowrl.pipeline.workbench import Workbench
from flowrl.rl.environment import Placed
from flowrl.rl.executor import Reached, hopeless
from flowrl.skills.operator import Operator
from flowrl.skills.plan import Impossible, Plan, PlanningGaveUp, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import prove
from flowrl.skills.teleo import Row, start_condition
from flowrl.worlds.base import World

ROUNDS = 8
"""So many times as many worlds as start states are tried at most."""

MIN_STARTS = 32
"""Fewer start states than this would be learned by heart: the skill is refused."""


def plan_for(name: str, operator: Operator, learned: Mapping[str, Operator], world: World) -> Plan:
    """A proved plan from a fresh world to where the skill can start.

    Args:
        name: of the skill.
        operator: of the skill.
        learned: what the plan may be made of: the accepted skills' operators.
        world: whose facts these are.

    Raises:
        ProposalRefused: stage ``plan``; there is no such plan.
    """
    # The order decides between equal plans; by name, it is not the order in which skills were learned.
    operators = dict(sorted({**learned, name: operator}.items()))
    goal = SkillGoal(name)
    try:
        found = plan(world.initial_facts, operators, goal, world.vocabulary)
    except (Impossible, PlanningGaveUp) as error:
        raise ProposalRefused(
            "plan",
            f"{name!r} cannot be reached with the accepted skills: {error}",
            "Propose a skill whose requirements the accepted skills can make true, "
            "for example one that provides what is missing.",
        ) from None
    prove(found, world.initial_facts, operators, goal, world.vocabulary)
    return found


@dataclass
class StartStateSource:
    """Makes start states for one skill, for training and held out, as many as are asked for.

    Attributes:
        name: of the skill.
        operator: of the skill.
        steps: the proved plan.
        stream: names this skill's random numbers: its worlds are its own, whenever they are drawn.
    """

    name: str
    operator: Operator
    steps: Plan
    library: SkillLibrary
    bench: Workbench
    stream: str
    _batches: int = 0

    def training(self, count: int) -> Placed:
        """``count`` start states from worlds for training, others at every call.

        Fewer where the plan seldom leads there.

        Raises:
            ProposalRefused: stage ``prepare``; the plan's skills do not lead there.
        """
        self._batches += 1
        worlds = self.bench.training_worlds
        return self._collect(worlds, count, min(MIN_STARTS, count), "training", self._batches)

    def held_out(self, count: int, attempt: int) -> Placed:
        """``count`` start states, each from a world of its own that training never saw.

        Another ``attempt`` takes other worlds. Fewer where the plan seldom leads there, but at least a
        quarter: the evidence says how many, and its Wilson bound is the lower for it.

        Raises:
            ProposalRefused: stage ``prepare``; not even so many can be had from several times as many worlds.
        """
        least = min(max(MIN_STARTS, count // 4), count)
        return self._collect(self.bench.held_out_worlds, count, least, "held out", attempt)

    def _collect(
        self, worlds: Callable[[int, int], Placed], count: int, least: int, kind: str, draw: int
    ) -> Placed:
        """``count`` start states, at least ``least``, drawn from all that a number of worlds lead to.

        As many worlds at a time as there are envs, and nearly every one carried through to its end: whoever
        takes the first ``count`` states that come in gets worlds in which the plan ends soon, players that
        are well, and daylight (docs/LOG.md).
        """
        if not self.steps.steps:
            # However many envs there are, the same worlds.
            return worlds(stream_number(self.stream, kind, draw, 0), count)
        parts: list[Placed] = []
        found = attempts = deaths = 0
        batch = self.bench.programs.batch
        for part in range(ROUNDS * -(-count // batch)):
            stream = stream_number(self.stream, kind, draw, part)
            reached = self._reach(worlds(stream, batch), stream)
            attempts, deaths = attempts + reached.attempts, deaths + reached.deaths
            if reached.starts is not None:
                parts.append(reached.starts)
                found += reached.starts.rows
            if found >= count or hopeless(found, attempts):
                break
        if found < least:
            raise self._refusal(found, attempts, deaths)
        drawn = np.random.default_rng(stream).permutation(found)[:count]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[drawn], *parts)

    def _refusal(self, found: int, attempts: int, deaths: int) -> ProposalRefused:
        return ProposalRefused(
            "prepare",
            f"the plan [{self.steps}] reached a start state of {self.name!r} in only {found} of "
            f"{attempts} worlds ({deaths} ended by death).",
            "Require less, or first propose a skill that makes the plan shorter or safer.",
        )

    @functools.cached_property
    def _rows(self) -> tuple[Row, ...]:
        """What the plan's skills do wherever they may stand."""
        world = self.bench.world
        operators = {**self.library.operators, self.name: self.operator}
        goal = start_condition(self.operator, 1, world.vocabulary)
        return rows_to(goal, self.steps, operators, self.library.env_steps, world)

    def _reach(self, worlds: Placed, stream: int) -> Reached:
        names = list(dict.fromkeys(row.rest[0].skill for row in self._rows[:-1]))
        skills = [self.library[name] for name in names]
        program = make_plan_program(self._rows, names, self.bench.world)
        budget = sum(self.library[step.skill].time_for(step.n) for step in self.steps.steps)
        return self.bench.executor.reach(
            program,
            [skill.task for skill in skills],
            [skill.params for skill in skills],
            worlds,
            max(budget, 1),
            jax.random.fold_in(jax.random.key(self.bench.seed), stream),
        )
