"""Proximal policy optimisation (Schulman et al., arXiv 1707.06347) on one slot's rollout; callers vmap it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from flowrl.rl.network import Apply


@dataclass(frozen=True)
class PPOSettings:
    """The numbers of PPO; see ``flowrl.config.PPOConfig`` for their meaning and defaults."""

    lr: float
    gamma: float
    gae_lambda: float
    clip_eps: float
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    update_epochs: int
    num_minibatches: int


class Rollout(NamedTuple):
    """What T steps of N envs left behind, time first.

    Attributes:
        tiles: uint8 ``[T, N, P, H, W]``.
        features: float32 ``[T, N, S]``.
        action: int32 ``[T, N]``.
        weight: float32 ``[T, N]``: how much the action counts in the policy's loss: 0 where a maintenance
            rule chose it, else 1, or what :func:`as_of_now` makes of it.
        log_prob: float32 ``[T, N]``, of the action when it was chosen.
        value: float32 ``[T, N]``, of the observation acted on.
        reward: float32 ``[T, N]``.
        terminated: bool ``[T, N]``: the episode ended here for good; nothing is bootstrapped.
        truncated: bool ``[T, N]``: cut off here; bootstraps from ``final_value``.
        success: bool ``[T, N]``: it ended by reaching the goal.
        length: int32 ``[T, N]``: steps since the episode's start, this one included.
        final_value: float32 ``[T, N]``: value of the state that this step led to, before any reset; read
            only where truncated.
        guide: float32 ``[T, N, A]``: log probabilities of a policy to be imitated, all 0 where there is none;
            ``[T, N, 0]`` where nobody has one.
    """

    tiles: jax.Array
    features: jax.Array
    action: jax.Array
    weight: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    success: jax.Array
    length: jax.Array
    final_value: jax.Array
    guide: jax.Array

    @staticmethod
    def empty(
        steps: int, batch: int, tiles: tuple[int, ...], features: int, guided_actions: int = 0
    ) -> Rollout:
        """Room for ``steps`` steps of ``batch`` envs: ``tiles`` is ``(P, H, W)``, ``features`` a number."""
        lead = (steps, batch)
        # Separate arrays: a buffer that is donated twice in one call is an error.
        floats = [jnp.zeros(lead, jnp.float32) for _ in range(4)]
        flags = [jnp.zeros(lead, bool) for _ in range(3)]
        return Rollout(
            tiles=jnp.zeros((*lead, *tiles), jnp.uint8),
            features=jnp.zeros((*lead, features), jnp.float32),
            action=jnp.zeros(lead, jnp.int32),
            weight=jnp.ones(lead, jnp.float32),
            log_prob=floats[0],
            value=floats[1],
            reward=floats[2],
            terminated=flags[0],
            truncated=flags[1],
            success=flags[2],
            length=jnp.zeros(lead, jnp.int32),
            final_value=floats[3],
            guide=jnp.zeros((*lead, guided_actions), jnp.float32),
        )


def generalised_advantages(
    reward: jax.Array,
    value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    final_value: jax.Array,
    last_value: jax.Array,
    gamma: float,
    gae_lambda: float,
) -> jax.Array:
    """GAE(gamma, lambda) (Schulman et al., arXiv 1506.02438, eq. 16), with both kinds of ending told apart.

    Args:
        reward, value, terminated, truncated, final_value: ``[T, N]``, as in :class:`Rollout`.
        last_value: ``[N]``: value of the states after the last step, before any reset.

    Returns:
        float32 ``[T, N]``.
    """
    chex.assert_equal_shape([reward, value, terminated, truncated, final_value])
    chex.assert_shape(last_value, reward.shape[1:])
    following = jnp.concatenate([value[1:], last_value[None]])
    following = jnp.where(truncated, final_value, following)
    delta = reward + gamma * jnp.where(terminated, 0.0, following) - value
    carry_on = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    def accumulate(after: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        advantage = now[0] + now[1] * after
        return advantage, advantage

    return jax.lax.scan(accumulate, jnp.zeros_like(last_value), (delta, carry_on), reverse=True)[1]


def make_optimizer(settings: PPOSettings) -> optax.GradientTransformation:
    """Adam with clipped gradients."""
    return optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), optax.adam(settings.lr, eps=1e-5))


class Batch(NamedTuple):
    """A minibatch of samples, all ``[M, ...]``."""

    tiles: jax.Array
    features: jax.Array
    action: jax.Array
    weight: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    guide: jax.Array


def ppo_loss(
    params: Any, apply: Apply, batch: Batch, settings: PPOSettings, guidance: jax.Array | float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Clipped surrogate, clipped value loss and entropy bonus (eq. 9 of the paper).

    Actions that a maintenance rule chose teach the value function, not the policy.

    Args:
        guidance: float32 scalar, weight of the divergence from the guide where there is one (Schmitt et al.
            2018, "Kickstarting deep reinforcement learning", arXiv 1803.03835, eq. 4).
    """
    logits, value = apply(params, batch.tiles, batch.features)
    log_probs = jax.nn.log_softmax(logits)
    log_prob = jnp.take_along_axis(log_probs, batch.action[:, None], axis=-1)[:, 0]
    ratio = jnp.exp(log_prob - batch.log_prob)
    weight = batch.weight / jnp.maximum(batch.weight.sum(), 1)
    centred = batch.advantage - (weight * batch.advantage).sum()
    advantage = centred / (jnp.sqrt((weight * centred**2).sum()) + 1e-8)
    clipped_ratio = jnp.clip(ratio, 1.0 - settings.clip_eps, 1.0 + settings.clip_eps)
    policy_loss = -(weight * jnp.minimum(ratio * advantage, clipped_ratio * advantage)).sum()

    clipped_value = batch.value + jnp.clip(value - batch.value, -settings.clip_eps, settings.clip_eps)
    value_loss = 0.5 * jnp.maximum((value - batch.target) ** 2, (clipped_value - batch.target) ** 2).mean()

    entropy = -(weight * (jnp.exp(log_probs) * log_probs).sum(axis=-1)).sum()
    loss = policy_loss + settings.vf_coef * value_loss - settings.ent_coef * entropy
    if batch.guide.shape[-1]:
        guided = jnp.any(batch.guide < 0, axis=-1)
        divergence = (jnp.exp(batch.guide) * (batch.guide - log_probs)).sum(axis=-1)
        loss += guidance * jnp.where(guided, divergence, 0.0).mean()
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "clip_fraction": (weight * (jnp.abs(ratio - 1.0) > settings.clip_eps)).sum(),
    }
    return loss, metrics


