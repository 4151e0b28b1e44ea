"""What cannot be planned with is refused before any search."""

from __future__ import annotations

from collections.abc import Mapping

from flowrl.errors import UserError, nearest
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import FactGoal, Goal, Impossible, SkillGoal


def check_input(
    facts: Mapping[str, int], operators: Mapping[str, Operator], goal: Goal, vocabulary: Vocabulary
) -> None:
    """Refuses what cannot be planned with.

    Raises:
        UserError: names the value, what was expected and the nearest valid choice.
        Impossible: the goal alone is beyond a capacity.
    """
    for name, value in facts.items():
        _check_fact(name, "the facts at the start name", vocabulary)
        capacity = vocabulary[name].capacity
        if value < 0 or (capacity is not None and value > capacity):
            limit = "" if capacity is None else f" and at most its capacity, {capacity}"
            raise UserError(f"{name!r} is {value} at the start; it must be at least 0{limit}.")
        kind = vocabulary[name].kind
        if kind in (FactKind.FLAG, FactKind.REACH) and value > 1:
            raise UserError(f"{name!r} is {value} at the start; a {kind} fact is true or not: write 0 or 1.")
    for skill, operator in operators.items():
        for name in (*operator.requires, *operator.consumes, *operator.gains):
            _check_fact(name, f"the operator of {skill!r} names", vocabulary)
    if isinstance(goal, SkillGoal):
        _check_skill_goal(goal, operators, vocabulary)
    else:
        _check_fact_goal(goal, operators, vocabulary)


def _check_fact(name: str, who: str, vocabulary: Vocabulary) -> None:
    if name not in vocabulary:
        raise UserError(f"{who} the unknown fact {name!r}. {nearest(name, vocabulary)}")


def _check_skill_goal(goal: SkillGoal, operators: Mapping[str, Operator], vocabulary: Vocabulary) -> None:
    if goal.skill not in operators:
        raise UserError(f"unknown skill {goal.skill!r}. {nearest(goal.skill, operators)}")
    operator = operators[goal.skill]
    if goal.n < 1 or (goal.n > 1 and not operator.scales):
        expected = "at least 1" if operator.scales else "1, as nothing that it gains grows with n"
        raise UserError(f"n = {goal.n} for {goal.skill!r}: it must be {expected}.")
    levels = _of_kind(FactKind.TIER, operator.gains, vocabulary)
    for name, count in (*levels, *operator.requires.items(), *operator.consumes.items()):
        if isinstance(count, Linear):
            _check_room(name, count.at(goal.n), goal.skill, operators, vocabulary)
    # A side product may overflow. When everything does, n repeats cannot be seen.
    amounts = _of_kind(FactKind.COUNT, operator.gains, vocabulary)
    if all(_beyond(name, count.at(goal.n), vocabulary) for name, count in amounts):
        for name, count in amounts:
            _check_room(name, count.at(goal.n), goal.skill, operators, vocabulary)


def _of_kind(kind: FactKind, gains: Mapping[str, Count], vocabulary: Vocabulary) -> list[tuple[str, Linear]]:
    return [
        (name, count)
        for name, count in gains.items()
        if isinstance(count, Linear) and vocabulary[name].kind is kind
    ]


def _check_fact_goal(goal: FactGoal, operators: Mapping[str, Operator], vocabulary: Vocabulary) -> None:
    for name, wanted in goal.facts.items():
        _check_fact(name, "the goal names", vocabulary)
        kind = vocabulary[name].kind
        if kind is FactKind.PLACE:
            if isinstance(wanted, tuple) and not wanted:
                raise UserError(f"the goal allows no value of {name!r}. Give at least one.")
        elif isinstance(wanted, tuple):
            raise UserError(
                f"the goal gives {name!r}, a {kind} fact, the values {wanted!r}. Give one number."
            )
        elif wanted < 0 or (kind in (FactKind.FLAG, FactKind.REACH) and wanted != 1):
            expected = "1" if kind in (FactKind.FLAG, FactKind.REACH) else "at least 0"
            raise UserError(f"the goal asks for {wanted} of {name!r}, a {kind} fact. It must be {expected}.")
        else:
            _check_room(name, wanted, "", operators, vocabulary)


def _beyond(name: str, amount: int, vocabulary: Vocabulary) -> bool:
    capacity = vocabulary[name].capacity
    return capacity is not None and amount > capacity


def _check_room(
    name: str, amount: int, skill: str, operators: Mapping[str, Operator], vocabulary: Vocabulary
) -> None:
    if _beyond(name, amount, vocabulary):
        providers = tuple(other for other, operator in operators.items() if name in operator.gains)
        wanting = f"{skill!r} with this n needs or gains" if skill else "the goal is"
        limit = vocabulary[name].capacity
        raise Impossible(
            name, providers, f"Impossible: {wanting} {amount} of {name!r}, beyond its capacity of {limit}."
        )
