"""Whether K slots fit into the device's memory, told from shapes alone before anything is compiled.

The parts follow what a run really holds: see :class:`MemoryNeed`. They were compared with measured peaks; see
:data:`SAFETY` and :data:`PROGRAMS`.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax

from flowrl.config import RunConfig
from flowrl.errors import UserError
from flowrl.pipeline.available_memory import AvailableMemory
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.rl.environment import EnvPrograms
from flowrl.rl.network import EMBEDDING_SIZE, init_params
from flowrl.rl.task import GOAL_FEATURES
from flowrl.rl.trainer import TrainerShape, make_network
from flowrl.worlds.base import World

GIB = 2**30
_FLOAT = 4

_NUMBERS_A_STEP = 32
"""Bytes of a rollout's step beside its observation: seven numbers, three flags; see flowrl.rl.ppo.Rollout."""

SAFETY = 1.25
"""What the arrays that are counted are multiplied by: room for what is not (copies that XLA makes to reorder,
fragmentation)."""

PROGRAMS = {"cpu": int(1.5 * GIB), "gpu": int(0.5 * GIB)}
"""Bytes beside all arrays. On a CPU compiling takes the same memory as the arrays."""

PLANNED_POLICIES = 12
"""Policies that one plan runs side by side, at most; every one of them sees every env."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one of each thing that a run holds many of.

    Attributes:
        start: an env's state with what is seen in it.
        sample: one env step in a rollout.
        forward: what one observation takes on its way through the network.
        parameters: the network's.
    """

    start: int
    sample: int
    forward: int
    parameters: int

    @staticmethod
    def of(world: World, layer_size: int) -> Footprint:
        """Traces one world's generation (0.2 s in Classic, 0.6 s in full Craftax) and compiles nothing."""
        planes, area = len(world.plane_sizes), math.prod(world.view_shape)
        features = world.feature_count + GOAL_FEATURES
        columns = len(world.snapshot_spec)
        state = jax.eval_shape(world.generate, jax.random.key(0))
        network = make_network(EnvPrograms(world, 1), layer_size)
        parameters = jax.eval_shape(
            lambda key: init_params(network, key, world.view_shape, features), jax.random.key(0)
        )
        seen = planes * area + _FLOAT * (world.feature_count + columns) + 2
        sample = planes * area + _FLOAT * features + _NUMBERS_A_STEP
        # Every plane's embedding before they are summed, the sum, the features, and three hidden layers.
        floats = (planes + 1) * area * EMBEDDING_SIZE + features + 3 * layer_size
        return Footprint(_bytes(state) + seen, sample, _FLOAT * floats, _bytes(parameters))


def _bytes(tree: Any) -> int:
    """Bytes of a pytree of shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a run holds at its fullest, by what they are for.

    Attributes:
        starts: the trainer's banks of start states, and what the skills in training keep of their own.
        envs: the states of the envs that step.
        rollouts: what an update learns from, and, where play goes on meanwhile, what is played then.
        parameters: of every slot, with Adam's two moments, their gradients and what becomes of them.
        update: the rollout in the order of slots and then of samples, and one minibatch of every slot on its
            way through the network and back.
        preparing: while all that is there, one skill's start states being made, or it being validated.
        programs: compiled programs and the compiler.
    """

    starts: int
    envs: int
    rollouts: int
    parameters: int
    update: int
    preparing: int
    programs: int

    @property
    def total(self) -> int:
        """Bytes in all, with :data:`SAFETY`; updating and preparing take turns."""
        held = self.starts + self.envs + self.rollouts + self.parameters
        return int(SAFETY * (held + max(self.update, self.preparing))) + self.programs


