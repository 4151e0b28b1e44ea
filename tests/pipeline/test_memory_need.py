"""What K slots need is told before anything is compiled, and refused with sizes that fit."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import pytest
from toy_runs import TOY_CONFIG
from toy_world import ToyWorld

from flowrl.config import PPOConfig, RunConfig
from flowrl.errors import UserError
from flowrl.pipeline.available_memory import AvailableMemory
from flowrl.pipeline.memory import GIB, PROGRAMS, SAFETY, Footprint, memory_need, require_memory
from flowrl.pipeline.workbench import build_workbench
from flowrl.rl.ppo import Rollout
from flowrl.rl.task import GOAL_FEATURES
from flowrl.rl.trainer import TrainerShape

SHAPE = TrainerShape(num_slots=2, num_envs=4, num_steps=8, layer_size=32, bank_size=16)
FOOTPRINT = Footprint(start=1000, sample=10, forward=100, parameters=500)


def bytes_of(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def total(shape: TrainerShape = SHAPE, minibatches: int = 4, episodes: int = 20) -> int:
    return memory_need(FOOTPRINT, shape, minibatches, episodes, "gpu").total


def test_worked_arithmetic() -> None:
    need = memory_need(FOOTPRINT, SHAPE, 4, 20, "gpu")
    # B = 2 * 4 = 8 envs; 8 * 8 = 64 env steps a rollout, of which a minibatch has 64 / 4 = 16.
    assert need.starts == 2 * 2 * 16 * 1000
    assert need.envs == 8 * 1000
    assert need.rollouts == 64 * 10
    assert need.parameters == 5 * 2 * 500
    assert need.update == 2 * 640 + 2 * 16 * 100
    # 20 worlds to validate in are more than 16 start states; 12 policies see 8 envs each.
    assert need.preparing == (3 * 20 + 2 * 8) * 1000 + 12 * (8 * 100 + 500)
    held = 64_000 + 8_000 + 640 + 5_000
    assert need.total == int(SAFETY * (held + 91_600)) + PROGRAMS["gpu"]
    # Practice plays into a second rollout while it learns from the first.
    two = memory_need(FOOTPRINT, SHAPE, 4, 20, "gpu", num_rollouts=2)
    assert two.total == int(SAFETY * (held + 640 + 91_600)) + PROGRAMS["gpu"]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrainerShape)][:3])
def test_more_of_anything_needs_more(field: str) -> None:
    sizes = [total(dataclasses.replace(SHAPE, **{field: getattr(SHAPE, field) * n})) for n in (1, 2, 4, 64)]
    assert sizes == sorted(set(sizes))


def test_more_start_states_or_episodes_need_more() -> None:
    assert total(dataclasses.replace(SHAPE, bank_size=32)) > total()
    assert total(episodes=40) > total()
    assert total(dataclasses.replace(SHAPE, num_steps=1024), minibatches=1) > total(
        dataclasses.replace(SHAPE, num_steps=1024)
    )


def test_the_footprint_is_that_of_the_trainers_arrays(toy_world: ToyWorld) -> None:
    shape = TrainerShape(num_slots=1, num_envs=8, num_steps=16, layer_size=32, bank_size=64)
    bench = build_workbench(toy_world, TOY_CONFIG.ppo, shape, seed=0)
    key = jax.random.key(0)
    starts = jax.eval_shape(lambda key: bench.programs.fresh(key, 64), key)
    footprint = Footprint.of(toy_world, 32)
    assert 64 * footprint.start == bytes_of(starts)
    assert footprint.parameters == bytes_of(jax.eval_shape(bench.trainer.initial_params, key))
    tiles, features = starts.seen.tiles.shape[1:], starts.seen.features.shape[-1] + GOAL_FEATURES
    rollout = bytes_of(jax.eval_shape(lambda: Rollout.empty(16, 8, tiles, features)))
    assert rollout <= 16 * 8 * footprint.sample <= 1.2 * rollout


def test_a_wider_network_needs_more(toy_world: ToyWorld) -> None:
    narrow, wide = Footprint.of(toy_world, 32), Footprint.of(toy_world, 512)
    assert wide.parameters > narrow.parameters
    assert wide.forward > narrow.forward
    assert (wide.start, wide.sample) == (narrow.start, narrow.sample)


CONFIG = dataclasses.replace(
    TOY_CONFIG, ppo=PPOConfig(total_timesteps=10**9, num_envs=50_000, num_steps=64, layer_size=64)
)


def toy_total(toy_world: ToyWorld, num_slots: int, num_envs: int = 50_000) -> int:
    """What :data:`CONFIG` needs with that many slots and envs, on the device of the tests."""
    footprint = Footprint.of(toy_world, 64)
    shape = TrainerShape(num_slots, num_envs, 64, 64, CONFIG.start_states)
    episodes = CONFIG.validation.validation_episodes
    return memory_need(footprint, shape, 8, episodes, jax.default_backend()).total


def refusal(toy_world: ToyWorld, num_slots: int, free: int, config: RunConfig = CONFIG) -> str:
    with pytest.raises(UserError) as refused:
        require_memory(toy_world, config, num_slots, AvailableMemory("the device", free))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_fits_is_let_through(toy_world: ToyWorld) -> None:
    free = toy_total(toy_world, 4)
    require_memory(toy_world, CONFIG, 4, AvailableMemory("the device", free))
    require_memory(toy_world, CONFIG, 10**6, None)


def test_the_most_slots_that_fit_are_named(toy_world: ToyWorld) -> None:
    free = toy_total(toy_world, 5)
    said = refusal(toy_world, 16, free)
    assert said == (
        f"--max_parallel_skills 16: needs about {toy_total(toy_world, 16) / GIB:.1f} GiB, and the device has "
        f"{free / GIB:.1f} GiB left. Use --max_parallel_skills 5."
    )
    assert "Use --max_parallel_skills 4." in refusal(toy_world, 16, free - 1)


@pytest.mark.parametrize(("num_slots", "beside"), [(1, "."), (4, " --max_parallel_skills 1.")])
def test_where_not_one_skill_fits_the_most_envs_are_named(
    toy_world: ToyWorld, num_slots: int, beside: str
) -> None:
    free = toy_total(toy_world, 1, 20_000)
    said = refusal(toy_world, num_slots, free)
    assert said.startswith("--num_envs 50000: needs about")
    assert said.endswith(f"Use --num_envs 20000{beside}")


def test_the_envs_named_can_be_cut_into_minibatches(toy_world: ToyWorld) -> None:
    ppo = dataclasses.replace(CONFIG.ppo, num_steps=5)  # 8 minibatches: a multiple of 8 envs
    config = dataclasses.replace(CONFIG, ppo=ppo)
    said = refusal(toy_world, 1, toy_total(toy_world, 1, 1003), config)
    [envs] = re.findall(r"Use --num_envs (\d+)\.", said)
    assert int(envs) % 8 == 0
    require_memory(
        toy_world,
        dataclasses.replace(config, ppo=dataclasses.replace(ppo, num_envs=int(envs))),
        1,
        AvailableMemory("the device", toy_total(toy_world, 1, 1003)),
    )


def test_where_nothing_fits_it_says_what_else_is_large(toy_world: ToyWorld) -> None:
    assert "No smaller number fits either: use less of what else" in refusal(toy_world, 1, GIB // 100)
