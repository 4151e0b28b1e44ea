"""From symbols to arrays: operators become measured tasks, plans become programs over snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flowrl.rl.executor import PlanProgram
from flowrl.rl.task import GoalProgram, MeasuredGain, Task
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.plan import PlanStep
from flowrl.skills.teleo import Condition, conditions
from flowrl.worlds.base import World


def make_task(
    name: str, operator: Operator, program: GoalProgram, world: World, max_steps: int, max_repeat: int
) -> Task:
    """The task of a skill: its own program, and its declared gains as tests on snapshot columns."""
    gains = tuple(measured_gain(fact, count, world) for fact, count in operator.gains.items())
    return Task(name, program, gains, max_steps, max_repeat)


def measured_gain(fact: str, count: Linear | tuple[int, ...], world: World) -> MeasuredGain:
    """How one declared gain is measured in the env."""
    column = world.snapshot_spec.fact_columns[fact]
    known = world.vocabulary[fact]
    if not isinstance(count, Linear):
        return MeasuredGain(column, 0, count[0], "equal")
    if known.kind in (FactKind.COUNT, FactKind.VITAL):
        return MeasuredGain(column, count.slope, count.offset, "add", known.capacity)
    return MeasuredGain(column, count.slope, count.offset, "level")


def repeats_to_train(operator: Operator, vocabulary: Vocabulary, max_repeat: int) -> int:
    """The largest ``n`` to train a skill for.

    Skills that use things up for every repeat, or need more for more repeats, are trained one at a time:
    their start states would have to differ with ``n``. Nothing is asked for beyond a fact's capacity.
    """
    needs = [*operator.requires.values(), *operator.consumes.values()]
    if not operator.scales or any(isinstance(count, Linear) and count.slope for count in needs):
        return 1
    n = max_repeat
    for fact, gain in operator.gains.items():
        capacity = vocabulary[fact].capacity
        while isinstance(gain, Linear) and capacity is not None and n > 1 and gain.at(n) > capacity:
            n -= 1
    return n


def barred_actions(operator: Operator, world: World) -> list[int]:
    """Actions that a skill's policy may not take: those that leave one helpless, unless it is for them.

    Measured: one accidental SLEEP leaves the player helpless for 11 to 60 env steps (docs/LOG.md).
    """
    return [
        action for action, sakes in world.sleep_actions.items() if operator.gains.keys().isdisjoint(sakes)
    ]


def make_plan_program(
    steps: Sequence[PlanStep],
    goal: Condition,
    operators: Mapping[str, Operator],
    order: Sequence[str],
    world: World,
) -> PlanProgram:
    """A proved plan as conditions on snapshot columns.

    Args:
        goal: what must hold at the end.
        order: skill names in the order in which their policies will be given to the executor.
    """
    regressed = conditions(steps, goal, operators, world.vocabulary)
    low = np.full((len(regressed), len(world.snapshot_spec)), -np.inf, np.float32)
    high = np.full_like(low, np.inf)
    for row, condition in enumerate(regressed):
        for fact, bounds in condition.items():
            column = world.snapshot_spec.fact_columns[fact]
            low[row, column] = bounds.low
            if bounds.high is not None:
                high[row, column] = bounds.high
    policy = np.array([order.index(step.skill) for step in steps], np.int32)
    return PlanProgram(low, high, policy, np.array([step.n for step in steps], np.int32))
