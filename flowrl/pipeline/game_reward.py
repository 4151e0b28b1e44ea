"""The stock game's own reward, read off snapshots: each achievement once, and every change of health."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.worlds.base import World

HEALTH = "vital:health"

HEALTH_VALUE = 0.1
"""The stock reward of one point of health gained, in both worlds."""


def game_reward(
    world: World, health_value: float = HEALTH_VALUE
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """``(before [B, D], after [B, D]) -> float32 [B]``, from snapshots around one env step.

    A world without health pays for achievements alone.

    Args:
        health_value: of one point of health; the game's own when left out.
    """
    facts = world.snapshot_spec.fact_columns
    columns = np.array([facts[fact] for fact in world.achievement_values])
    values = np.array(list(world.achievement_values.values()), np.float32)
    health = facts.get(HEALTH)

    def reward(before: jax.Array, after: jax.Array) -> jax.Array:
        step = after - before
        achieved = step[:, columns] @ jnp.asarray(values)
        return achieved if health is None else achieved + health_value * step[:, health]

    return reward
