"""A skill graph as one player: targets, plans and maintenance rules from the operators alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from flowrl.errors import UserError
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.maintenance import maintenance_rules, provided_first
from flowrl.pipeline.targets import ACHIEVEMENT, achievements, in_order, target_of, with_rivals_together
from flowrl.pipeline.tasks import make_plan_program, rows_to
from flowrl.pipeline.what_helps import helping
from flowrl.pipeline.workbench import Workbench
from flowrl.rl.agent import Agent
from flowrl.rl.agent_program import AgentProgram
from flowrl.skills.graph import SkillGraph, SkillNode
from flowrl.skills.plan import Plan
from flowrl.skills.practice import Spared
from flowrl.skills.teleo import Row
from flowrl.worlds.base import World

MIN_PATIENCE = 300
"""Env steps that even the shortest plan may take before another target is tried."""


@dataclass(frozen=True)
class AgentPlan:
    """What the agent of a graph does, with the names that its numbers stand for.

    Attributes:
        program: targets and rules as data.
        policies: skill names, in the order of the program's policies.
        targets: the facts or the skill of each target, in order of preference.
        plans: the proved plan of each target from a fresh world.
        rows: the rows of each target's program, in the program's order.
        rules: the name of each maintenance rule, such as ``defend:zombie`` or ``vital:food``.
        fights: which of them beat something off.
    """

    program: AgentProgram
    policies: tuple[str, ...]
    targets: tuple[str, ...]
    plans: tuple[Plan, ...]
    rows: tuple[tuple[Row, ...], ...]
    rules: tuple[str, ...]
    fights: tuple[int, ...]


@dataclass(frozen=True)
class Player:
    """An agent and what it does."""

    agent: Agent
    does: AgentPlan


def make_player(graph: SkillGraph, library: SkillLibrary, bench: Workbench, target: str | None) -> Player:
    """The agent of a graph; arguments and errors as of :func:`plan_agent`.

    Args:
        bench: with the programs and the network that it plays with.
    """
    does = plan_agent(graph, library, bench.world, target)
    skills = [library[name] for name in does.policies]
    agent = Agent(
        bench.programs,
        bench.trainer.network,
        does.program,
        [skill.task for skill in skills],
        [skill.params for skill in skills],
    )
    return Player(agent, does)


def plan_agent(
    graph: SkillGraph,
    library: SkillLibrary,
    world: World,
    target: str | None,
    candidates: Sequence[SkillNode] = (),
    spared: Mapping[str, Spared] | None = None,
) -> AgentPlan:
    """What the agent of a graph does.

    Args:
        target: a skill or fact to pursue; None for what the rules need, such as a sword to defend oneself
            with, and then every achievement that an accepted skill gains, in the order and the company that
            :mod:`flowrl.pipeline.targets` gives them.
        candidates: skills that may join the graph. Rules and the plans of all other targets do not use them;
            they are pursued for what they alone gain.
        spared: what fights have shown of tools; None for what the last practice has recorded.

    Raises:
        UserError: the graph is empty, or the target is unknown or needs nothing to be done.
        Impossible: no plan leads to the target.
    """
    if not graph.nodes:
        raise UserError("the graph has no accepted skill yet: there is nothing to play with")
    extended = replace(graph, nodes=(*graph.nodes, *_numbered(candidates, len(graph.nodes))))
    names = list(extended.names)
    rules = maintenance_rules(graph, world)
    if target is None:
        first = [target_of(name, graph, world) for name in provided_first(rules, graph, world)]
        wanted = [target_of(name, graph, world) for name in achievements(graph)]
    else:
        first, wanted = [], [target_of(target, graph, world)]
        if not wanted[0].plan.steps:
            raise UserError(f"--target {target!r} holds in every fresh world: nothing is to be done for it.")
    for node in candidates:
        known = {one.name for one in wanted}
        wanted += [target_of(name, extended, world) for name in _pursued_for(node, known)]
    if spared is None:
        spared = graph.practices[-1].spared if graph.practices else {}
    by_itself = {fact for served in rules for fact in graph.node(served.skill).operator.gains}
    wanted = [one for one in wanted if one.name not in {other.name for other in first}]
    wanted = in_order(wanted, extended.operators, by_itself, helping(spared), library.env_steps, world)
    targets = with_rivals_together([*first, *wanted], extended.operators, graph, world)
    programs, patience, rows = [], [], []
    for one in targets:
        rows.append(rows_to(one.condition, one.plan, extended.operators, library.env_steps, world))
        programs.append(make_plan_program(rows[-1], names, world))
        steps = sum(library[step.skill].task.max_steps * step.n for step in one.plan.steps)
        patience.append(max(steps, MIN_PATIENCE))
    return AgentPlan(
        AgentProgram(tuple(programs), tuple(patience), tuple(served.rule for served in rules)),
        tuple(names),
        tuple(one.name for one in targets),
        tuple(one.plan for one in targets),
        tuple(rows),
        tuple(served.label for served in rules),
        tuple(row for row, served in enumerate(rules) if served.beats_off),
    )


def _numbered(candidates: Sequence[SkillNode], first: int) -> list[SkillNode]:
    return [replace(node, index=first + position) for position, node in enumerate(candidates)]


def _pursued_for(candidate: SkillNode, wanted: Set[str]) -> list[str]:
    """Achievements that nothing else gains, or, where there is none, the skill itself."""
    gains = [fact for fact in candidate.operator.gains if fact.startswith(ACHIEVEMENT)]
    return [fact for fact in gains if fact not in wanted] or [candidate.name]
