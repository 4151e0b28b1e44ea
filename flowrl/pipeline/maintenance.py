"""What comes before any target: rules that beat off what does harm and keep the vitals up, from operators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowrl.pipeline.game_reward import HEALTH
from flowrl.pipeline.library import SkillLibrary
from flowrl.rl.maintenance import Maintenance, Rule
from flowrl.rl.trainer import SlotTrainer
from flowrl.skills.facts import FactKind
from flowrl.skills.graph import SkillGraph, SkillNode
from flowrl.skills.operator import Linear, Operator
from flowrl.worlds.base import World

TIRED_BELOW = 0.4
"""A vital at or below this share of its start value is seen to before any target: whoever sleeps by day, with
5 of 9 of energy, wakes in the middle of the night, and has to go out to drink."""

RESTED_FROM = 0.85
"""... until it is at least this share again."""

DEFEND_WITHIN = 2
"""Tiles. A zombie strikes from the next tile; from two it needs a step first, in which the agent turns."""

SAFE_FROM = 4
"""Tiles at which a creature is left alone again; one that is beaten, or out of view, is farther than any.
Above :data:`DEFEND_WITHIN`: a creature that steps back and forth does not switch the agent with it."""

DEFEND_PATIENCE = 32
"""Env steps of one defence. Five bare-handed blows beat a Classic zombie; the rest is for turning and for
following one that steps aside. What stands after that is out of reach, behind water or a wall."""

DEFEND_REST = 64
"""Env steps without defence after that: twice as many, so that a creature that cannot be reached takes a
third of the time at most, and the target's policy has time to walk away from it."""

_DEFEAT = "achievement:defeat_"
_SHELTER, _WAY_OUT = "near:shelter", "near:way_out"


@dataclass(frozen=True)
class ServedRule:
    """A rule with names.

    Attributes:
        label: such as ``defend:zombie`` or ``vital:food``.
        skill: whose policy serves it.
        rule: its ``policy`` is the index of that skill's node in the graph.
        beats_off: whether the skill defeats what the rule watches, not only gets where another does.
    """

    label: str
    skill: str
    rule: Rule
    beats_off: bool


def maintenance_rules(graph: SkillGraph, world: World) -> list[ServedRule]:
    """The rules of a graph, the most urgent first: creatures, then vitals.

    A rule begins wherever the agent is: of the skills that gain what it is about, only those serve whose
    requirements can be read off the snapshot and that consume nothing, for what they would use up is not the
    rule's to spend. Of several, the surest. Where that one requires to be somewhere, such as in a shelter,
    and another accepted skill gets there, a second rule of lower rank does so.
    """
    needs = {node.name: _needs(node.operator, world) for node in graph.nodes}
    serving = [node for node in graph.nodes if needs[node.name] is not None]
    rules: list[ServedRule] = []
    for watched in (*_creatures(world), *_vitals(world)):
        best = _surest(serving, watched.fact)
        if best is None:
            continue
        getting_there = (_surest(serving, place) for place in _places(best.operator.requires, world))
        chain = (best, *itertools.islice(filter(None, getting_there), 1))
        for node in chain:
            patience = watched.patience or node.max_steps
            rule = Rule(
                column=watched.column,
                below=watched.below,
                until=watched.until if node is best else -math.inf,
                policy=graph.names.index(node.name),
                patience=patience,
                rest=watched.rest or patience,
                needs=_from_outside(needs[node.name] or {}, world),
                gives=_here(_places(node.operator.gains, world), world),
            )
            label = watched.label if node is best else f"{watched.label}, first {node.name}"
            beats_off = node is best and watched.fact.startswith(_DEFEAT)
            rules.append(ServedRule(label, node.name, rule, beats_off))
    return rules


def _places(facts: Iterable[str], world: World) -> list[str]:
    """Those of ``facts`` that hold only where the agent is."""
    return [fact for fact in facts if world.vocabulary[fact].kind is FactKind.REACH]


def _here(places: Iterable[str], world: World) -> dict[int, float]:
    return {world.snapshot_spec.fact_columns[place]: 1.0 for place in places}


