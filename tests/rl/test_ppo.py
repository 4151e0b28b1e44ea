"""The arithmetic of PPO, worked by hand and against a slow reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trainers import SETTINGS

from flowrl.rl.ppo import (
    MOST_LIKELIER,
    Batch,
    Rollout,
    as_of_now,
    generalised_advantages,
    make_optimizer,
    ppo_loss,
    ppo_update,
)

GAMMA, LAMBDA = 0.5, 0.5


def test_advantages_by_hand() -> None:
    """gamma = lambda = 1/2, so each delta is r + next / 2 - v and each advantage adds 1/4 of the next one.

    Env 0, bottom up::

        t  r  v  ended       next value                 delta                advantage
        4  3  1              10 (last_value)            3 + 5 - 1   =  7     7
        3  0  2              1  (v of t=4)              0 + 1/2 - 2 = -1.5   -1.5 + 7/4 = 0.25
        2  1  6  skill done  0  (terminated)            1 + 0 - 6   = -5     -5, not -5 + 0.25/4
        1  2  4  truncated   8  (final_value, not 6)    2 + 4 - 4   =  2     2, not 2 - 5/4
        0  1  2              4  (v of t=1)              1 + 2 - 2   =  1     1 + 2/4 = 1.5

    After t=2 and t=1 the env is reset: what follows belongs to another episode. Env 1 dies at t=0, where the
    value of the state before the reset (99) must not count, and is truncated at the very last step, where it
    must count instead of last_value::

        4  1  2  truncated   6  (final_value, not 99)   1 + 3 - 2   =  2     2
        3  0  0              2                          0 + 1 - 0   =  1     1 + 2/4 = 1.5
        2  0  2              0                          0 + 0 - 2   = -2     -2 + 1.5/4 = -1.625
        1  0  0              2                          0 + 1 - 0   =  1     1 - 1.625/4 = 0.59375
        0 -1  3  died        0                          -1 + 0 - 3  = -4     -4
    """
    advantages = generalised_advantages(
        reward=jnp.array([[1.0, -1.0], [2.0, 0.0], [1.0, 0.0], [0.0, 0.0], [3.0, 1.0]]),
        value=jnp.array([[2.0, 3.0], [4.0, 0.0], [6.0, 2.0], [2.0, 0.0], [1.0, 2.0]]),
        terminated=jnp.array([[False, True], [False, False], [True, False], [False, False], [False, False]]),
        truncated=jnp.array([[False, False], [True, False], [False, False], [False, False], [False, True]]),
        final_value=jnp.array([[99.0, 99.0], [8.0, 99.0], [99.0, 99.0], [99.0, 99.0], [99.0, 6.0]]),
        last_value=jnp.array([10.0, 99.0]),
        gamma=GAMMA,
        gae_lambda=LAMBDA,
    )
    expected = [[1.5, -4.0], [2.0, 0.59375], [-5.0, -1.625], [0.25, 1.5], [7.0, 2.0]]
    np.testing.assert_allclose(advantages, expected)


def slow_advantages(
    reward: np.ndarray,
    value: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    final_value: np.ndarray,
    last_value: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Eq. 16 of the paper as the sum that it is: over k of (gamma * lambda)**k times delta, to the end."""
    steps, envs = reward.shape
    advantages = np.zeros((steps, envs))
    for env in range(envs):
        for first in range(steps):
            weight = 1.0
            for t in range(first, steps):
                if terminated[t, env]:
                    following = 0.0
                elif truncated[t, env]:
                    following = final_value[t, env]
                else:
                    following = value[t + 1, env] if t + 1 < steps else last_value[env]
                advantages[first, env] += weight * (reward[t, env] + gamma * following - value[t, env])
                weight *= gamma * gae_lambda
                if terminated[t, env] or truncated[t, env]:
                    break
    return advantages


@pytest.mark.parametrize("seed", range(10))
def test_advantages_against_a_slow_reference(seed: int) -> None:
    """Random rollouts with endings of both kinds everywhere."""
    rng = np.random.default_rng(seed)
    reward, value, final_value = rng.normal(size=(3, 12, 5)).astype(np.float32)
    ending = rng.choice(3, size=(12, 5), p=[0.6, 0.2, 0.2])
    gamma, gae_lambda = rng.uniform(0.5, 1.0, size=2)
    arguments = (reward, value, ending == 1, ending == 2, final_value, rng.normal(size=5).astype(np.float32))
    found = generalised_advantages(*map(jnp.asarray, arguments), gamma, gae_lambda)
    np.testing.assert_allclose(found, slow_advantages(*arguments, gamma, gae_lambda), rtol=1e-4, atol=1e-5)


