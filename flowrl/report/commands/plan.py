"""``plan``: how to reach a target with known operators, proved before it is printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrl.errors import FlowrlError, UserError, nearest
from flowrl.report.commands.flags import parse_count, parse_flags
from flowrl.skills import planner
from flowrl.skills.facts import Vocabulary
from flowrl.skills.operator import Operator
from flowrl.skills.operators_file import load_operators_file
from flowrl.skills.plan import FactGoal, Goal, Impossible, Plan, PlanningGaveUp, SkillGoal
from flowrl.skills.simulator import prove


@dataclass(frozen=True)
class PlanFlags:
    """Plans an ordered list of skills that makes the target true, and proves it with a simulator of its own.

    Exit code 0: a proved plan; 1: there is none, and why, or none was found within bounds.
    """

    target: str
    """A skill, a fact, or either with a count: make_wood_pickaxe, collect_wood=3, inventory:stone=5."""

    operators: Path | None = None
    """JSON file with operators, to plan without a graph or a world: {"capacity": 9, "skills": {"place_table":
    {"requires": {}, "consumes": {"inventory:wood": 2}, "gains": {"near:crafting_table": 1}}}}."""

    graph_path: Path | None = None
    """Folder of a skill graph: plan with its accepted skills."""

    have: tuple[str, ...] = ()
    """Facts at the start, as FACT=COUNT (repeatable); the rest is as the world, or the file, begins."""

    json: bool = False
    """Print JSON, for scripts."""


@dataclass(frozen=True)
class Known:
    """What a plan is made from: skills by name, the facts that exist, the facts at the start."""

    operators: Mapping[str, Operator]
    vocabulary: Vocabulary
    initial: Mapping[str, int]


def plan(args: Sequence[str], prog: str) -> int:
    """``flowrl plan``. With ``--json`` every ending but bad flags prints an object; its key says which."""
    flags = parse_flags(PlanFlags, args, prog)
    if not flags.json:
        print(_proved_plan(flags))
        return 0
    try:
        print(json.dumps({"plan": _proved_plan(flags).to_json(), "proved": True}))
    except FlowrlError as error:
        print(json.dumps(_ending(error)))
        raise
    return 0


def _proved_plan(flags: PlanFlags) -> Plan:
    known = _known(flags)
    have: dict[str, int] = {}
    for text in flags.have:
        name, count = _have(text, known.vocabulary)
        if name in have:
            raise UserError(f"--have gives {name!r} twice, as {have[name]} and {count}. Keep one.")
        have[name] = count
    facts = {**known.initial, **have}
    goal = _goal(flags.target, known)
    found = planner.plan(facts, known.operators, goal, known.vocabulary)
    prove(found, facts, known.operators, goal, known.vocabulary)
    return found


def _ending(error: FlowrlError) -> dict[str, Any]:
    """What is printed for scripts when there is no plan; people read the same on stderr."""
    if isinstance(error, Impossible):
        return {"impossible": error.to_json()}
    if isinstance(error, PlanningGaveUp):
        return {"gave_up": error.to_json()}
    return {"error": {"reason": str(error)}}


def _known(flags: PlanFlags) -> Known:
    if flags.operators is not None and flags.graph_path is None:
        file = load_operators_file(flags.operators)
        return Known(file.operators, file.vocabulary, file.initial)
    if flags.graph_path is not None and flags.operators is None:
        from flowrl.store.manifest import read_graph
        from flowrl.worlds.registry import make_world

        graph = read_graph(flags.graph_path)
        world = make_world(graph.env_name)
        return Known(graph.operators, world.vocabulary, world.initial_facts)
    raise UserError(
        "Give one of --operators FILE and --graph-path FOLDER: where the skills to plan with are."
    )


def _have(text: str, vocabulary: Vocabulary) -> tuple[str, int]:
    name, equals, count = text.rpartition("=")
    if not equals:
        raise UserError(f"--have {text!r}: expected FACT=COUNT. Use --have {text}=1.")
    if name not in vocabulary:
        raise UserError(f"--have {text!r}: there is no fact {name!r}. {_nearest(name, vocabulary)}")
    return name, _count(f"--have {text!r}", count, least=0)


def _goal(text: str, known: Known) -> Goal:
    """The target as a goal: a skill to run, or a fact to reach."""
    name, _, count = text.rpartition("=") if "=" in text else (text, "", "1")
    where = f"--target {text!r}"
    if name in known.operators:
        return SkillGoal(name, _count(where, count, least=1), include=True)
    if name in known.vocabulary:
        return FactGoal({name: _count(where, count, least=0)})
    offered = _nearest(name, [*known.operators, *known.vocabulary])
    raise UserError(f"--target {text!r}: there is no skill and no fact {name!r}. {offered}")


def _nearest(name: str, choices: Iterable[str]) -> str:
    """As :func:`nearest`; a fact without its namespace is meant as it is."""
    choices = list(choices)
    whole = [choice for choice in choices if choice.partition(":")[2] == name]
    return f"Did you mean {whole[0]!r}?" if whole else nearest(name, choices)


def _count(where: str, text: str, least: int) -> int:
    try:
        count = parse_count(text)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    if count < least:
        raise UserError(f"{where}: expected a count of at least {least}. Use {least}.")
    return count
