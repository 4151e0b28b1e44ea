"""Games so small that their values are known, and tasks on them: what proves the learner right in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.task import GoalProgram, MeasuredGain, Task


class State(NamedTuple):
    """One state of every probe game; all int32 scalars, so that all games share their compiled programs."""

    time: jax.Array
    signal: jax.Array
    action: jax.Array
    coins: jax.Array
    bricks: jax.Array
    hurt: jax.Array


class Perception(NamedTuple):
    """See ``flowrl.rl.environment.Perceived``."""

    tiles: jax.Array
    features: jax.Array
    snapshot: jax.Array


COLUMNS = State._fields
"""Of a snapshot, in order."""

TIME, SIGNAL, ACTION, COINS, BRICKS, HURT = range(len(COLUMNS))

WAIT, COLLECT, BUILD, DIE = range(4)
"""The actions of :class:`CoinGame`."""


class ProbeGame:
    """Notes the last action; every step draws a new signal, 0 or 1.

    Args:
        shows: what the policy sees of it: the ``signal`` (as a tile), the ``time`` (as a feature) or nothing.
    """

    num_actions = 4
    view_shape = (1, 1)
    plane_sizes = (2,)
    feature_count = 1
    max_time = 1_000_000

    def __init__(self, shows: str = "nothing") -> None:
        self._shows = shows

    def generate(self, key: jax.Array) -> State:
        """Nothing done yet, a random signal."""
        zero = jnp.int32(0)
        return State(zero, self._signal(key), jnp.int32(-1), zero, zero, zero)

    def _signal(self, key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key).astype(jnp.int32)

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """Time passes."""
        action = jnp.asarray(action, jnp.int32)
        return state._replace(time=state.time + 1, signal=self._signal(key), action=action)

    def perceive(self, state: State) -> Perception:
        """One tile, one feature, and the whole state as the snapshot."""
        tile = state.signal if self._shows == "signal" else jnp.int32(0)
        feature = state.time if self._shows == "time" else jnp.int32(0)
        return Perception(
            tile.astype(jnp.uint8).reshape(1, 1, 1),
            feature.astype(jnp.float32).reshape(1),
            jnp.stack(state).astype(jnp.float32),
        )

    def ended(self, state: State) -> tuple[jax.Array, jax.Array]:
        """``(died, time_up)``."""
        return state.hurt > 0, state.time >= self.max_time


class CoinGame(ProbeGame):
    """COLLECT gives a coin, BUILD makes a brick of one, DIE ends it all.

    Args:
        shows: see :class:`ProbeGame`.
        theft_at: the time at which all coins are stolen, once; never when 0.
        max_time: the game's own step limit.
    """

    def __init__(self, shows: str = "nothing", theft_at: int = 0, max_time: int = 1_000_000) -> None:
        super().__init__(shows)
        self._theft_at = theft_at
        self.max_time = max_time

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """The transition; nothing is capped."""
        state = super().step(state, action, key)
        building = (action == BUILD) & (state.coins > 0)
        coins = state.coins + (action == COLLECT) - building
        stolen = (state.time == self._theft_at) & (self._theft_at > 0)
        return state._replace(
            coins=jnp.where(stolen, 0, coins).astype(jnp.int32),
            bricks=state.bricks + building.astype(jnp.int32),
            hurt=state.hurt + (action == DIE).astype(jnp.int32),
        )


def _program(
    reward: Callable[[jax.Array, jax.Array], jax.Array], done: Callable[[jax.Array, jax.Array], jax.Array]
) -> GoalProgram:
    """A goal program from functions of ``(prev, now)``."""

    def program(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del start, n
        return reward(prev, now).astype(jnp.float32), done(prev, now)

    return program


def _zeros(_: jax.Array, now: jax.Array) -> jax.Array:
    return jnp.zeros(len(now))


def _always(_: jax.Array, now: jax.Array) -> jax.Array:
    return jnp.ones(len(now), bool)


def _never(_: jax.Array, now: jax.Array) -> jax.Array:
    return jnp.zeros(len(now), bool)


def _task(
    name: str, reward: Any, done: Any, gains: Any = (), max_steps: int = 10, max_repeat: int = 1
) -> Task:
    program = _program(reward, done)
    return Task(name, program, gains, max_steps, max_repeat, success_bonus=1.0, death_penalty=1.0)


CONSTANT = _task("constant", lambda _, now: jnp.full(len(now), 0.5), _always)
"""One step, own reward 0.5; with the bonus of 1 for success, 1.5 in all."""

TWO_STEPS = _task("two_steps", _zeros, lambda _, now: now[:, TIME] >= 2)
"""Nothing, then the bonus of 1: worth gamma at first and 1 after a step."""

CHOOSE_ACTION = _task("choose_action", lambda _, now: now[:, ACTION] == BUILD, _always)
"""One step; own reward 1 for one of the actions, whatever is seen."""

FOLLOW_SIGNAL = _task("follow_signal", lambda prev, now: now[:, ACTION] == prev[:, SIGNAL], _always)
"""One step; own reward 1 for the action that the signal before it named."""

ENDLESS_REWARD, ENDLESS_STEPS = 0.2, 4
ENDLESS = _task("endless", lambda _, now: jnp.full(len(now), ENDLESS_REWARD), _never, (), ENDLESS_STEPS)
"""Cut off after four steps but never over: worth reward / (1 - gamma) everywhere."""

COLLECT_N = _task(
    "collect_n",
    _zeros,
    lambda _, now: now[:, ACTION] == WAIT,
    (MeasuredGain(COINS, 1, 0, "add"),),
    max_steps=2,
    max_repeat=3,
)
"""Collect n coins, then WAIT to say so: with ``shows="nothing"``, only the goal features tell when."""


class ScriptedNetwork:
    """Stands in for ``ActorCritic``: its parameters are the action itself, or one action a feature value."""

    def apply(self, variables: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As flax's: ``(logits [B, A], value [B])``."""
        logits = 1000.0 * variables["params"]["action"]
        return jnp.broadcast_to(logits, (tiles.shape[0], logits.shape[0])), jnp.zeros(features.shape[0])


def always(action: int) -> dict[str, jax.Array]:
    """Parameters of a :class:`ScriptedNetwork` that always takes ``action``."""
    return {"action": jnp.asarray(np.eye(ProbeGame.num_actions)[action], jnp.float32)}