def free(params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A network whose parameters are its outputs."""
    del tiles, features
    return params["logits"], params["value"]


def test_loss_by_hand() -> None:
    """Two samples, two actions, eps = 0.2; the policy is uniform, so p = 1/2 and the entropy is ln 2.

    ::

        old p  ratio  advantage  normalised  min(ratio * A, clipped * A)
        1/4    2      3          +1          min(2, 1.2)      = 1.2
        1      1/2    1          -1          min(-0.5, -0.8)  = -0.8

        value  old  target  clipped value  max of the squares
        1      0    2       0.2            max(1, 1.8**2)     = 3.24
        1      1    0.5     1              0.25

    policy loss = -(1.2 - 0.8) / 2 = -0.2; value loss = (3.24 + 0.25) / 2 / 2 = 0.8725;
    loss = -0.2 + 0.5 * 0.8725 - 0.01 * ln 2.
    """
    params = {"logits": jnp.zeros((2, 2)), "value": jnp.array([1.0, 1.0])}
    batch = Batch(
        tiles=jnp.zeros((2, 1, 1, 1), jnp.uint8),
        features=jnp.zeros((2, 1)),
        action=jnp.array([0, 1]),
        weight=jnp.array([1.0, 1.0]),
        log_prob=jnp.log(jnp.array([0.25, 1.0])),
        value=jnp.array([0.0, 1.0]),
        advantage=jnp.array([3.0, 1.0]),
        target=jnp.array([2.0, 0.5]),
        guide=jnp.zeros((2, 0)),
    )
    assert (SETTINGS.clip_eps, SETTINGS.vf_coef, SETTINGS.ent_coef) == (0.2, 0.5, 0.01)
    loss, metrics = ppo_loss(params, free, batch, SETTINGS)
    assert metrics["policy_loss"] == pytest.approx(-0.2, abs=1e-5)
    assert metrics["value_loss"] == pytest.approx(0.8725, abs=1e-5)
    assert metrics["entropy"] == pytest.approx(np.log(2), abs=1e-5)
    assert metrics["clip_fraction"] == 1.0
    assert loss == pytest.approx(-0.2 + 0.5 * 0.8725 - 0.01 * np.log(2), abs=1e-5)


def test_clipped_samples_pull_on_nothing() -> None:
    """Beyond the clip, in the direction of the advantage, neither policy nor value has a gradient.

    Only the value of sample 1 has one: half the derivative of (1 - 0.5)**2 / 2 over two samples, weighed 0.5.
    """
    params = {"logits": jnp.zeros((2, 2)), "value": jnp.array([1.0, 1.0])}
    batch = Batch(
        jnp.zeros((2, 1, 1, 1), jnp.uint8),
        jnp.zeros((2, 1)),
        jnp.array([0, 1]),
        jnp.array([1.0, 1.0]),
        jnp.log(jnp.array([0.25, 1.0])),
        jnp.array([0.0, 1.0]),
        jnp.array([3.0, 1.0]),
        jnp.array([2.0, 0.5]),
        jnp.zeros((2, 0)),
    )
    gradient = jax.grad(lambda p: ppo_loss(p, free, batch, SETTINGS)[0])(params)
    np.testing.assert_allclose(gradient["logits"], 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient["value"], [0.0, 0.5 * 0.5 * 2 * 0.5 / 2], atol=1e-6)


def test_the_divergence_from_a_guide_by_hand() -> None:
    """The policy is uniform over two actions; the second sample has no guide and pulls on nothing.

    KL(guide || policy) = 0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5), over two samples, weighed 0.5.
    """
    params = {"logits": jnp.zeros((2, 2)), "value": jnp.zeros(2)}
    nothing = jnp.zeros(2)
    batch = Batch(
        jnp.zeros((2, 1, 1, 1), jnp.uint8),
        jnp.zeros((2, 1)),
        jnp.array([0, 1]),
        jnp.array([1.0, 1.0]),
        jnp.log(jnp.array([0.5, 0.5])),
        nothing,
        nothing,
        nothing,
        jnp.log(jnp.array([[0.9, 0.1], [1.0, 1.0]])),
    )
    guided = jax.value_and_grad(lambda p: ppo_loss(p, free, batch, SETTINGS, 0.5)[0])
    alone = jax.value_and_grad(lambda p: ppo_loss(p, free, batch, SETTINGS)[0])
    (with_guide, gradient), (without, own_gradient) = guided(params), alone(params)
    divergence = 0.9 * np.log(1.8) + 0.1 * np.log(0.2)
    assert float(with_guide - without) == pytest.approx(0.5 * divergence / 2, abs=1e-6)
    pull = np.asarray(gradient["logits"] - own_gradient["logits"])
    np.testing.assert_allclose(pull[0], 0.5 / 2 * np.array([0.5 - 0.9, 0.5 - 0.1]), atol=1e-6)
    np.testing.assert_allclose(pull[1], 0.0, atol=1e-7)


def test_what_a_maintenance_rule_did_teaches_only_the_value() -> None:
    """The second sample's action was a rule's: as far as the policy goes, it might not be there."""
    params = {"logits": jnp.array([[0.3, -0.2], [0.5, 0.1]]), "value": jnp.array([0.4, 0.7])}
    batch = Batch(
        jnp.zeros((3, 1, 1, 1), jnp.uint8),
        jnp.zeros((3, 1)),
        jnp.array([0, 1, 1]),
        jnp.array([1.0, 0.0, 1.0]),
        jnp.log(jnp.array([0.5, 1e-6, 0.5])),
        jnp.array([0.0, 1.0, 0.0]),
        jnp.array([3.0, -700.0, 1.0]),
        jnp.array([2.0, 2.0, 1.0]),
        jnp.zeros((3, 0)),
    )

    def three(params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        del tiles, features
        return params["logits"][jnp.array([0, 1, 0])], params["value"][jnp.array([0, 1, 0])]

    gradient = jax.grad(lambda p: ppo_loss(p, three, batch, SETTINGS)[0])(params)
    assert np.all(np.asarray(gradient["logits"][1]) == 0)
    assert np.all(np.asarray(gradient["logits"][0]) != 0)
    assert float(gradient["value"][1]) != 0
    without = jax.tree.map(lambda leaf: leaf[jnp.array([0, 2])], batch)
    alone = jax.grad(
        lambda p: ppo_loss(p, lambda q, *_: (q["logits"][jnp.array([0, 0])], q["value"][jnp.array([0, 0])]),
                           without, SETTINGS)[0]
    )(params)  # fmt: skip
    np.testing.assert_allclose(gradient["logits"], alone["logits"], atol=1e-6)


def everywhere_alike(params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same two logits and the same value whatever is seen."""
    del tiles
    batch = len(features)
    return jnp.broadcast_to(params["logits"], (batch, 2)), jnp.broadcast_to(params["value"], (batch,))


