"""Maintenance: policies that go before the one in charge whenever something must be kept up.

A rule watches one column of the snapshot: a vital that runs low, or the distance of what does harm. While it
is in force its own policy acts. Skills are trained, validated and carried out under the same rules, so that a
long search is learned by a player that drinks, eats and fights back: without any, a player of Craftax-Classic
lives about 150 steps, whatever else it has learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.network import Apply
from flowrl.rl.task import goal_of_one


@dataclass(frozen=True)
class Rule:
    """Keeps one snapshot column up, whatever the policy in charge wants.

    Attributes:
        column: of the snapshot, such as the food level or the distance of the nearest zombie.
        below: begins when the value is at most this.
        until: ends when the value is at least this; -inf where what it gives is all it is for.
        policy: row of the policy that serves it, in the stack that the rule comes with.
        patience: env steps after which it gives way.
        rest: env steps for which it then stays away, whatever the value.
        needs: column -> the least value without which the rule's policy can do nothing.
        gives: column -> the least value that must be there too before the rule ends.
    """

    column: int
    below: float
    until: float
    policy: int
    patience: int
    rest: int
    needs: Mapping[int, float] = field(default_factory=dict)
    gives: Mapping[int, float] = field(default_factory=dict)

    def served_by(self, policy: int) -> Rule:
        """The same rule, with its policy in another stack."""
        return dataclasses.replace(self, policy=policy)


class RuleTable(NamedTuple):
    """R rules on device, the most urgent first; D snapshot columns.

    Attributes:
        column, policy, patience, rest: int32 ``[R]``.
        below, until: float32 ``[R]``.
        needs, gives: float32 ``[R, D]``, -inf where nothing is needed or given.
    """

    column: jax.Array
    below: jax.Array
    until: jax.Array
    policy: jax.Array
    patience: jax.Array
    rest: jax.Array
    needs: jax.Array
    gives: jax.Array

    @property
    def places(self) -> int:
        """R, places without a rule included."""
        return self.column.shape[0]

    @staticmethod
    def of(rules: Sequence[Rule], columns: int, places: int | None = None) -> RuleTable:
        """The table of ``rules`` over ``columns`` snapshot columns.

        Args:
            places: R; a place without a rule never begins. Programs that are compiled for R places take in
                new rules without being compiled again.

        Raises:
            ValueError: there are more rules than places.
        """
        places = len(rules) if places is None else places
        if len(rules) > places:
            raise ValueError(f"{len(rules)} rules, but room for {places}")
        filled = [*rules, *[_NEVER] * (places - len(rules))]
        return RuleTable(
            jnp.array([rule.column for rule in filled], jnp.int32),
            jnp.array([rule.below for rule in filled], jnp.float32),
            jnp.array([rule.until for rule in filled], jnp.float32),
            jnp.array([rule.policy for rule in filled], jnp.int32),
            jnp.array([rule.patience for rule in filled], jnp.int32),
            jnp.array([rule.rest for rule in filled], jnp.int32),
            _least([rule.needs for rule in filled], columns),
            _least([rule.gives for rule in filled], columns),
        )


def _least(values: Sequence[Mapping[int, float]], columns: int) -> jax.Array:
    """One row of all columns for each mapping, -inf where it says nothing."""
    table = np.full((len(values), columns), -np.inf, np.float32)
    for row, least in enumerate(values):
        for column, value in least.items():
            table[row, column] = value
    return jnp.asarray(table)


_NEVER = Rule(column=0, below=-np.inf, until=-np.inf, policy=0, patience=1, rest=1)


class InForce(NamedTuple):
    """Which rules are in force in B envs.

    Attributes:
        rule: int32 ``[B]``, -1 for none.
        spent: int32 ``[B, R]``, env steps on each rule; negative while the rule rests.
    """

    rule: jax.Array
    spent: jax.Array

    @staticmethod
    def none(batch: int, rules: int) -> InForce:
        """Before the first step."""
        return InForce(jnp.full(batch, -1, jnp.int32), jnp.zeros((batch, rules), jnp.int32))

    def restarted(self, ended: jax.Array) -> InForce:
        """Forgotten where ``ended`` ``[B]``: another episode begins there."""
        return InForce(jnp.where(ended, -1, self.rule), jnp.where(ended[:, None], 0, self.spent))


def rules_in_force(table: RuleTable, snapshot: jax.Array, was: InForce) -> InForce:
    """The first rule that is wanted in each env, from snapshots ``[B, D]``."""
    if table.places == 0:
        return was
    values = snapshot[:, table.column]
    order = jnp.arange(table.places)
    running = was.rule[:, None] == order
    given = at_least(snapshot, table.gives)
    wanted = (values <= table.below) | (running & ((values < table.until) | ~given))
    wanted &= (was.spent >= 0) & at_least(snapshot, table.needs)
    first = jnp.argmax(wanted, axis=1).astype(jnp.int32)
    rule = jnp.where(jnp.any(wanted, axis=1), first, -1)
    spent = jnp.where(rule[:, None] == order, was.spent + 1, jnp.minimum(was.spent + 1, 0))
    # What does not come about within its patience gives way.
    return InForce(rule, jnp.where(spent >= table.patience, -table.rest, spent))


def at_least(snapshot: jax.Array, least: jax.Array) -> jax.Array:
    """bool ``[B, R]``: where snapshots ``[B, D]`` hold all that rows ``[R, D]`` ask for."""
    return jnp.all(snapshot[:, None, :] >= least, axis=-1)


class Maintenance(NamedTuple):
    """Rules with the policies that serve them.

    Attributes:
        table: R rules.
        policies: parameters, every leaf ``[R, ...]``; a rule's policy is one of the rows.
    """

    table: RuleTable
    policies: Any

    @staticmethod
    def of(
        rules: Sequence[Rule], policies: Sequence[Any], like: Any, columns: int, places: int
    ) -> Maintenance:
        """``rules`` with the policies that they name, in ``places`` places each.

        Args:
            like: parameters of the same network, or their shapes; empty places hold zeros.
            columns: D.
        """
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        filled = [*policies, *[zeros] * (places - len(policies))]
        stacked = jax.tree.map(
            lambda zero, *leaves: jnp.stack(leaves) if leaves else zero[None][:0], zeros, *filled
        )
        return Maintenance(RuleTable.of(rules, columns, places), stacked)


def maintained(
    apply: Apply,
    maintenance: Maintenance,
    rule: jax.Array,
    tiles: jax.Array,
    features: jax.Array,
    logits: jax.Array,
) -> jax.Array:
    """``logits`` ``[B, A]`` with those of the rule's policy wherever a rule is in force.

    A rule that is in force nowhere costs nothing.

    Args:
        rule: int32 ``[B]``, -1 for none.
        tiles, features: the envs' observations, without the features of a goal.
    """
    features = jnp.concatenate([features, goal_of_one(features.shape[0])], axis=-1)

    def take_over(policy: jax.Array, now: jax.Array, ruled: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda leaf: leaf[policy], maintenance.policies)
        return jnp.where(ruled[:, None], apply(params, tiles, features)[0], now)

    def leave(_policy: jax.Array, now: jax.Array, _ruled: jax.Array) -> jax.Array:
        return now

    for row in range(maintenance.table.places):
        ruled = rule == row
        logits = jax.lax.cond(jnp.any(ruled), take_over, leave, maintenance.table.policy[row], logits, ruled)
    return logits
