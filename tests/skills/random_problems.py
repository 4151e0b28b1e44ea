"""Random planning problems, small enough to be searched by brute force, and that search."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowrl.skills.facts import Fact, FactKind, Vocabulary
from flowrl.skills.operator import Linear, Operator, parse_operator
from flowrl.skills.plan import FactGoal, Goal, PlanStep, SkillGoal
from flowrl.skills.simulator import PlanDisproved, facts_after


@dataclass(frozen=True)
class Problem:
    """What the planner is asked."""

    facts: Mapping[str, int]
    operators: Mapping[str, Operator]
    goal: Goal
    vocabulary: Vocabulary


_NUMBERS = (FactKind.COUNT, FactKind.VITAL, FactKind.TIER)

PLENTY = 8
"""As much of a number without a capacity as brute force keeps count of: twice what one skill asks for."""


def random_problem(
    rng: random.Random, skills: int = 10, *, unlimited: float = 0.0, growing: float = 0.0
) -> Problem:
    """Facts of all kinds, capacities from 1 to 4, and operators that are mostly of some use.

    ``unlimited`` is the share of the amounts and levels that have no capacity, ``growing`` that of the
    requirements that grow with n.
    """
    capacity = rng.randint(1, 4)

    def limited(name: str, kind: FactKind, most: int) -> Fact:
        return Fact(name, kind, None if rng.random() < unlimited else most)

    vocabulary = Vocabulary(
        [
            *(limited(f"inventory:{x}", FactKind.COUNT, capacity) for x in "abc"),
            limited("vital:v", FactKind.VITAL, rng.randint(1, 3)),
            limited("stat:t", FactKind.TIER, 2),
            *(Fact(f"achievement:{x}", FactKind.FLAG) for x in "xy"),
            Fact("floor", FactKind.PLACE),
            *(Fact(f"near:{x}", FactKind.REACH) for x in "pq"),
        ]
    )
    names = [f"skill_{i}" for i in range(rng.randint(skills // 2, skills))]
    operators = {
        name: parse_operator(_random_operator(rng, vocabulary, growing), vocabulary) for name in names
    }
    facts = {name: _random_value(rng, vocabulary[name]) for name in vocabulary if rng.random() < 0.3}
    return Problem(facts, operators, _random_goal(rng, operators, vocabulary), vocabulary)


def _random_operator(rng: random.Random, vocabulary: Vocabulary, growing: float) -> dict[str, Any]:
    requires, consumes, gains = {}, {}, {}
    for name in rng.sample(list(vocabulary), rng.choice((0, 0, 1, 1, 2, 3))):
        grows = growing > 0 and rng.random() < growing
        requires[name] = _random_count(rng, vocabulary[name], required=True, grows=grows)
    counts = [fact.name for fact in vocabulary.of_kind(FactKind.COUNT)]
    for name in rng.sample(counts, rng.choice((0, 0, 0, 1, 1, 2))):
        consumes[name] = _random_count(rng, vocabulary[name])
    for name in rng.sample(list(vocabulary), rng.choice((1, 1, 2, 3))):
        gains[name] = _random_count(rng, vocabulary[name])
    return {"requires": requires, "consumes": consumes, "gains": gains}


def _random_count(rng: random.Random, fact: Fact, *, required: bool = False, grows: bool = False) -> Any:
    if fact.kind in (FactKind.FLAG, FactKind.REACH):
        return 1
    if fact.kind is FactKind.PLACE:
        return rng.sample(range(3), rng.randint(1, 2)) if required else rng.randrange(3)
    most = _most(fact)
    linear = ["n", "n", "n", "2*n - 1", "3*n - 2"] + (["2*n", "n + 1"] if most >= 2 else [])
    if grows:
        return rng.choice(linear)
    if required:
        return rng.choice([1, 1, rng.randint(1, most)])
    return rng.choice([1, rng.randint(1, most), rng.choice(linear), rng.choice(linear)])


def _random_value(rng: random.Random, fact: Fact) -> int:
    if fact.kind is FactKind.PLACE:
        return rng.randrange(3)
    return rng.randint(0, _most(fact))


def _most(fact: Fact) -> int:
    """The largest amount that problems are made of: 3 where there is no capacity."""
    if fact.capacity is None and fact.kind in _NUMBERS:
        return 3
    return fact.capacity or 1


def _random_goal(rng: random.Random, operators: Mapping[str, Operator], vocabulary: Vocabulary) -> Goal:
    if rng.random() < 0.5:
        name = max(rng.sample(list(operators), 2), key=lambda each: len(operators[each].requires))
        n = rng.randint(1, 2) if operators[name].scales else 1
        return SkillGoal(name, n, include=rng.random() < 0.5)
    wanted: dict[str, int | tuple[int, ...]] = {}
    for name in rng.sample(list(vocabulary), rng.choice((1, 2, 3, 4))):
        if vocabulary[name].kind is FactKind.PLACE:
            values = tuple(rng.sample(range(3), rng.randint(1, 2)))
            wanted[name] = values[0] if rng.random() < 0.5 else values
        else:
            wanted[name] = rng.randint(1, _most(vocabulary[name]))
    return FactGoal(wanted)


def shortest_by_brute_force(problem: Problem) -> int | None:
    """The least number of steps to the goal, by breadth-first search with the simulator; None: no way.

    Of a number without a capacity, it forgets what is beyond :data:`PLENTY`, and it repeats a skill that
    often at most: the plan that it finds is one, but there may be a shorter one, or one where it finds none.
    """
    start = {name: problem.facts.get(name, 0) for name in problem.vocabulary}
    facts = problem.vocabulary.values()
    unlimited = [fact.name for fact in facts if fact.kind in _NUMBERS and fact.capacity is None]
    repeats = PLENTY if unlimited else 5
    ring, seen, depth = [start], {tuple(start.values())}, 0
    while ring:
        if any(_satisfied(problem, state) for state in ring):
            return depth + (isinstance(problem.goal, SkillGoal) and problem.goal.include)
        following = []
        for state in ring:
            for name, operator in problem.operators.items():
                for n in range(1, 1 + (repeats if operator.scales else 1)):
                    try:
                        after = facts_after(PlanStep(name, n), state, problem.operators, problem.vocabulary)
                    except PlanDisproved:
                        continue
                    after.update((fact, min(after[fact], PLENTY)) for fact in unlimited)
                    if tuple(after.values()) not in seen:
                        seen.add(tuple(after.values()))
                        following.append(after)
        ring, depth = following, depth + 1
    return None


def _satisfied(problem: Problem, state: Mapping[str, int]) -> bool:
    goal = problem.goal
    if isinstance(goal, FactGoal):
        return all(
            _holds(problem.vocabulary[name], state[name], wanted) for name, wanted in goal.facts.items()
        )
    try:
        after = facts_after(PlanStep(goal.skill, goal.n), state, problem.operators, problem.vocabulary)
    except PlanDisproved:
        return False
    return not _all_overflows(problem, goal, after)


def _all_overflows(problem: Problem, goal: SkillGoal, after: Mapping[str, int]) -> bool:
    """Whether none of the amounts that the goal's skill gains could hold what n repeats give."""
    amounts = [
        (after[name], count.at(goal.n))
        for name, count in problem.operators[goal.skill].gains.items()
        if isinstance(count, Linear) and problem.vocabulary[name].kind is FactKind.COUNT
    ]
    return bool(amounts) and all(held < gain for held, gain in amounts)


