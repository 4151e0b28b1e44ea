"""The actor-critic network: tile embeddings, then a small MLP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Apply = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""``(params, tiles, features) -> (logits, value)``."""

PLAY_TEMPERATURE = 0.5
"""What logits are divided by when a trained policy plays: while it is judged, in plans, in whole episodes.
PPO keeps trying other actions; where what was learned counts, they only cost time (docs/LOG.md)."""

NEVER = -1e4
"""The bias of an action that a policy may not take: its probability is 0, and so is its gradient. Not lower:
a rule's policy may take it, and ratios of probabilities must stay finite."""

EMBEDDING_SIZE = 8
"""Floats a tile category is embedded in; summed over the planes of one tile."""


class ActorCritic(nn.Module):
    """Policy and value from compact observations.

    Tiles are embedded by look-up instead of a dense layer over their one-hot code: with full Craftax's 83
    categories on 99 tiles, gradients cost 7 us a sample on a CPU core instead of 45 us, and what a tile means
    is learned once instead of once a position.

    Attributes:
        num_actions: A.
        layer_size: width of the hidden layers.
        plane_sizes: categories of each of the P planes.
    """

    num_actions: int
    layer_size: int
    plane_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """uint8 ``[B, P, H, W]``, float32 ``[B, S]`` -> ``(logits float32 [B, A], value float32 [B])``."""
        batch = tiles.shape[0]
        first_row = np.cumsum([0, *self.plane_sizes[:-1]])
        rows = tiles.reshape(batch, len(self.plane_sizes), -1).astype(jnp.int32) + first_row[:, None]
        table = self.param(
            "tile_embedding", nn.initializers.normal(0.5), (sum(self.plane_sizes), EMBEDDING_SIZE)
        )
        seen = jnp.take(table, rows, axis=0).sum(axis=1).reshape(batch, -1)
        hidden = jnp.concatenate([seen, features], axis=-1)
        hidden = nn.relu(self._dense("encoder", np.sqrt(2))(hidden))
        actor = nn.relu(self._dense("actor", np.sqrt(2))(hidden))
        critic = nn.relu(self._dense("critic", np.sqrt(2))(hidden))
        logits = nn.Dense(self.num_actions, kernel_init=nn.initializers.orthogonal(0.01), name="policy")(
            actor
        )
        value = nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0), name="value")(critic)
        return logits, value[:, 0]

    def _dense(self, name: str, scale: float) -> nn.Dense:
        return nn.Dense(self.layer_size, kernel_init=nn.initializers.orthogonal(scale), name=name)


def apply_of(network: nn.Module) -> Apply:
    """A network as a function of its parameters."""

    def apply(params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        output: Any = network.apply({"params": params}, tiles, features)
        return output

    return apply


def init_params(network: ActorCritic, key: jax.Array, view_shape: tuple[int, int], features: int) -> Any:
    """Fresh parameters for observations of ``view_shape`` tiles and ``features`` floats."""
    tiles = jnp.zeros((1, len(network.plane_sizes), *view_shape), jnp.uint8)
    return network.init(key, tiles, jnp.zeros((1, features), jnp.float32))["params"]


def without_actions(params: Any, actions: Sequence[int]) -> Any:
    """``params`` of a policy that never takes ``actions``, however long it is trained."""
    bias = params["policy"]["bias"]
    bias = bias.at[jnp.asarray(actions, jnp.int32)].set(NEVER)
    return {**params, "policy": {**params["policy"], "bias": bias}}


def play(key: jax.Array, logits: jax.Array) -> jax.Array:
    """The actions ``[B]`` of a trained policy from logits ``[B, A]``, at :data:`PLAY_TEMPERATURE`."""
    return jax.random.categorical(key, logits / PLAY_TEMPERATURE)
