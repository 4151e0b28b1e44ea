"""Plans carried out by trained policies, all envs on device: a teleo-reactive program (Nilsson 1994)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.compiled import compiled, step_keys
from flowrl.rl.environment import EnvPrograms, Placed, Seen, copy_rows, rows_of, where_rows
from flowrl.rl.maintenance import InForce, Maintenance, maintained, rules_in_force
from flowrl.rl.network import ActorCritic, apply_of, play
from flowrl.rl.task import GoalTable, Task, goal_features
from flowrl.skills.evidence import wilson_interval

CHECK_EVERY = 16
"""Env steps between two looks from the host at how many worlds have ended."""

HOPELESS_BELOW = 0.02
"""A plan is given up when it surely reaches its goal in less than this share of worlds."""

LEFT_BEHIND = 0.1
"""Share of the worlds that is not waited for: the time limit is several times the mean, and while a few go on
to it, all other envs idle."""


@dataclass(frozen=True)
class PlanProgram:
    """What to do as data: rows of conditions on snapshots, and which policy to run for how many repeats.

    Attributes:
        low, high: float32 ``[L + 1, D]``: each row's bounds, the least left to do last, then the goal's.
        policy: int32 ``[L]``, row in the stack of policies.
        n: int32 ``[L]``.
    """

    low: np.ndarray
    high: np.ndarray
    policy: np.ndarray
    n: np.ndarray

    @property
    def steps(self) -> int:
        """L."""
        return len(self.policy)


class _Table(NamedTuple):
    low: jax.Array
    high: jax.Array
    policy: jax.Array
    n: jax.Array
    goals: GoalTable
    goal_index: jax.Array


class _Run(NamedTuple):
    """Where B envs stand in the plan, and what was banked.

    Attributes:
        step: int32 ``[B]``, the step each env is at; L when the goal holds.
        start: float32 ``[B, D]``, snapshot when that step was entered.
        spent: int32 ``[B]``, env steps since the env's fresh world.
        in_force: the maintenance rules that go before the plan.
        banked: the states where the goal held, in order; leaves ``[M, ...]``, a row for each world.
        filled: int32, rows of ``banked`` that are filled.
        next_world: int32, the next fresh world to hand out.
        first_time: bool ``[B]``: the env's world was not handed out before; what goes on in others counts
            for nothing.
        attempts, deaths: int32, worlds that ended (reached, died or out of time), and of them deaths.
    """

    step: jax.Array
    start: jax.Array
    spent: jax.Array
    in_force: InForce
    banked: Placed
    filled: jax.Array
    next_world: jax.Array
    first_time: jax.Array
    attempts: jax.Array
    deaths: jax.Array


@dataclass(frozen=True)
class Reached:
    """What carrying out a plan gave.

    Attributes:
        starts: the states in which the goal held, at most one a world; None when there are none.
        attempts: worlds that were tried to an end.
        deaths: of them ended by death.
    """

    starts: Placed | None
    attempts: int
    deaths: int


class PlanExecutor:
    """Carries plans out from fresh worlds and banks the states at their goal.

    Args:
        programs: the env's programs.
        network: whose parameters the policies are.
    """

    def __init__(self, programs: EnvPrograms, network: ActorCritic) -> None:
        self.programs = programs
        self._apply = apply_of(network)
        self._act = compiled(self._choose, donate=(4, 5))
        self.maintenance: Maintenance | None = None
        """Rules that go before the plan's policies."""

    def reach(
        self,
        plan: PlanProgram,
        tasks: Sequence[Task],
        policies: Sequence[Any],
        worlds: Placed,
        max_steps: int,
        key: jax.Array,
    ) -> Reached:
        """Runs the plan in every world, to the goal or to an end.

        At most one state a world is banked, and all but the slowest worlds (:data:`LEFT_BEHIND`) are carried
        through: whoever banks only the first arrivals gets worlds in which the plan ends soon.

        Args:
            plan: conditions and steps; ``plan.policy`` indexes ``tasks`` and ``policies``.
            tasks: the task of each policy, for the repeat count it is shown.
            policies: parameters, one tree a task.
            worlds: fresh worlds.
            max_steps: env steps that one world may take; a plan that after as many env steps has reached its
                goal in hardly any world is given up.
        """
        if plan.steps == 0:
            return Reached(worlds, worlds.rows, 0)
        batch = self.programs.batch
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies)
        table = _padded(plan, GoalTable.of(list(tasks)))
        rows = np.arange(batch) % worlds.rows
        placed = rows_of(worlds, rows)
        run = _Run(
            step=jnp.full(batch, -1, jnp.int32),
            start=jnp.array(placed.seen.snapshot),
            spent=jnp.zeros(batch, jnp.int32),
            in_force=InForce.none(batch, self.maintenance.table.places if self.maintenance else 0),
            banked=jax.tree.map(jnp.array, worlds),
            filled=jnp.int32(0),
            next_world=jnp.int32(batch),
            first_time=jnp.arange(batch) < worlds.rows,
            attempts=jnp.int32(0),
            deaths=jnp.int32(0),
        )
        states, seen = placed.states, placed.seen
        for step in itertools.count():
            action_key, env_key = step_keys(key, step)
            actions, states, run, seen = self._act(
                stacked, self.maintenance, table, seen, states, run, worlds, action_key,
                np.int32(max_steps),
            )  # fmt: skip
            if step % CHECK_EVERY == CHECK_EVERY - 1 and _over(run, step >= max_steps):
                break
            placed = self.programs.advance(states, actions, env_key)
            states, seen = placed.states, placed.seen
        found = int(run.filled)
        starts = jax.tree.map(lambda leaf: leaf[:found], run.banked) if found else None
        return Reached(starts, int(run.attempts), int(run.deaths))

    def _choose(
        self,
        policies: Any,
        maintenance: Maintenance | None,
        table: _Table,
        seen: Seen,
        states: Any,
        run: _Run,
        worlds: Placed,
        key: jax.Array,
        limit: jax.Array,
    ) -> tuple[jax.Array, Any, _Run, Seen]:
        """Banks what reached the goal, hands out fresh worlds where one ended, chooses the next actions."""
        at = _current_step(table, seen.snapshot)
        reached = (at == table.goal_index) & ~seen.died
        ended = reached | seen.died | seen.time_up | (run.spent >= limit)
        attempts = run.attempts + jnp.sum(ended & run.first_time)
        deaths = run.deaths + jnp.sum(seen.died & run.first_time)
        run = _bank(run, Placed(states, seen), reached & run.first_time)
        handed_out = run.next_world + jnp.cumsum(ended) - 1
        rows = handed_out % worlds.rows
        states = copy_rows(states, worlds.states, rows, ended)
        seen = where_rows(ended, rows_of(worlds.seen, rows), seen)
        at = _current_step(table, seen.snapshot)
        changed = ended | (at != run.step)
        run = run._replace(
            step=at,
            start=jnp.where(changed[:, None], seen.snapshot, run.start),
            spent=jnp.where(ended, 0, run.spent) + 1,
            next_world=run.next_world + jnp.sum(ended),
            first_time=jnp.where(ended, handed_out < worlds.rows, run.first_time),
            attempts=attempts,
            deaths=deaths,
        )
        policy, n = table.policy[at], table.n[at]
        goal = goal_features(table.goals, policy, run.start, seen.snapshot, n)
        features = jnp.concatenate([seen.features, goal], axis=-1)
        # Every policy sees every env: a few small networks cost less than sorting envs by policy.
        logits = jax.vmap(lambda params: self._apply(params, seen.tiles, features)[0])(policies)
        chosen = jnp.take_along_axis(logits, policy[None, :, None], axis=0)[0]
        if maintenance is not None:
            in_force = rules_in_force(maintenance.table, seen.snapshot, run.in_force.restarted(ended))
            run = run._replace(in_force=in_force)
            chosen = maintained(self._apply, maintenance, in_force.rule, seen.tiles, seen.features, chosen)
        return play(key, chosen), states, run, seen