def _from_outside(needs: Mapping[int, float], world: World) -> Mapping[int, float]:
    """``needs``, and a way out unless being walled in is one of them.

    Whoever is behind walls is out of reach of what would have to be beaten off, and a policy that never
    learned to open them does nothing there.
    """
    columns = world.snapshot_spec.fact_columns
    if _SHELTER not in columns or columns[_SHELTER] in needs:
        return needs
    return {**needs, **_here([_WAY_OUT], world)}


def lowest_vitals(operator: Operator, world: World) -> list[int]:
    """The vitals with which a skill's training may begin, at least, in the vocabulary's order.

    A skill that gains a vital is called when that is low; of the others none is so low that a rule would go
    before the skill at once.
    """
    return [
        1 if fact.name in operator.gains else int(TIRED_BELOW * world.initial_facts[fact.name]) + 1
        for fact in world.vocabulary.of_kind(FactKind.VITAL)
    ]


def provided_first(rules: Sequence[ServedRule], graph: SkillGraph, world: World) -> list[str]:
    """Facts without which a rule's skill can do nothing and that an accepted skill gains, such as a sword.

    They come before all other targets: an agent that cannot beat anything off does not live to see the rest.
    What lapses by itself (``near:``) is left out; it would be made over and over again.
    """
    gained = {fact for node in graph.nodes for fact in node.operator.gains}
    needed = dict.fromkeys(fact for served in rules for fact in graph.node(served.skill).operator.requires)
    return [
        fact
        for fact in needed
        if fact in gained
        and world.vocabulary[fact].kind is not FactKind.REACH
        and not world.initial_facts.get(fact)
    ]


def rule_places(world: World) -> int:
    """How many rules there can be in a world, whatever is learned; each may need one other to get there."""
    return 2 * len([*_creatures(world), *_vitals(world)])


def maintenance_of(
    rules: Sequence[ServedRule], library: SkillLibrary, trainer: SlotTrainer, world: World
) -> Maintenance:
    """The rules on device, with the policies that serve them; always in as many places.

    Args:
        library: holds the skills that serve.
        trainer: whose network the policies are of.
    """
    skills = list(dict.fromkeys(served.skill for served in rules))
    return Maintenance.of(
        [served.rule.served_by(skills.index(served.skill)) for served in rules],
        [library[name].params for name in skills],
        trainer.initial_shapes,
        len(world.snapshot_spec),
        rule_places(world),
    )


@dataclass(frozen=True)
class _Watched:
    """One thing that could be kept up, whether or not a skill for it is there.

    A patience or rest of 0 is the skill's own length.
    """

    label: str
    fact: str
    column: int
    below: float
    until: float
    patience: int = 0
    rest: int = 0


def _creatures(world: World) -> Iterator[_Watched]:
    """Those whose defeat is an achievement and whose distance the snapshot holds."""
    for fact in world.vocabulary.of_kind(FactKind.FLAG):
        creature = fact.name.removeprefix(_DEFEAT)
        distance = world.snapshot_spec.columns.get(f"closest_mobs.{creature}.distance")
        if fact.name.startswith(_DEFEAT) and distance is not None:
            yield _Watched(
                f"defend:{creature}",
                fact.name,
                distance,
                DEFEND_WITHIN,
                SAFE_FROM,
                DEFEND_PATIENCE,
                DEFEND_REST,
            )


def _vitals(world: World) -> Iterator[_Watched]:
    """Health comes last: it comes back by itself, but only where no other vital is spent."""
    for fact in sorted(world.vocabulary.of_kind(FactKind.VITAL), key=lambda fact: fact.name == HEALTH):
        start = world.initial_facts[fact.name]
        column = world.snapshot_spec.fact_columns[fact.name]
        yield _Watched(fact.name, fact.name, column, TIRED_BELOW * start, RESTED_FROM * start)


def _needs(operator: Operator, world: World) -> Mapping[int, float] | None:
    """Snapshot column -> least value for one run; None where a skill cannot serve."""
    if operator.consumes or any(not isinstance(need, Linear) for need in operator.requires.values()):
        return None
    columns = world.snapshot_spec.fact_columns
    return {columns[name]: need.at(1) for name, need in operator.requires.items() if isinstance(need, Linear)}


def _surest(nodes: Sequence[SkillNode], fact: str) -> SkillNode | None:
    gaining = [node for node in nodes if fact in node.operator.gains]
    return max(gaining, key=lambda node: node.evidence.success_low, default=None)
