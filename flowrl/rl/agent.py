"""One agent that plays whole episodes with many policies: a teleo-reactive program with several targets.

At every step an env pursues one target; the last condition of the target's plan that holds says which policy
runs (Nilsson 1994). A target that does not come about within its patience rests while others are tried.
Maintenance rules (eat, drink, sleep) go before any target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.compiled import compiled
from flowrl.rl.environment import EnvPrograms, Placed, Seen
from flowrl.rl.executor import PlanProgram
from flowrl.rl.network import ActorCritic
from flowrl.rl.task import GoalTable, Task, goal_features

CHECK_EVERY = 64
"""Env steps between two looks from the host at whether every episode has ended."""


@dataclass(frozen=True)
class Maintenance:
    """Keeps one snapshot column up, whatever the target.

    Attributes:
        column: of the snapshot, such as the food level.
        below: begins when the value is at most this.
        until: ends when the value is at least this.
        policy: row in the stack of policies.
        patience: env steps after which it gives way to the targets, for as long again.
    """

    column: int
    below: float
    until: float
    policy: int
    patience: int


@dataclass(frozen=True)
class AgentProgram:
    """What the agent wants and how, as data.

    Attributes:
        targets: one plan a target, in order of preference.
        patience: env steps that each target may take before it rests; ``[G]``.
        maintenance: rules that go first, in order.
    """

    targets: tuple[PlanProgram, ...]
    patience: tuple[int, ...]
    maintenance: tuple[Maintenance, ...] = ()


_NO_RULE = Maintenance(column=0, below=-np.inf, until=-np.inf, policy=0, patience=1)
"""Stands in where there is no rule: never begins, and keeps the arrays from being empty."""


class _Tables(NamedTuple):
    columns: jax.Array
    low: jax.Array
    high: jax.Array
    policy: jax.Array
    n: jax.Array
    goal_index: jax.Array
    patience: jax.Array
    rule_column: jax.Array
    rule_below: jax.Array
    rule_until: jax.Array
    rule_policy: jax.Array
    rule_patience: jax.Array
    goals: GoalTable


class Pursuit(NamedTuple):
    """What B envs are doing.

    Attributes:
        target: int32 ``[B]``.
        step: int32 ``[B]``, step of the target's plan.
        rule: int32 ``[B]``, the maintenance rule in force, -1 for none.
        policy: int32 ``[B]``, the policy in charge.
        start: float32 ``[B, D]``, snapshot when that policy took charge.
        spent: int32 ``[B]``, env steps on the target since it was taken up.
        rule_spent: int32 ``[B, R]``, env steps on each rule; negative while the rule rests.
        rested: int32 ``[B, G]``, how often each target ran out of patience.
    """

    target: jax.Array
    step: jax.Array
    rule: jax.Array
    policy: jax.Array
    start: jax.Array
    spent: jax.Array
    rule_spent: jax.Array
    rested: jax.Array


class Played(NamedTuple):
    """How ``E`` whole episodes went; one row an episode.

    Attributes:
        length: int32 ``[E]``, env steps.
        died: bool ``[E]``.
        before: float32 ``[E, D]``, snapshot before the last step.
        end: float32 ``[E, D]``, snapshot at the end.
        reached: bool ``[E, G]``: the target's condition held at some time.
        rested: int32 ``[E, G]``, how often each target ran out of patience.
        charge: int32 ``[E, S]``, env steps that each policy was in charge.
    """

    length: np.ndarray | jax.Array
    died: np.ndarray | jax.Array
    before: np.ndarray | jax.Array
    end: np.ndarray | jax.Array
    reached: np.ndarray | jax.Array
    rested: np.ndarray | jax.Array
    charge: np.ndarray | jax.Array


class _Episode(NamedTuple):
    ended: jax.Array
    played: Played


class Agent:
    """Plays whole episodes; compiled once for a number of policies and targets.

    Args:
        programs: the env's programs.
        network: whose parameters the policies are.
        program: targets and maintenance.
        tasks: the task of each policy, for the repeat count it is shown.
        policies: parameters, one tree a task.
    """

    def __init__(
        self,
        programs: EnvPrograms,
        network: ActorCritic,
        program: AgentProgram,
        tasks: Sequence[Task],
        policies: Sequence[Any],
    ) -> None:
        self.programs = programs
        self._network = network
        self._policies = jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies)
        self._count = len(policies)
        self._tables = _tables(program, GoalTable.of(list(tasks)))
        self._decide = compiled(self._choose)
        self._record = compiled(_record)

    def begin(self, seen: Seen) -> Pursuit:
        """Nothing pursued yet."""
        batch = seen.died.shape[0]
        none = jnp.full(batch, -1, jnp.int32)
        return Pursuit(
            none, none, none, none, seen.snapshot, jnp.zeros(batch, jnp.int32),
            jnp.zeros((batch, self._tables.rule_column.shape[0]), jnp.int32),
            jnp.zeros((batch, self._tables.goal_index.shape[0]), jnp.int32),
        )  # fmt: skip

    def act(self, seen: Seen, pursuit: Pursuit, key: jax.Array) -> tuple[jax.Array, Pursuit]:
        """Actions int32 ``[B]`` and what the envs are doing now."""
        actions, now = self._decide(self._policies, self._tables, seen, pursuit, key)
        return actions, now

    def play(self, worlds: Placed, max_steps: int, key: jax.Array) -> Played:
        """One whole episode from every world, until death, the game's end or ``max_steps``."""
        batch = self.programs.batch
        parts = []
        for first in range(0, worlds.rows, batch):
            rows = np.arange(first, first + batch) % worlds.rows
            placed: Placed = jax.tree.map(lambda leaf, rows=rows: jnp.array(leaf[rows]), worlds)
            part_key = jax.random.fold_in(key, first)
            parts.append(self._play_batch(placed, max_steps, part_key))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: worlds.rows], *parts)

    def _play_batch(self, placed: Placed, max_steps: int, key: jax.Array) -> Played:
        seen = placed.seen
        pursuit = self.begin(seen)
        episode = _fresh_episode(seen, self._tables.goal_index.shape[0], self._count)
        for step in range(max_steps):
            step_key = jax.random.fold_in(key, step)
            before = placed.seen.snapshot
            actions, pursuit = self.act(placed.seen, pursuit, step_key)
            placed = self.programs.advance(placed.states, actions, step_key)
            episode = self._record(self._tables, episode, pursuit, before, placed.seen)
            if step % CHECK_EVERY == CHECK_EVERY - 1 and bool(jnp.all(episode.ended)):
                break
        played: Played = jax.device_get(episode.played)
        return played

    def _choose(
        self, policies: Any, table: _Tables, seen: Seen, pursuit: Pursuit, key: jax.Array
    ) -> tuple[jax.Array, Pursuit]:
        rule, rule_spent = _current_rule(table, seen.snapshot, pursuit)
        holds = _conditions(table, seen.snapshot)
        reached = jnp.take_along_axis(holds, table.goal_index[None, :, None], axis=2)[:, :, 0]
        target, spent, rested = _current_target(table, reached, pursuit)
        own = jnp.take_along_axis(holds, target[:, None, None], axis=1)[:, 0]
        order = jnp.arange(own.shape[1])
        step = jnp.max(jnp.where(own & (order < table.goal_index[target][:, None]), order, 0), axis=1)
        policy = jnp.where(rule >= 0, table.rule_policy[rule], table.policy[target, step])
        n = jnp.where(rule >= 0, 1, table.n[target, step])
        changed = (policy != pursuit.policy) | (step != pursuit.step) | (rule != pursuit.rule)
        start = jnp.where(changed[:, None], seen.snapshot, pursuit.start)
        goal = goal_features(table.goals, policy, start, seen.snapshot, n)
        features = jnp.concatenate([seen.features, goal], axis=-1)
        logits = jax.vmap(lambda params: self._network.apply({"params": params}, seen.tiles, features)[0])(
            policies
        )
        chosen = jnp.take_along_axis(logits, policy[None, :, None], axis=0)[0]
        now = Pursuit(
            target, step.astype(jnp.int32), rule, policy.astype(jnp.int32), start,
            spent + (rule < 0), rule_spent, rested,
        )  # fmt: skip
        return jax.random.categorical(key, chosen), now