def _over(run: _Run, a_span_is_over: bool) -> bool:
    """Whether nearly all worlds have ended, or hardly any leads to the goal."""
    attempts = int(run.attempts)
    if a_span_is_over and hopeless(int(run.filled), attempts):
        return True
    return attempts >= (1 - LEFT_BEHIND) * run.banked.rows


def hopeless(reached: int, attempts: int) -> bool:
    """Whether a plan is to be given up: the upper 95% bound of its success is below :data:`HOPELESS_BELOW`.

    The share itself would not do: of plans that reach their goal in 3% of worlds, a third does so in at most
    2 of the first 117.
    """
    return wilson_interval(reached, attempts)[1] < HOPELESS_BELOW


def _current_step(table: _Table, snapshot: jax.Array) -> jax.Array:
    """int32 ``[B]``: the last condition that holds, 0 when none does."""
    now = snapshot[:, None, :]
    holds = jnp.all((now >= table.low) & (now <= table.high), axis=-1)
    order = jnp.arange(table.low.shape[0])
    return jnp.max(jnp.where(holds & (order <= table.goal_index), order, 0), axis=-1).astype(jnp.int32)


def _bank(run: _Run, placed: Placed, reached: jax.Array) -> _Run:
    """``run`` with the states that reached the goal appended; there is room for all."""
    room = run.banked.rows
    position = run.filled + jnp.cumsum(reached) - 1
    # Which env goes to each free row: the inverse of ``position``.
    source = (
        jnp.zeros(room, jnp.int32)
        .at[jnp.where(reached, position, room)]
        .set(jnp.arange(reached.shape[0]), mode="drop")
    )
    written = (jnp.arange(room) >= run.filled) & (jnp.arange(room) < run.filled + jnp.sum(reached))
    banked = copy_rows(run.banked, placed, source, written)
    return run._replace(banked=banked, filled=run.filled + jnp.sum(reached))


def _padded(plan: PlanProgram, goals: GoalTable) -> _Table:
    """The plan's table with its length rounded up, so that plans of like length share a compiled program."""
    rows = -(-(plan.steps + 1) // 8) * 8

    def pad(array: np.ndarray) -> jax.Array:
        return jnp.asarray(np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]))

    return _Table(pad(plan.low), pad(plan.high), pad(plan.policy), pad(plan.n), goals, jnp.int32(plan.steps))
