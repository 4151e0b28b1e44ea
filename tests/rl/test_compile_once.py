"""The whole step path compiles once: training, episodes, plans and probing share the env's programs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from probe_games import COINS, COLUMNS, CoinGame
from small_trainers import BANK, ENVS, SETTINGS, STEPS

from flowrl.report.bench_slots import compilations
from flowrl.rl.environment import EnvPrograms
from flowrl.rl.episodes import EpisodeRunner
from flowrl.rl.executor import PlanExecutor, PlanProgram
from flowrl.rl.task import MeasuredGain, Task
from flowrl.rl.trainer import SlotTrainer, TrainerShape


def exported_program(wanted: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Skill code as the checker hands it over: exported, batched symbolically."""

    def program(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        gained = now[:, COINS] - start[:, COINS]
        return now[:, COINS] - prev[:, COINS], gained >= wanted * n

    (batch,) = jax.export.symbolic_shape("batch")
    rows = jax.ShapeDtypeStruct((batch, len(COLUMNS)), jnp.float32)
    exported = jax.export.export(jax.jit(program))(
        rows, rows, rows, jax.ShapeDtypeStruct((batch,), jnp.int32)
    )
    call: Callable[..., tuple[jax.Array, jax.Array]] = exported.call
    return call


def skill(wanted: int) -> Task:
    """Collect coins, ``wanted`` a repeat."""
    gain = MeasuredGain(COINS, wanted, 0, "add")
    return Task(f"collect_{wanted}", exported_program(wanted), (gain,), max_steps=8, max_repeat=2)


def coin_plan(coins: list[int], policies: list[int]) -> PlanProgram:
    """Steps that each start with so many coins; the last number is the goal."""
    low = np.full((len(coins), len(COLUMNS)), -np.inf, np.float32)
    low[:, COINS] = coins
    return PlanProgram(
        low, np.full_like(low, np.inf), np.array(policies, np.int32), np.ones(len(policies), np.int32)
    )


def test_two_skills_from_start_to_end_compile_the_big_programs_once() -> None:
    """Train, validate, plan, train from what the plan reached: a second skill adds a judge and a note."""
    programs = EnvPrograms(CoinGame("time"), ENVS)
    trainer = SlotTrainer(programs, TrainerShape(1, ENVS, STEPS, 32, BANK), SETTINGS)
    runner = EpisodeRunner(programs, trainer.network)
    executor = PlanExecutor(programs, trainer.network)
    plans = [coin_plan([0, 1], [0]), coin_plan([0, 1, 2, 3], [0, 0, 0])]
    starts = programs.fresh(jax.random.key(0), BANK)
    with compilations() as names:
        for number, plan in enumerate(plans):
            task = skill(number + 1)
            trainer.assign(0, task, starts)
            for _ in range(3):
                trainer.update()
            trainer.refresh(0, programs.fresh(jax.random.key(5 + number), BANK // 4), at=BANK // 2)
            trainer.update([0.5])
            params = jax.device_get(trainer.params(0))
            runner.run(task, params, starts, jax.random.key(number))
            worlds = programs.fresh(jax.random.key(9 + number), BANK)
            reached = executor.reach(plan, [task], [params], worlds, 20, jax.random.key(number))
            assert reached.starts is not None
            rows = np.arange(BANK) % reached.starts.rows
            starts = jax.tree.map(lambda leaf, rows=rows: leaf[rows], reached.starts)
    once = ("_act_batch", "_update_slots", "_advance_batch", "_choose_actions", "_choose")
    assert {name: names[name] for name in once} == dict.fromkeys(once, 1)
    assert names["judge_slot"] == 2
    assert names["_generate_chunk"] == 0, "fresh worlds were made before counting began"
