"""Sizes that are not given are chosen from the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax

from flowrl.config import PPOConfig, validate_batch
from flowrl.errors import GraphError, UserError
from flowrl.rl.ppo import PPOSettings
from flowrl.rl.trainer import TrainerShape
from flowrl.skills.graph import SkillGraph
from flowrl.store.layout import GraphLayout
from flowrl.store.manifest import read_graph

CPU_ENVS, CPU_STEPS, CPU_WIDTH = 128, 32, 128
GPU_ENVS, GPU_STEPS, GPU_WIDTH = 1024, 64, 512


def resolve_sizes(
    ppo: PPOConfig, num_slots: int, bank_size: int, on_cpu: bool | None = None
) -> tuple[PPOConfig, TrainerShape]:
    """``ppo`` with every size filled in, and the shape of the trainer.

    On a CPU the slots share the envs that keep its cores busy; on a GPU each has its own.

    Args:
        on_cpu: whether what trains is a CPU. Left out: this process trains, on its own device.
    """
    if on_cpu is None:
        on_cpu = jax.default_backend() == "cpu"
    envs = max(CPU_ENVS // num_slots, 32) if on_cpu else GPU_ENVS
    filled = dataclasses.replace(
        ppo,
        num_envs=ppo.num_envs or envs,
        num_steps=ppo.num_steps or (CPU_STEPS if on_cpu else GPU_STEPS),
        layer_size=ppo.layer_size or (CPU_WIDTH if on_cpu else GPU_WIDTH),
    )
    validate_batch(filled)
    if filled.num_envs is None or filled.num_steps is None or filled.layer_size is None:
        raise UserError("sizes could not be resolved")
    return filled, TrainerShape(num_slots, filled.num_envs, filled.num_steps, filled.layer_size, bank_size)


def layer_size_of(graph: SkillGraph) -> int | None:
    """Units in the hidden layers of all policies of a graph; None where no node says it.

    Raises:
        GraphError: the nodes were trained with different ones.
    """
    sizes = {node.provenance.get("layer_size") for node in graph.nodes}
    if len(sizes) > 1:
        raise GraphError(
            f"nodes were trained with different layer sizes ({sizes}); they cannot play together"
        )
    size = next(iter(sizes), None)
    return size if isinstance(size, int) else None


def as_the_graph_has(ppo: PPOConfig, graph_path: Path) -> PPOConfig:
    """``ppo`` with the layer size of the graph that is there, where none is given: its policies play on.

    Raises:
        GraphError: the graph is damaged, or its nodes were trained with different layer sizes.
    """
    if ppo.layer_size is not None or not GraphLayout(graph_path).graph.exists():
        return ppo
    return dataclasses.replace(ppo, layer_size=layer_size_of(read_graph(graph_path)))


def ppo_settings(ppo: PPOConfig) -> PPOSettings:
    """The part of the configuration that PPO's update reads."""
    names = [field.name for field in dataclasses.fields(PPOSettings)]
    return PPOSettings(**{name: getattr(ppo, name) for name in names})
