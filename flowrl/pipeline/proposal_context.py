"""What a model is told before it proposes: the world, the graph, the frontier, and what others are at."""

from __future__ import annotations

from collections.abc import Sequence

from flowrl.llm.proposer import AcceptedSkill, Failure, ProposalContext
from flowrl.pipeline.novelty import best_gains
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillGraph
from flowrl.worlds.base import World

UNNAMED = "unnamed"
"""Stands for a skill whose reply could not even be read; no later proposal is kept from that name."""


def context_of(graph: SkillGraph, in_training: Sequence[str], world: World, seed: int) -> ProposalContext:
    """What a model is told before it proposes."""
    return ProposalContext(
        env_name=world.name,
        world=world.description,
        field_table=world.snapshot_spec.table(),
        fact_table=fact_table(world),
        enum_table=enum_table(world),
        accepted=tuple(
            AcceptedSkill(
                node.name,
                node.description,
                node.operator.to_json(),
                node.evidence.success,
                node.evidence.success_low,
            )
            for node in graph.nodes
        ),
        frontier=frontier(graph, world),
        failures=tuple(
            Failure(failure.name, failure.stage, failure.reason)
            for failure in graph.failures
            if failure.name != UNNAMED
        ),
        in_training=tuple(in_training),
        index=len(graph.nodes) + len(in_training),
        seed=seed,
    )


def frontier(graph: SkillGraph, world: World) -> dict[str, int | float | str]:
    """Fact -> how far it is reachable: what holds at the start, and what the accepted skills gain."""
    reachable: dict[str, int | float | str] = {
        fact.name: 0 for fact in world.vocabulary.of_kind(FactKind.PLACE)
    }
    reachable |= dict(world.initial_facts)
    for fact, amount in best_gains(graph.operators.values()).items():
        kind = world.vocabulary[fact].kind
        reachable[fact] = f"+{amount} each time" if kind is FactKind.COUNT else amount
    return reachable


def enum_table(world: World) -> str:
    """The enums in scope for skill code, one line each."""
    return "\n".join(
        f"- `{name}`: " + ", ".join(f"{member}={value}" for member, value in members.items())
        for name, members in world.enums.items()
    )


def fact_table(world: World) -> str:
    """The facts that operators may use, as a Markdown table."""
    rows = [
        f"| `{fact.name}` | {fact.kind} | {fact.capacity or ''} | {fact.meaning} |"
        for fact in world.vocabulary.values()
    ]
    return "\n".join(["| fact | kind | at most | meaning |", "|---|---|---|---|", *rows])
