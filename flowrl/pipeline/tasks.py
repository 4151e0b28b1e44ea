"""From symbols to arrays: operators become measured tasks, plans become programs over snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from flowrl.rl.executor import PlanProgram
from flowrl.rl.task import GoalProgram, MeasuredGain, Task
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.plan import Plan, PlanStep
from flowrl.skills.replanning import courses_from_stages
from flowrl.skills.teleo import Condition, Row, merged_rows
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


def rows_to(
    goal: Condition,
    found: Plan,
    operators: Mapping[str, Operator],
    env_steps: Callable[[PlanStep], float],
    world: World,
) -> tuple[Row, ...]:
    """What to do wherever a player may stand: the rows of a plan and of those from its stages.

    Args:
        goal: what the plan is for, as a condition.
        found: a proved plan from a fresh world.
        operators: of the plan's skills, and of the goal where that is one.
        env_steps: what a step is expected to take.
    """
    courses = courses_from_stages(found, world.initial_facts, operators, world.vocabulary)
    return tuple(merged_rows(courses, goal, operators, world.vocabulary, env_steps))


def make_plan_program(rows: Sequence[Row], order: Sequence[str], world: World) -> PlanProgram:
    """Rows as conditions on snapshot columns.

    Args:
        rows: the goal's last.
        order: skill names in the order in which their policies will be given to the executor.
    """
    low = np.full((len(rows), len(world.snapshot_spec)), -np.inf, np.float32)
    high = np.full_like(low, np.inf)
    for at, row in enumerate(rows):
        for fact, bounds in row.condition.items():
            column = world.snapshot_spec.fact_columns[fact]
            low[at, column] = bounds.low
            if bounds.high is not None:
                high[at, column] = bounds.high
    steps = [row.rest[0] for row in rows[:-1]]
    policy = np.array([order.index(step.skill) for step in steps], np.int32)
    return PlanProgram(low, high, policy, np.array([step.n for step in steps], np.int32))