def _holds(fact: Fact, value: int, wanted: int | tuple[int, ...]) -> bool:
    if isinstance(wanted, tuple):
        return value in wanted
    return value == wanted if fact.kind is FactKind.PLACE else value >= wanted


def random_game(rng: random.Random, skills: int, capacity: int | None = 9, floors: int = 2) -> Problem:
    """A game in which every skill can be had: each builds on what the skills before it give.

    Materials are gathered with tools, stations are built and lapse, tools and products are made at stations,
    some things lie on another floor. The goal is to run the last skill, from an empty bag.
    """
    facts = {"floor": Fact("floor", FactKind.PLACE), "stat:tool": Fact("stat:tool", FactKind.TIER)}
    operators: dict[str, dict[str, Any]] = {}
    materials: list[str] = []
    stations: list[str] = []
    tool = 0

    def some(kind: list[str], most: int) -> list[str]:
        return rng.sample(kind, min(len(kind), rng.randint(1, most)))

    for i in range(skills):
        where = {"floor": rng.randrange(min(floors, 1 + i // 6))} if floors > 1 and rng.random() < 0.3 else {}
        what = rng.choice(("gather", "gather", "station", "tool", "product", "product", "travel"))
        costs = {name: rng.choice((1, 1, 2)) for name in some(materials, 3)} if materials else {}
        near = dict.fromkeys(some(stations, 1) if stations and rng.random() < 0.6 else [], 1)
        if what == "gather" or not materials:
            name = f"inventory:material_{i}"
            facts[name] = Fact(name, FactKind.COUNT, capacity)
            needs = {"stat:tool": rng.randint(1, tool)} if tool and rng.random() < 0.7 else {}
            operators[f"gather_{i}"] = {"requires": {**needs, **where}, "gains": {name: "n"}}
            materials.append(name)
        elif what == "station":
            name = f"near:station_{i}"
            facts[name] = Fact(name, FactKind.REACH)
            operators[f"build_{i}"] = {"requires": near, "consumes": costs, "gains": {name: 1}}
            stations.append(name)
        elif what == "tool":
            tool += 1
            operators[f"tool_{i}"] = {"requires": near, "consumes": costs, "gains": {"stat:tool": tool}}
        elif what == "product":
            name = f"inventory:product_{i}"
            facts[name] = Fact(name, FactKind.COUNT, capacity)
            scaled = {cost: f"{count}*n" for cost, count in costs.items()}
            operators[f"make_{i}"] = {"requires": near, "consumes": scaled, "gains": {name: "n"}}
            if rng.random() < 0.5:
                materials.append(name)
        else:
            target = rng.randrange(floors)
            operators[f"travel_{i}"] = {
                "requires": {"floor": list(range(floors))},
                "gains": {"floor": target},
            }
    for target in range(floors):
        operators[f"go_to_floor_{target}"] = {"gains": {"floor": target}}
    vocabulary = Vocabulary(facts.values())
    parsed = {name: parse_operator(data, vocabulary) for name, data in operators.items()}
    return Problem({}, parsed, SkillGoal(list(parsed)[skills - 1], include=True), vocabulary)
