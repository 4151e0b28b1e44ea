"""Many policies in one network: each can be taken out, and plays alone as it plays among the others."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probe_games import BUILD, CoinGame
from small_trainers import small_trainer

from flowrl.rl.network import NEVER
from flowrl.rl.shared_network import (
    apply_shared,
    policy_of,
    shared_by,
    shared_params,
    with_more_policies,
    without_actions_of,
)

POLICIES, BATCH = 3, 24


def network_and_params() -> tuple[Any, Any]:
    """A small network's ``apply`` and the parameters of three policies in it."""
    trainer = small_trainer(CoinGame())
    one = trainer.initial_params(jax.random.key(0))

    def apply(params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        output: Any = trainer.network.apply({"params": params}, tiles, features)
        return output

    return apply, shared_params(one, POLICIES, jax.random.key(1))


def observations() -> tuple[jax.Array, jax.Array]:
    """``BATCH`` of them, all different."""
    numbers = np.random.default_rng(0)
    tiles = jnp.asarray(numbers.integers(0, 2, (BATCH, 1, 1, 1)), jnp.uint8)
    return tiles, jnp.asarray(numbers.normal(size=(BATCH, 3)), jnp.float32)


def test_each_observation_is_answered_by_its_own_policy() -> None:
    apply, shared = network_and_params()
    tiles, features = observations()
    rows = jnp.arange(BATCH) % POLICIES
    logits, value = apply_shared(apply, shared, rows, tiles, features)
    assert logits.shape == (BATCH, CoinGame.num_actions)
    for row in range(POLICIES):
        alone, its_value = apply(policy_of(shared, row), tiles, features)
        mine = np.asarray(rows) == row
        np.testing.assert_allclose(np.asarray(logits)[mine], np.asarray(alone)[mine], atol=1e-6)
        np.testing.assert_allclose(np.asarray(value)[mine], np.asarray(its_value)[mine], atol=1e-6)
    first, second = (apply(policy_of(shared, row), tiles, features)[1] for row in (0, 1))
    assert np.abs(np.asarray(first - second)).max() > 1e-3, "from the start they are told apart"


def test_policies_differ_in_biases_alone() -> None:
    _, shared = network_and_params()
    first, second = policy_of(shared, 0), policy_of(shared, 1)
    np.testing.assert_array_equal(first["encoder"]["kernel"], second["encoder"]["kernel"])
    assert np.any(np.asarray(first["encoder"]["bias"]) != np.asarray(second["encoder"]["bias"]))
    assert jax.tree.structure(first) == jax.tree.structure(
        small_trainer(CoinGame()).initial_params(jax.random.key(0))
    )


def test_policies_keep_what_they_know_when_others_join() -> None:
    apply, shared = network_and_params()
    tiles, features = observations()
    more = with_more_policies(shared, [2, None, 0, 1], jax.random.key(2))
    for row, was in ((0, 2), (2, 0), (3, 1)):
        for now, before in zip(
            apply(policy_of(more, row), tiles, features),
            apply(policy_of(shared, was), tiles, features),
            strict=True,
        ):
            np.testing.assert_array_equal(now, before)
    assert more["encoder"]["bias"].shape[0] == 4
    assert np.isfinite(np.asarray(apply(policy_of(more, 1), tiles, features)[0])).all()


def test_one_policy_can_be_denied_an_action() -> None:
    _, shared = network_and_params()
    barred = without_actions_of(shared, 1, [BUILD])
    bias = np.asarray(barred["policy"]["bias"])
    assert bias[1, BUILD] == NEVER
    assert (bias > NEVER).sum() == bias.size - 1


def test_who_joins_may_take_what_others_may_not() -> None:
    """All others are denied the action; a new policy begins with the mean of what is not denied."""
    _, shared = network_and_params()
    for row in range(POLICIES):
        shared = without_actions_of(shared, row, [BUILD])
    more = with_more_policies(shared, [0, None], jax.random.key(2))
    bias = np.asarray(more["policy"]["bias"])
    assert bias[0, BUILD] == NEVER
    assert bias[1, BUILD] == 0
    one_open = shared["policy"]["bias"].at[2, BUILD].set(0.5)
    shared = {**shared, "policy": {**shared["policy"], "bias": one_open}}
    more = with_more_policies(shared, [None], jax.random.key(2))
    assert np.asarray(more["policy"]["bias"])[0, BUILD] == 0.5


def test_gradients_of_one_policy_leave_the_others_biases_alone() -> None:
    apply, shared = network_and_params()
    tiles, features = observations()

    def loss(params: Any) -> jax.Array:
        return apply_shared(apply, params, jnp.ones(BATCH, jnp.int32), tiles, features)[0].sum()

    grads = jax.grad(loss)(shared)
    touched = np.abs(np.asarray(grads["policy"]["bias"])).sum(axis=1)
    assert touched[1] > 0
    assert touched[0] == touched[2] == 0
    assert np.abs(np.asarray(grads["actor"]["kernel"])).sum() > 0


def test_policies_of_one_network_are_known_by_their_weights() -> None:
    """Put together again they are what they were taken from; another network's, or changed ones, are not."""
    _, shared = network_and_params()
    again = shared_by([policy_of(shared, row) for row in range(POLICIES)])
    jax.tree.map(np.testing.assert_array_equal, again, shared)
    one, other = policy_of(shared, 0), policy_of(shared, 1)
    assert shared_by([one]) is not None
    changed = {**other, "policy": {**other["policy"], "kernel": other["policy"]["kernel"] * 1.001}}
    assert shared_by([one, changed]) is None
