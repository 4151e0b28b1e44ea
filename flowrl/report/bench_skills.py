"""What benchmarks train: skills of the playbook that start in fresh worlds, checked as a run checks them."""

from __future__ import annotations

import itertools

import numpy as np

from flowrl.codegen.check import check_reply
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank, Transitions
from flowrl.config import PPOConfig
from flowrl.llm.providers.playbook import load_playbook
from flowrl.llm.reply_text import whole_reply
from flowrl.pipeline.tasks import make_task
from flowrl.pipeline.workbench import Workbench, build_workbench
from flowrl.rl.task import Task
from flowrl.rl.trainer import TrainerShape
from flowrl.worlds.base import World
from flowrl.worlds.registry import make_world

START_STATES = 128
"""Start states of a benchmark's skill: enough to fill a batch."""

DISTINCT_SKILLS = 4
"""Of the playbook's skills without requirements, the first so many serve."""

_EPISODE_STEPS = 300


def open_bench(
    env_name: str, ppo: PPOConfig, shape: TrainerShape, num_skills: int, ahead: bool = False
) -> tuple[Workbench, list[Task]]:
    """A workbench of that shape and as many tasks, none of which needs a plan.

    Args:
        num_skills: those after the first :data:`DISTINCT_SKILLS` begin with the first again.
        ahead: begin to compile the env's programs while the skills are checked, as a run does.
    """
    world = make_world(env_name)
    bench = build_workbench(world, ppo, shape, seed=0)
    if ahead:
        bench.compile_ahead()
    playbook = [skill for skill in load_playbook(env_name) if not skill.needs][:DISTINCT_SKILLS]
    with Tracer() as tracer:
        checked = [
            check_reply(whole_reply(skill.operator, skill.source), world, tracer, _made_up_steps(world))
            for skill in playbook[:num_skills]
        ]
    tasks = [
        make_task(skill.proposal.name, skill.proposal.operator, skill.program, world, _EPISODE_STEPS, 1)
        for skill in itertools.islice(itertools.cycle(checked), num_skills)
    ]
    return bench, tasks


def _made_up_steps(world: World) -> ProbeBank:
    """What the skills are probed with: real play would bring the env's compilation into what comes before."""
    columns = len(world.snapshot_spec)
    noise = np.random.default_rng(0).integers(0, 2, (64, columns)).astype(np.float32)
    steps = Transitions(noise[:-1], noise[:-1], noise[1:], np.ones(63, np.int32))
    return ProbeBank(steps, np.zeros((1, columns), np.float32))
