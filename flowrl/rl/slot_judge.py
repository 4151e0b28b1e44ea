"""What a slot's envs are told after a step: the compiled judge of its task, and how that is noted down."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from flowrl.rl.compiled import compiled
from flowrl.rl.ppo import Rollout
from flowrl.rl.task import Progress, Task, Verdict, judge


def slot_judge(task: Task, slot: int, num_envs: int) -> Callable[..., Verdict]:
    """The judge of one slot: reads its own envs out of the whole batch. One small compile a task."""
    own = slice(slot * num_envs, (slot + 1) * num_envs)

    def judge_slot(progress: Progress, now: jax.Array, died: jax.Array, time_up: jax.Array) -> Verdict:
        mine = jax.tree.map(lambda leaf: leaf[own], progress)
        return judge(task, mine, now[own], died[own], time_up[own])

    judged: Callable[..., Verdict] = compiled(judge_slot)
    return judged


def idle_judge(num_envs: int) -> Callable[..., Verdict]:
    """Of a slot without a task: nothing ends, nothing is rewarded."""
    flags = jnp.zeros(num_envs, bool)
    verdict = Verdict(jnp.zeros(num_envs), flags, flags, flags, jnp.zeros(num_envs, jnp.int32))
    return lambda *_: verdict


def all_ended(num_envs: int) -> Verdict:
    """A verdict that makes ``act`` reset every env of a slot."""
    no = jnp.zeros(num_envs, bool)
    return Verdict(jnp.zeros(num_envs), ~no, no, no, jnp.zeros(num_envs, jnp.int32))


def note_verdict(rollout: Rollout, t: jax.Array, verdict: Verdict, final_value: jax.Array) -> Rollout:
    """``rollout`` with what step ``t`` brought; ``final_value`` ``[B]``: of the state that it led to."""
    return rollout._replace(
        reward=rollout.reward.at[t].set(verdict.reward),
        terminated=rollout.terminated.at[t].set(verdict.terminated),
        truncated=rollout.truncated.at[t].set(verdict.truncated),
        success=rollout.success.at[t].set(verdict.success),
        length=rollout.length.at[t].set(verdict.length),
        final_value=rollout.final_value.at[t].set(final_value),
    )
