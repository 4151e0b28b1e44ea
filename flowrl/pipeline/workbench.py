"""What a run computes with: one world, its compiled programs, and what shares them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.config import PPOConfig
from flowrl.errors import GraphError
from flowrl.pipeline.sizes import ppo_settings
from flowrl.rl.compiled import compile_ahead, compiled
from flowrl.rl.environment import EnvPrograms, Placed, where_rows
from flowrl.rl.episodes import EpisodeRunner
from flowrl.rl.executor import PlanExecutor
from flowrl.rl.trainer import SlotTrainer, TrainerShape
from flowrl.skills.graph import SkillNode
from flowrl.worlds.base import World

_TRAINING, _HELD_OUT, _PROBING = 1, 2, 3
"""Streams of worlds that never meet: what is validated on is never trained on."""


@dataclass(frozen=True)
class Workbench:
    """Built once a run; see :func:`build_workbench`."""

    world: World
    shape: TrainerShape
    programs: EnvPrograms
    trainer: SlotTrainer
    episodes: EpisodeRunner
    executor: PlanExecutor
    seed: int
    vary: Callable[[Any, jax.Array, jax.Array], Any]

    def training_worlds(self, stream: int, count: int) -> Placed:
        """Fresh worlds to train in; another ``stream`` gives others."""
        return self.programs.fresh(self._key(_TRAINING, stream), count)

    def held_out_worlds(self, stream: int, count: int) -> Placed:
        """Fresh worlds that no training ever sees."""
        return self.programs.fresh(self._key(_HELD_OUT, stream), count)

    def probing_worlds(self, count: int) -> Placed:
        """Fresh worlds for random play."""
        return self.programs.fresh(self._key(_PROBING, 0), count)

    def varied(self, starts: Placed, lowest: Sequence[int], key: jax.Array) -> Placed:
        """``starts`` with every second one at another hour and with other vitals.

        A plan leads to its end by day and to a player that is well; policies are called at night, too, and by
        rules that see to a vital when it is low.

        Args:
            lowest: the least value of each vital, in the vocabulary's order.
        """
        keys = jax.random.split(key, starts.rows)
        return self.programs.placed(self.vary(starts.states, jnp.asarray(lowest, jnp.int32), keys))

    def compile_ahead(self) -> None:
        """Begins to compile what is used first, in the background.

        Whoever has a graph to read, code to check or a model to ask meanwhile calls it at once.
        """
        compile_ahead(self.programs.ahead())

    def _key(self, purpose: int, stream: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), purpose), stream)

    def restored_params(self, tree: Mapping[str, Any], node: SkillNode) -> Any:
        """Stored parameters, checked against this run's network.

        Raises:
            GraphError: another ``--layer_size`` or another version's network.
        """
        params = self.fitting_params(tree)
        if params is None:
            begun_with = node.provenance.get("layer_size", "that the graph was begun with")
            if begun_with == self.shape.layer_size:
                raise GraphError(
                    f"the policy of {node.name!r} does not fit, though --layer_size is the same: it was "
                    "trained by a flowrl whose policies see something else. Use that one, or another "
                    "--graph-path."
                )
            raise GraphError(
                f"the policy of {node.name!r} was trained with another network than --layer_size "
                f"{self.shape.layer_size} gives. Give --layer_size {begun_with}, or another --graph-path."
            )
        return params

    def fitting_params(self, tree: Mapping[str, Any]) -> Any | None:
        """Stored parameters on device; None where they are not of this run's network."""
        expected = self.trainer.initial_shapes
        try:
            same = jax.tree.map(lambda want, have: want.shape == np.shape(have), expected, dict(tree))
        except (ValueError, TypeError):
            return None
        if not all(jax.tree.leaves(same)):
            return None
        return jax.tree.map(lambda want, have: jnp.asarray(have, want.dtype), expected, dict(tree))


def build_workbench(world: World, ppo: PPOConfig, shape: TrainerShape, seed: int) -> Workbench:
    """Makes the programs of a run; each is compiled when it is first used, or ahead of that."""
    programs = EnvPrograms(world, shape.batch)
    trainer = SlotTrainer(programs, shape, ppo_settings(ppo), seed)
    return Workbench(
        world,
        shape,
        programs,
        trainer,
        EpisodeRunner(programs, trainer.network),
        PlanExecutor(programs, trainer.network),
        seed,
        compiled(functools.partial(_every_second_varied, world)),
    )


def _every_second_varied(world: World, states: Any, lowest: jax.Array, keys: jax.Array) -> Any:
    changed = jax.vmap(world.varied, in_axes=(0, None, 0))(states, lowest, keys)
    second = jnp.arange(keys.shape[0]) % 2 == 1
    return where_rows(second, changed, states)


def states_to_tree(placed: Placed) -> dict[str, np.ndarray]:
    """Start states as plain arrays for the store; random keys as their data."""
    leaves = jax.tree.leaves(placed)
    return {_leaf_name(index): np.asarray(_plain(leaf)) for index, leaf in enumerate(leaves)}


def tree_to_states(tree: Mapping[str, Any], like: Placed) -> Placed:
    """The inverse of :func:`states_to_tree`; ``like`` gives the structure (any number of rows).

    Raises:
        ValueError: when the tree has other leaves, or leaves of other shapes.
    """
    leaves, structure = jax.tree.flatten(like)
    if sorted(tree) != [_leaf_name(index) for index in range(len(leaves))]:
        raise ValueError(f"{len(tree)} arrays, where an env state here has {len(leaves)}")
    stored = [tree[_leaf_name(index)] for index in range(len(leaves))]
    for index, (have, want) in enumerate(zip(stored, leaves, strict=True)):
        if have.shape[1:] != _plain(want).shape[1:]:
            raise ValueError(
                f"array {index} is of shape {have.shape[1:]} a state, here it is {_plain(want).shape[1:]}"
            )
    return jax.tree.unflatten(
        structure, [_typed(have, want) for have, want in zip(stored, leaves, strict=True)]
    )


def _leaf_name(index: int) -> str:
    return f"leaf_{index:03d}"


def _is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _typed(have: Any, want: jax.Array) -> jax.Array:
    if _is_key(want):
        return jax.random.wrap_key_data(jax.numpy.asarray(have))
    return jax.numpy.asarray(have, want.dtype)