def memory_need(
    footprint: Footprint,
    shape: TrainerShape,
    num_minibatches: int,
    validation_episodes: int,
    platform: str,
    num_rollouts: int = 1,
) -> MemoryNeed:
    """What a run of that shape needs.

    Args:
        footprint: of its world and ``shape.layer_size``.
        shape: sizes.
        num_minibatches: parts that a slot's rollout is cut into.
        validation_episodes: episodes that a skill is validated by, each from a start state of its own.
        platform: ``cpu`` or ``gpu``.
        num_rollouts: that are held at a time.
    """
    steps = shape.batch * shape.num_steps
    worlds = max(shape.bank_size, validation_episodes)
    return MemoryNeed(
        starts=2 * shape.num_slots * shape.bank_size * footprint.start,
        envs=shape.batch * footprint.start,
        rollouts=num_rollouts * steps * footprint.sample,
        parameters=(3 + 2) * shape.num_slots * footprint.parameters,
        update=2 * steps * footprint.sample + 2 * (steps // num_minibatches) * footprint.forward,
        # Fresh worlds, the bank that is filled from them and the result; the executor's envs as they were
        # gathered and as they step; and what its policies see.
        preparing=(3 * worlds + 2 * shape.batch) * footprint.start
        + PLANNED_POLICIES * (shape.batch * footprint.forward + footprint.parameters),
        programs=PROGRAMS["cpu" if platform == "cpu" else "gpu"],
    )


def require_memory(
    world: World,
    config: RunConfig,
    num_slots: int,
    available: AvailableMemory | None,
    slots_flag: str = "max_parallel_skills",
    num_rollouts: int = 1,
) -> None:
    """Refuses sizes that the device's memory cannot hold, before anything is compiled.

    Args:
        config: as the user gave it: sizes that were left out depend on the number of slots.
        num_slots: K, skills in training at a time.
        available: None where that is not known; then nothing is refused.
        slots_flag: by which the user chose K.
        num_rollouts: that are held at a time.

    Raises:
        UserError: names the largest K that fits, or, where not even one skill does, the largest
            ``--num_envs``.
    """
    if available is None:
        return
    ppo, asked = resolve_sizes(config.ppo, num_slots, config.start_states)
    footprint = Footprint.of(world, asked.layer_size)
    platform = jax.default_backend()

    def needed(shape: TrainerShape) -> int:
        episodes = config.validation.validation_episodes
        return memory_need(footprint, shape, ppo.num_minibatches, episodes, platform, num_rollouts).total

    if needed(asked) <= available.free:
        return
    *_, one = fewer = list(_with_fewer_slots(config, asked))
    fitting = next((shape for shape in fewer if needed(shape) <= available.free), None)
    if fitting is not None:
        raise UserError(
            f"--{slots_flag} {num_slots}: {_too_much(needed(asked), available)} "
            f"Use --{slots_flag} {fitting.num_slots}."
        )
    unit = ppo.num_minibatches // math.gcd(ppo.num_minibatches, one.num_steps)
    sizes = range(unit, one.num_envs, unit)
    fit = bisect.bisect_right(
        sizes, available.free, key=lambda envs: needed(dataclasses.replace(one, num_envs=envs))
    )
    raise UserError(
        f"--num_envs {one.num_envs}: {_too_much(needed(one), available)} "
        + (
            f"Use --num_envs {sizes[fit - 1]}{f' --{slots_flag} 1' if num_slots > 1 else ''}."
            if fit
            else "No smaller number fits either: use less of what else takes memory (--num_steps, "
            "--layer_size, --start_states, --validation_episodes), or a device with more of it."
        )
    )


def _with_fewer_slots(config: RunConfig, asked: TrainerShape) -> Iterator[TrainerShape]:
    """The shapes that the same flags give with fewer slots, the most first; with one slot last, always."""
    for num_slots in range(asked.num_slots - 1, 1, -1):
        # What cannot be cut into minibatches is no advice.
        with contextlib.suppress(UserError):
            yield resolve_sizes(config.ppo, num_slots, config.start_states)[1]
    yield resolve_sizes(config.ppo, 1, config.start_states)[1]


def _too_much(needed: int, available: AvailableMemory) -> str:
    return f"needs about {needed / GIB:.1f} GiB, and {available.of} has {available.free / GIB:.1f} GiB left."
