"""A skill graph as one player: targets, plans and maintenance rules from the operators alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from flowrl.errors import UserError, nearest
from flowrl.pipeline.library import SkillLibrary
from flowrl.pipeline.maintenance import maintenance_rules, provided_first
from flowrl.pipeline.tasks import make_plan_program, rows_to
from flowrl.pipeline.what_helps import gains_one_of, helping
from flowrl.pipeline.workbench import Workbench
from flowrl.rl.agent import Agent
from flowrl.rl.agent_program import AgentProgram
from flowrl.skills.graph import SkillGraph, SkillNode
from flowrl.skills.operator import Linear
from flowrl.skills.plan import FactGoal, Goal, Plan, SkillGoal
from flowrl.skills.planner import plan
from flowrl.skills.practice import Spared
from flowrl.skills.simulator import prove
from flowrl.skills.teleo import Bounds, Condition, Row
from flowrl.worlds.base import World

ACHIEVEMENT = "achievement:"

MIN_PATIENCE = 300
"""Env steps that even the shortest plan may take before another target is tried."""


@dataclass(frozen=True)
class AgentPlan:
    """What the agent of a graph does, with the names that its numbers stand for.

    Attributes:
        program: targets and rules as data.
        policies: skill names, in the order of the program's policies.
        targets: the fact or skill of each target, in order of preference.
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
            with, and then every achievement that an accepted skill gains: first what comes with a tool that
            spares health in fights, then what takes few steps, of rivals for one thing what others wait for,
            last what the skills that serve rules gain.
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
    first = provided_first(rules, graph, world) if target is None else []
    wanted = _achievements(graph) if target is None else [target]
    goals = {name: _goal(name, graph, world) for name in (*first, *wanted)}
    found = {name: _plan_of(goal, graph, world) for name, (goal, _) in goals.items()}
    if target is not None and not found[target].steps:
        raise UserError(f"--target {target!r} holds in every fresh world: nothing is to be done for it.")
    for node in candidates:
        for name in _pursued_for(node, wanted):
            goals[name] = _goal(name, extended, world)
            found[name] = _plan_of(goals[name][0], extended, world)
            wanted.append(name)
    by_itself = {fact for served in rules for fact in graph.node(served.skill).operator.gains}
    consumes = {node.name: node.operator.consumes.keys() for node in extended.nodes}
    if spared is None:
        spared = graph.practices[-1].spared if graph.practices else {}
    helps, gained_by = helping(spared), extended.operators
    wanted = [name for name in wanted if name not in first]
    wanted.sort(
        key=lambda name: (
            name in by_itself,
            not gains_one_of(gained_by[found[name].steps[-1].skill], helps, world),
            *_urgency(name, found, library, consumes),
        )
    )
    targets = [*first, *wanted]
    programs, patience, rows = [], [], []
    for name in targets:
        rows.append(rows_to(goals[name][1], found[name], extended.operators, library.env_steps, world))
        programs.append(make_plan_program(rows[-1], names, world))
        steps = sum(library[step.skill].task.max_steps * step.n for step in found[name].steps)
        patience.append(max(steps, MIN_PATIENCE))
    return AgentPlan(
        AgentProgram(tuple(programs), tuple(patience), tuple(served.rule for served in rules)),
        tuple(names),
        tuple(targets),
        tuple(found[name] for name in targets),
        tuple(rows),
        tuple(served.label for served in rules),
        tuple(row for row, served in enumerate(rules) if served.beats_off),
    )


def _numbered(candidates: Sequence[SkillNode], first: int) -> list[SkillNode]:
    return [replace(node, index=first + position) for position, node in enumerate(candidates)]


def _pursued_for(candidate: SkillNode, wanted: Sequence[str]) -> list[str]:
    """Achievements that nothing else gains, or, where there is none, the skill itself."""
    gains = [fact for fact in candidate.operator.gains if fact.startswith(ACHIEVEMENT)]
    return [fact for fact in gains if fact not in wanted] or [candidate.name]


def _plan_of(goal: Goal, graph: SkillGraph, world: World) -> Plan:
    """A proved plan from a fresh world."""
    facts, vocabulary = world.initial_facts, world.vocabulary
    found = plan(facts, graph.operators, goal, vocabulary)
    prove(found, facts, graph.operators, goal, vocabulary)
    return found


def _urgency(
    name: str, found: Mapping[str, Plan], library: SkillLibrary, consumes: Mapping[str, Set[str]]
) -> tuple[float, int, float]:
    """What targets are sorted by: the env steps to expect; of rivals, how many targets wait for them.

    Rivals are those whose plans part at the last step only, in which they use up the same thing.

    The first iron is for the pickaxe that diamonds need, not for a sword that nothing needs; but a sword
    comes right after the pickaxe of its kind, because it helps to stay alive, which no operator says.
    """

    def steps_of(other: str) -> float:
        return sum(map(library.env_steps, found[other].steps))

    steps = found[name].steps
    rivals = [
        other
        for other, its in found.items()
        if other == name
        or (its.steps[:-1] == steps[:-1] and consumes[its.steps[-1].skill] & consumes[steps[-1].skill])
    ]
    waiting = sum(
        other != name and any(step.skill == steps[-1].skill for step in its.steps)
        for other, its in found.items()
    )
    return min(map(steps_of, rivals)), -waiting, steps_of(name)


def _achievements(graph: SkillGraph) -> list[str]:
    gained = [fact for node in graph.nodes for fact in node.operator.gains if fact.startswith(ACHIEVEMENT)]
    if not gained:
        raise UserError(
            "no accepted skill gains an achievement, so it is not known what to play for. Name it with "
            "flowrl evaluate --target."
        )
    return list(dict.fromkeys(gained))


def _goal(name: str, graph: SkillGraph, world: World) -> tuple[Goal, Condition]:
    vocabulary = world.vocabulary
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
