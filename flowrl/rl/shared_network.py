"""Many policies in one network: they share every weight but the biases, of which each has its own.

A one-hot code of the skill beside the observation would be the same thing in the first layer: its weights are
biases, one row a skill (the goal-conditioned networks of Schaul et al. 2015, "Universal value function
approximators"). As biases, any one policy can be taken out again as parameters of the ordinary form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.network import NEVER, Apply

FIRST_SPREAD = 0.5
"""Standard deviation of the first layer's biases at the start: policies must be told apart to differ."""

FIRST_LAYER = "encoder"


def shared_params(one: Any, policies: int, key: jax.Array) -> Any:
    """Parameters of ``policies`` policies that differ in nothing but a draw of their first layer's biases.

    Args:
        one: parameters of the ordinary form.

    Returns:
        The same tree; every bias is ``[policies, ...]``.
    """
    spread = _map(lambda own, leaf: jnp.tile(leaf[None], (policies, *[1] * leaf.ndim)) if own else leaf, one)
    first = spread[FIRST_LAYER]
    drawn = FIRST_SPREAD * jax.random.normal(key, first["bias"].shape)
    return {**spread, FIRST_LAYER: {**first, "bias": first["bias"] + drawn}}


def with_more_policies(shared: Any, rows: Sequence[int | None], key: jax.Array) -> Any:
    """``shared`` with its policies put into another order, and new ones among them.

    Args:
        rows: for each policy wanted, its row in ``shared``; None for a new one, which begins as the mean of
            all others, their barred actions left out, and a draw of its own.
    """
    known = jnp.array([0 if row is None else row for row in rows])
    new = jnp.array([row is None for row in rows])

    def ordered(own: bool, leaf: jax.Array) -> jax.Array:
        if not own:
            return leaf
        allowed = leaf > NEVER / 2
        mean = jnp.where(allowed, leaf, 0).sum(axis=0) / jnp.maximum(allowed.sum(axis=0), 1)
        return jnp.where(new.reshape(-1, *[1] * (leaf.ndim - 1)), mean, leaf[known])

    ordered_all = _map(ordered, shared)
    first = ordered_all[FIRST_LAYER]
    drawn = FIRST_SPREAD * jax.random.normal(key, first["bias"].shape) * new[:, None]
    return {**ordered_all, FIRST_LAYER: {**first, "bias": first["bias"] + drawn}}


def without_actions_of(shared: Any, row: int, actions: Sequence[int]) -> Any:
    """``shared`` with one policy that never takes ``actions``, however long it is trained."""
    layer = shared["policy"]
    bias = layer["bias"].at[row, jnp.asarray(actions, jnp.int32)].set(NEVER)
    return {**shared, "policy": {**layer, "bias": bias}}


def policy_of(shared: Any, row: int) -> Any:
    """One policy in the ordinary form."""
    return _map(lambda own, leaf: leaf[row] if own else leaf, shared)


def shared_by(policies: Sequence[Any]) -> Any | None:
    """The inverse of :func:`policy_of`; None where policies differ in more than biases."""
    leaves = jax.tree.leaves(
        _map(
            lambda own, first, *others: own or all(np.array_equal(first, other) for other in others),
            *policies,
        )
    )
    if not all(leaves):
        return None
    return _map(lambda own, first, *others: jnp.stack([first, *others]) if own else first, *policies)


def apply_shared(
    apply: Apply, shared: Any, rows: jax.Array, tiles: jax.Array, features: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """``(logits [B, A], value [B])``, each observation by the policy in its row of ``rows`` ``[B]``."""
    mine = _map(lambda own, leaf: leaf[rows] if own else leaf, shared)
    axes = _map(lambda own, _leaf: 0 if own else None, shared)

    def one(params: Any, its_tiles: jax.Array, its_features: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, value = apply(params, its_tiles[None], its_features[None])
        return logits[0], value[0]

    both: tuple[jax.Array, jax.Array] = jax.vmap(one, in_axes=(axes, 0, 0))(mine, tiles, features)
    return both


def _map(function: Any, *params: Any) -> Any:
    """``function(whether it is a bias, leaf, ...)`` of every leaf of trees of one structure."""

    def named(path: tuple[Any, ...], *leaves: Any) -> Any:
        return function(bool(path) and getattr(path[-1], "key", None) == "bias", *leaves)

    return jax.tree_util.tree_map_with_path(named, *params)