def played_by(probability: float, action: list[int], weight: list[float]) -> Rollout:
    """One env, as many steps as actions, each of which had this probability."""
    steps = len(action)
    return Rollout.empty(steps, 1, (1, 1, 1), 1)._replace(
        action=jnp.array(action)[:, None],
        log_prob=jnp.full((steps, 1), jnp.log(probability)),
        weight=jnp.array(weight)[:, None],
        reward=jnp.arange(steps, dtype=jnp.float32)[:, None],
        terminated=jnp.ones((steps, 1), bool),
    )


def test_what_others_played_counts_by_how_much_likelier_it_is_now() -> None:
    """Now the first action has 3/4 and the second 1/4, both had 1/2 and, later, 1/4; a rule's stays out."""
    params = {"logits": jnp.log(jnp.array([0.75, 0.25])), "value": jnp.float32(7.0)}
    rollout = as_of_now(params, everywhere_alike, played_by(0.5, [0, 1, 0], [1.0, 1.0, 0.0]))
    np.testing.assert_allclose(rollout.log_prob[:, 0], np.log([0.75, 0.25, 0.75]), rtol=1e-6)
    np.testing.assert_allclose(rollout.weight[:, 0], [1.5, 0.5, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(rollout.value, 7.0)
    bounded = as_of_now(params, everywhere_alike, played_by(0.25, [0, 1], [1.0, 1.0]))
    np.testing.assert_allclose(bounded.weight[:, 0], [MOST_LIKELIER, 1.0], rtol=1e-6)


def test_an_update_from_what_others_played_is_clipped_around_its_own_policy() -> None:
    """With one pass over one batch no ratio has moved yet; around those who acted, every one is clipped."""
    settings = replace(SETTINGS, update_epochs=1, num_minibatches=1)
    params = {"logits": jnp.zeros(2), "value": jnp.float32(0.0)}
    stale = played_by(0.25, [0, 1, 0, 1], [1.0] * 4)

    def clipped(rollout: Rollout) -> float:
        state = make_optimizer(settings).init(params)
        last, key, scale = jnp.zeros(1), jax.random.key(0), jnp.float32(1.0)
        metrics = ppo_update(params, state, rollout, last, key, scale, everywhere_alike, settings)[2]
        return float(metrics["clip_fraction"])

    assert clipped(stale) == 1.0
    assert clipped(as_of_now(params, everywhere_alike, stale)) == 0.0
