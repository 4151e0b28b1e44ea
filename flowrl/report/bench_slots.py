"""One measurement of ``bench parallel``, in a process of its own: J skills trained in K slots."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import jax

from flowrl.config import PPOConfig
from flowrl.errors import FlowrlError
from flowrl.pipeline.compilation_cache import use_compilation_cache
from flowrl.pipeline.sizes import resolve_sizes
from flowrl.pipeline.workbench import Workbench
from flowrl.report.bench_parallel import SlotsRequest
from flowrl.report.bench_skills import START_STATES, open_bench
from flowrl.rl.task import Task

_COMPILED = "/jax/core/compile/backend_compile_duration"
"""What ``jax.monitoring`` calls a compilation; programs from the persistent cache count too."""

EXPENSIVE = ("_act_batch", "_advance_batch", "_update_slots")
"""The programs that no skill may cause to compile again: acting, the env's step, PPO's update."""


@dataclass
class SlotsRun:
    """What was measured.

    Attributes:
        num_slots, num_envs, num_steps, layer_size: the trainer's sizes; envs are those of one slot.
        device: what trained.
        env_steps: trained in all; those of idle slots do not count.
        timed_steps, timed_s: without the first update, which compiles; refills count.
        refills_s: for each refill, seconds from the slot's becoming free to its training the next skill, that
            is, until its first env step is judged: start worlds, first parameters, a judge of its own.
        refill_compiles: how often :data:`EXPENSIVE` programs were compiled during refills.
    """

    num_slots: int
    num_envs: int
    num_steps: int
    layer_size: int
    device: str
    env_steps: int = 0
    timed_steps: int = 0
    timed_s: float = 0.0
    refills_s: list[float] = field(default_factory=list)
    refill_compiles: int = 0


def train_in_slots(bench: Workbench, tasks: Mapping[int, Task], env_steps: int) -> SlotsRun:
    """Trains every task for the same number of updates, in as many slots as ``bench`` has.

    One slot is filled at a time, the first ones an update apart: so they become free one at a time, too, as
    in a run, where skills take different times.

    A slot that becomes free is refilled before the next update. Nothing is validated: how long that takes
    depends on how well a skill was learned.

    Args:
        tasks: at least two, none of which needs a plan; the number decides first parameters and worlds.
        env_steps: each task's budget, rounded up to whole updates.
    """
    shape = bench.shape
    a_slots_steps = shape.num_envs * shape.num_steps
    run = SlotsRun(
        shape.num_slots, shape.num_envs, shape.num_steps, shape.layer_size, jax.devices()[0].device_kind
    )
    waiting = deque(tasks.items())
    updates_left: dict[int, int] = {}
    freed_at: dict[int, float] = {}
    first_ended = None
    first_judged = _FirstJudged()
    bench.trainer.observe = first_judged
    while waiting or updates_left:
        with compilations() as compiled:
            free = [slot for slot in range(shape.num_slots) if slot not in updates_left]
            if free and waiting:
                # Who has waited longest, and a slot that never was filled before one that was.
                slot = min(free, key=lambda one: freed_at.get(one, 0.0))
                _fill(bench, slot, *waiting.popleft())
                updates_left[slot] = -(-env_steps // a_slots_steps)
            first_judged.at = None
            bench.trainer.update()
        ended = time.perf_counter()
        run.env_steps += len(updates_left) * a_slots_steps
        if first_ended is None:
            first_ended = ended
        else:
            run.timed_steps += len(updates_left) * a_slots_steps
        refilled = freed_at.keys() & updates_left.keys()
        assert first_judged.at is not None
        run.refills_s.extend(first_judged.at - freed_at.pop(slot) for slot in refilled)
        if refilled:
            run.refill_compiles += sum(compiled[name] for name in EXPENSIVE)
        updates_left = {slot: left - 1 for slot, left in updates_left.items()}
        for slot in [slot for slot, left in updates_left.items() if not left]:
            del updates_left[slot]
            bench.trainer.release(slot)
            freed_at[slot] = time.perf_counter()
        run.timed_s = ended - first_ended
    return run


class _FirstJudged:
    """Notes when an update's first env step has been judged in all slots."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, stage: str, outputs: object) -> None:
        if stage == "judge" and self.at is None:
            jax.block_until_ready(outputs)
            self.at = time.perf_counter()


def _fill(bench: Workbench, slot: int, number: int, task: Task) -> None:
    params = bench.trainer.initial_params(jax.random.fold_in(jax.random.key(bench.seed), number))
    bench.trainer.assign(slot, task, bench.training_worlds(number, START_STATES), params)


@contextlib.contextmanager
def compilations() -> Iterator[Counter[str]]:
    """Counts what is compiled inside, by the name of the jitted function."""
    names: Counter[str] = Counter()

    def count(event: str, duration_secs: float, **facts: str | int) -> None:  # noqa: ARG001
        if event == _COMPILED:
            names[str(facts.get("fun_name")).removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def measure(request: SlotsRequest) -> SlotsRun:
    """Everything that a run does before and during training, from the check of its skills on.

    Raises:
        UserError: sizes that do not fit together.
    """
    ppo = PPOConfig(num_envs=request.num_envs, num_steps=request.num_steps, layer_size=request.layer_size)
    ppo, shape = resolve_sizes(ppo, request.num_slots, START_STATES)
    bench, tasks = open_bench(request.env_name, ppo, shape, max(request.skills) + 1, ahead=True)
    return train_in_slots(
        bench,
        {number: tasks[number] for number in request.skills},
        request.env_steps,
    )


def main() -> None:
    """Reads a :class:`SlotsRequest` as JSON from ``argv``; prints a :class:`SlotsRun` as JSON."""
    use_compilation_cache()
    try:
        print(json.dumps(asdict(measure(SlotsRequest(**json.loads(sys.argv[1]))))))
    except FlowrlError as error:
        sys.exit(f"error: {error}")