def _conditions(table: _Tables, snapshot: jax.Array) -> jax.Array:
    """bool ``[B, G, L]``: which conditions of which targets hold."""
    facts = snapshot[:, table.columns][:, None, None, :]
    return jnp.all((facts >= table.low) & (facts <= table.high), axis=-1)


def _current_rule(table: _Tables, snapshot: jax.Array, pursuit: Pursuit) -> tuple[jax.Array, jax.Array]:
    """The rule in force ``[B]`` (-1: none), and the steps spent on each ``[B, R]``."""
    values = snapshot[:, table.rule_column]
    order = jnp.arange(table.rule_column.shape[0])
    running = pursuit.rule[:, None] == order
    wanted = (values <= table.rule_below) | (running & (values < table.rule_until))
    wanted &= pursuit.rule_spent >= 0
    first = jnp.argmax(wanted, axis=1).astype(jnp.int32)
    rule = jnp.where(jnp.any(wanted, axis=1), first, -1)
    active = rule[:, None] == order
    spent = jnp.where(active, pursuit.rule_spent + 1, jnp.minimum(pursuit.rule_spent + 1, 0))
    # What does not come about within its patience gives way for as long again.
    return rule, jnp.where(spent > table.rule_patience, -table.rule_patience, spent)


def _current_target(
    table: _Tables, reached: jax.Array, pursuit: Pursuit
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The target ``[B]``, the steps spent on it ``[B]``, and how often each rested ``[B, G]``."""
    count = reached.shape[1]
    order = jnp.arange(count)
    known = pursuit.target >= 0
    current = jnp.maximum(pursuit.target, 0)
    done = jnp.take_along_axis(reached, current[:, None], axis=1)[:, 0]
    tired = known & ~done & (pursuit.spent >= table.patience[current])
    rested = pursuit.rested + (tired[:, None] & (current[:, None] == order))
    # Unreached before reached, less rested before more, then the order of preference.
    rank = (reached * 1_000_000) + jnp.minimum(rested, 1000) * 1000 + order
    best = jnp.argmin(rank, axis=1).astype(jnp.int32)
    switch = ~known | done | tired
    target = jnp.where(switch, best, current)
    spent = jnp.where(switch & (best != pursuit.target), 0, jnp.where(tired, 0, pursuit.spent))
    return target, spent, rested


def _fresh_episode(seen: Seen, targets: int, policies: int) -> _Episode:
    batch = seen.died.shape[0]
    no = jnp.zeros(batch, bool)
    zero = jnp.zeros(batch, jnp.int32)
    return _Episode(
        no,
        Played(
            zero, no, seen.snapshot, seen.snapshot, jnp.zeros((batch, targets), bool),
            jnp.zeros((batch, targets), jnp.int32), jnp.zeros((batch, policies), jnp.int32),
        ),
    )  # fmt: skip


def _record(table: _Tables, episode: _Episode, pursuit: Pursuit, before: jax.Array, seen: Seen) -> _Episode:
    """Notes one step of the episodes that have not ended."""
    holds = _conditions(table, seen.snapshot)
    reached = jnp.take_along_axis(holds, table.goal_index[None, :, None], axis=2)[:, :, 0]
    old = episode.played
    in_charge = pursuit.policy[:, None] == jnp.arange(old.charge.shape[1])
    now = Played(
        old.length + 1,
        seen.died,
        before,
        seen.snapshot,
        old.reached | reached,
        pursuit.rested,
        old.charge + in_charge,
    )
    played = jax.tree.map(
        lambda was, new: jnp.where(episode.ended.reshape((-1,) + (1,) * (was.ndim - 1)), was, new), old, now
    )
    return _Episode(episode.ended | seen.died | seen.time_up, played)


def _tables(program: AgentProgram, goals: GoalTable) -> _Tables:
    rows = max(target.steps for target in program.targets) + 1
    lows = np.stack([_lengthened(target.low, rows) for target in program.targets])
    highs = np.stack([_lengthened(target.high, rows) for target in program.targets])
    # Only columns that some condition speaks of are compared.
    columns = np.flatnonzero(np.isfinite(lows).any(axis=(0, 1)) | np.isfinite(highs).any(axis=(0, 1)))
    rules = program.maintenance or (_NO_RULE,)
    return _Tables(
        jnp.asarray(columns),
        jnp.asarray(lows[:, :, columns]),
        jnp.asarray(highs[:, :, columns]),
        jnp.asarray(np.stack([_lengthened(target.policy, rows) for target in program.targets])),
        jnp.asarray(np.stack([_lengthened(target.n, rows) for target in program.targets])),
        jnp.array([target.steps for target in program.targets], jnp.int32),
        jnp.array(program.patience, jnp.int32),
        jnp.array([rule.column for rule in rules], jnp.int32),
        jnp.array([rule.below for rule in rules], jnp.float32),
        jnp.array([rule.until for rule in rules], jnp.float32),
        jnp.array([rule.policy for rule in rules], jnp.int32),
        jnp.array([rule.patience for rule in rules], jnp.int32),
        goals,
    )


def _lengthened(array: np.ndarray, rows: int) -> np.ndarray:
    """``array`` with its last row repeated up to ``rows`` rows."""
    return np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
