"""A skill graph as one player: targets, plans and maintenance rules from the operators alone."""

from __future__ import annotations

from dataclasses import dataclass

from flowrl.errors import UserError, nearest
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.tasks import make_plan_program
from flowrl.pipeline.workbench import Workbench
from flowrl.rl.agent import Agent, AgentProgram, Maintenance
from flowrl.rl.executor import PlanProgram
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillGraph
from flowrl.skills.operator import Linear
from flowrl.skills.plan import FactGoal, Goal, Plan, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.simulator import prove
from flowrl.skills.teleo import Bounds, Condition

TIRED_BELOW = 0.4
"""A vital at or below this share of its start value is seen to before anything else."""

RESTED_FROM = 0.85
"""... until it is at least this share again."""

MIN_PATIENCE = 300
"""Env steps that even the shortest plan may take before another target is tried."""


@dataclass(frozen=True)
class Player:
    """An agent with the names that its numbers stand for.

    Attributes:
        agent: plays.
        policies: skill names, in the order of the agent's policies.
        targets: the fact or skill of each target, in order of preference.
        plans: the proved plan of each target.
        rules: the vital of each maintenance rule.
    """

    agent: Agent
    policies: tuple[str, ...]
    targets: tuple[str, ...]
    plans: tuple[Plan, ...]
    rules: tuple[str, ...]


def make_player(graph: SkillGraph, library: SkillLibrary, bench: Workbench, target: str | None) -> Player:
    """The agent of a graph.

    Args:
        target: a skill or fact to pursue; None for every achievement that an accepted skill gains.

    Raises:
        UserError: the graph is empty, or the target is unknown.
        Impossible: no plan leads to the target.
    """
    if not graph.nodes:
        raise UserError("the graph has no accepted skill yet: there is nothing to play with")
    names = list(graph.names)
    targets = [target] if target is not None else _achievements(graph)
    programs, plans, patience = [], [], []
    for name in targets:
        goal, condition = _goal(name, graph, bench)
        found = plan(bench.world.initial_facts, graph.operators, goal, bench.world.vocabulary)
        prove(found, bench.world.initial_facts, graph.operators, goal, bench.world.vocabulary)
        program: PlanProgram = make_plan_program(found.steps, condition, graph.operators, names, bench.world)
        programs.append(program)
        plans.append(found)
        steps = sum(library[step.skill].task.max_steps * step.n for step in found.steps)
        patience.append(max(steps, MIN_PATIENCE))
    rules = _maintenance(graph, library, bench)
    skills = [library[name] for name in names]
    agent = Agent(
        bench.programs,
        bench.trainer.network,
        AgentProgram(tuple(programs), tuple(patience), tuple(rule for _, rule in rules)),
        [skill.task for skill in skills],
        [skill.params for skill in skills],
    )
    return Player(agent, tuple(names), tuple(targets), tuple(plans), tuple(fact for fact, _ in rules))


def _achievements(graph: SkillGraph) -> list[str]:
    gained = [fact for node in graph.nodes for fact in node.operator.gains if fact.startswith("achievement:")]
    if not gained:
        raise UserError("no accepted skill gains an achievement. Name what to pursue with --target.")
    return list(dict.fromkeys(gained))


def _goal(name: str, graph: SkillGraph, bench: Workbench) -> tuple[Goal, Condition]:
    vocabulary = bench.world.vocabulary
    if name in graph.names:
        gains = graph.node(name).operator.gains
        condition = {
            fact: Bounds(gain.at(1)) if isinstance(gain, Linear) else Bounds(gain[0], gain[0])
            for fact, gain in gains.items()
        }
        return SkillGoal(name, include=True), condition
    if name not in vocabulary:
        raise UserError(
            f"--target {name!r} is no skill and no fact. {nearest(name, [*graph.names, *vocabulary])}"
        )
    return FactGoal({name: 1}), {name: Bounds(1)}


def _maintenance(graph: SkillGraph, library: SkillLibrary, bench: Workbench) -> list[tuple[str, Maintenance]]:
    """One rule for each vital that some accepted skill gains; the surest such skill serves."""
    rules = []
    for fact in bench.world.vocabulary.of_kind(FactKind.VITAL):
        providers = [
            node
            for node in graph.nodes
            if fact.name in node.operator.gains and not node.operator.requires and not node.operator.consumes
        ]
        if not providers:
            continue
        best = max(providers, key=lambda node: node.evidence.success_low)
        start = bench.world.initial_facts[fact.name]
        rules.append(
            (
                fact.name,
                Maintenance(
                    column=bench.world.snapshot_spec.fact_columns[fact.name],
                    below=TIRED_BELOW * start,
                    until=RESTED_FROM * start,
                    policy=graph.names.index(best.name),
                    patience=library[best.name].task.max_steps,
                ),
            )
        )
    return rules