MOST_LIKELIER = 2.0
"""A single action counts at most so much more for being likelier now: the bound of its variance."""


def as_of_now(params: Any, apply: Apply, rollout: Rollout) -> Rollout:
    """A rollout of earlier parameters, for an update that begins at ``params``.

    Ratios are clipped around the policy that is updated; that another one acted is a weight of its own (the
    decoupled objective of Hilton, Cobbe and Schulman 2022, "Batch size-invariance for policy optimization",
    arXiv 2110.00641). Clipped around the one that acted, an update would find its room used up by those
    before it. Values are those of ``params``; ``final_value`` is left as it is.
    """

    def look(step: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        tiles, features, action = step
        logits, value = apply(params, tiles, features)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=-1)[:, 0], value

    log_prob, value = jax.lax.map(look, (rollout.tiles, rollout.features, rollout.action))
    likelier = jnp.minimum(jnp.exp(log_prob - rollout.log_prob), MOST_LIKELIER)
    return rollout._replace(log_prob=log_prob, value=value, weight=rollout.weight * likelier)


def ppo_update(
    params: Any,
    opt_state: optax.OptState,
    rollout: Rollout,
    last_value: jax.Array,
    key: jax.Array,
    lr_scale: jax.Array,
    apply: Apply,
    settings: PPOSettings,
    guidance: jax.Array | float = 0.0,
) -> tuple[Any, optax.OptState, dict[str, jax.Array]]:
    """Several epochs over one rollout of one slot.

    Args:
        rollout: leaves ``[T, N, ...]``.
        last_value: ``[N]``.
        lr_scale: float32 scalar, what the learning rate is multiplied by now.
        guidance: see :func:`ppo_loss`.

    Returns:
        New params, new optimizer state, and metrics averaged over the minibatches.
    """
    advantage = generalised_advantages(
        rollout.reward,
        rollout.value,
        rollout.terminated,
        rollout.truncated,
        rollout.final_value,
        last_value,
        settings.gamma,
        settings.gae_lambda,
    )
    samples = Batch(
        rollout.tiles,
        rollout.features,
        rollout.action,
        rollout.weight,
        rollout.log_prob,
        rollout.value,
        advantage,
        advantage + rollout.value,
        rollout.guide,
    )
    count = samples.action.size
    samples = jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), samples)
    optimizer = make_optimizer(settings)

    def minibatch(carry: tuple[Any, optax.OptState], rows: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        params, opt_state = carry
        batch = jax.tree.map(lambda leaf: leaf[rows], samples)
        grads, metrics = jax.grad(ppo_loss, has_aux=True)(
            params, apply, batch, settings, jnp.asarray(guidance)
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        updates = jax.tree.map(lambda update: update * lr_scale, updates)
        return (optax.apply_updates(params, updates), opt_state), metrics

    def epoch(carry: Any, key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        rows = jax.random.permutation(key, count).reshape(settings.num_minibatches, -1)
        return jax.lax.scan(minibatch, carry, rows)

    keys = jax.random.split(key, settings.update_epochs)
    (params, opt_state), metrics = jax.lax.scan(epoch, (params, opt_state), keys)
    return params, opt_state, jax.tree.map(jnp.mean, metrics)
