"""The game's own reward, read off snapshots."""

import jax.numpy as jnp
import numpy as np
import pytest

from flowrl.pipeline.game_reward import HEALTH, game_reward
from flowrl.worlds.classic import ClassicWorld

WORLD = ClassicWorld()


def changed(fact: str, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Snapshots before and after a step in which one fact changed."""
    before = np.zeros((1, len(WORLD.snapshot_spec)), np.float32)
    before[0, WORLD.snapshot_spec.fact_columns[HEALTH]] = 9
    after = before.copy()
    after[0, WORLD.snapshot_spec.fact_columns[fact]] += by
    return before, after


@pytest.mark.parametrize(
    ("fact", "by", "given", "paid"),
    [
        (HEALTH, -2, {}, -0.2),
        (HEALTH, -2, {"health_value": 0.8}, -1.6),
        ("achievement:collect_wood", 1, {}, 1.0),
        ("achievement:collect_wood", 1, {"health_value": 0.8}, 1.0),
        ("inventory:wood", 1, {"health_value": 0.8}, 0.0),
    ],
)
def test_what_a_step_pays(fact: str, by: float, given: dict[str, float], paid: float) -> None:
    before, after = changed(fact, by)
    reward = game_reward(WORLD, **given)(jnp.asarray(before), jnp.asarray(after))
    np.testing.assert_allclose(reward, [paid], atol=1e-6)
