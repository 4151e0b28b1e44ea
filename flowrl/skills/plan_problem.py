"""A planning problem compiled for search: facts become positions in a tuple, operators become actions.

Only what can matter for the goal is kept (see :func:`_relevant`), so that sixty operators search like the
dozen that count.

How often a skill is worth repeating is not guessed. Where a capacity or what it uses up limits n, that is the
limit; where nothing does, the skill runs *endlessly*: what grows with n is :data:`ENDLESS` from then on, and
that is at least as good as any number. ``plan_shorten`` puts the least numbers that do in their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import FactGoal, Goal, SkillGoal

ENDLESS = math.inf
"""As much as anyone could ask for, of a fact without a capacity; and the n that leads to it. Using some up
leaves as much. Every other value and n is an int, however large."""

State = tuple[float, ...]
"""The value of every fact of a problem, in the order of :attr:`Problem.names`: ints, or ENDLESS."""


@dataclass(frozen=True)
class Amount:
    """``slope * n + offset`` of the fact at ``fact``; as a gain, up to ``capacity`` (None: no limit)."""

    fact: int
    slope: int
    offset: int
    capacity: int | None = None

    def at(self, n: float) -> float:
        """The amount for ``n`` repeats."""
        if not self.slope:
            return self.offset
        return ENDLESS if n == ENDLESS else self.slope * n + self.offset

    def least_for(self, amount: float) -> float:
        """The least n, from 1, for at least ``amount``, which is not ENDLESS; ENDLESS when no n is enough."""
        if self.at(1) >= amount:
            return 1
        return -((self.offset - amount) // self.slope) if self.slope > 0 else ENDLESS

    def most_for(self, amount: float) -> float:
        """The largest n for no more than ``amount``: 0 when none is, ENDLESS when all are."""
        if amount == ENDLESS:
            return ENDLESS
        if self.slope > 0:
            return max(0, (amount - self.offset) // self.slope)
        return ENDLESS if self.offset <= amount else 0


def _sum(one: float, other: float) -> float:
    # An int beyond 1e308 cannot be added to ENDLESS, which is a float.
    return ENDLESS if ENDLESS in (one, other) else one + other


@dataclass(frozen=True)
class Action:
    """One operator, or the goal written as one that gains nothing.

    Attributes:
        name: the skill.
        least: the least n: 1, or what the goal asks for.
        most: the largest n that can ever be of use; ENDLESS when neither a capacity nor a need limits it.
        at_least: requirements on everything but places.
        within: per PLACE fact the allowed values.
        consumes: what is used up.
        adds: COUNT and VITAL gains, up to their capacity.
        raises: TIER and FLAG gains.
        moves: PLACE gains, as (fact, value).
        lapses: REACH facts that no longer hold after it.
        reaches: REACH facts that it gains.
    """

    name: str
    least: int
    most: float
    at_least: tuple[Amount, ...] = ()
    within: tuple[tuple[int, frozenset[int]], ...] = ()
    consumes: tuple[Amount, ...] = ()
    adds: tuple[Amount, ...] = ()
    raises: tuple[Amount, ...] = ()
    moves: tuple[tuple[int, int], ...] = ()
    lapses: tuple[int, ...] = ()
    reaches: tuple[int, ...] = ()

    def affordable(self, state: State, n: float) -> bool:
        """Whether all that it requires and consumes is there. Once false, false for every larger n."""
        for fact, values in self.within:
            if state[fact] not in values:
                return False
        for need in self.at_least:
            if state[need.fact] < need.at(n):
                return False
        return all(state[used.fact] >= used.at(n) for used in self.consumes)

    def after(self, state: State, n: float) -> State:
        """The state after running it, given that it is affordable. The more there was, the more there is."""
        values = list(state)
        for used in self.consumes:
            if values[used.fact] != ENDLESS:
                values[used.fact] -= used.at(n)
        for gain in self.adds:
            more = _sum(values[gain.fact], gain.at(n))
            values[gain.fact] = more if gain.capacity is None else min(more, gain.capacity)
        for gain in self.raises:
            values[gain.fact] = max(values[gain.fact], gain.at(n))
        for fact, value in self.moves:
            values[fact] = value
        for fact in self.lapses:
            values[fact] = 0
        for fact in self.reaches:
            values[fact] = 1
        return tuple(values)

    def most_in(self, state: State) -> float:
        """The largest n that is possible in ``state``, like all below it from :attr:`least`; 0 when none is.

        It is ENDLESS only when nothing limits n, there or anywhere. Repeating endlessly then leads to as much
        of everything as any number of repeats, or more.
        """
        if not self.affordable(state, self.least):
            return 0
        return min([self.most, *(a.most_for(state[a.fact]) for a in (*self.at_least, *self.consumes))])

    def gains(self) -> Iterator[Amount]:
        """All gains but moves, as amounts."""
        yield from self.adds
        yield from self.raises
        for fact in self.reaches:
            yield Amount(fact, 0, 1, 1)


@dataclass(frozen=True)
class Problem:
    """What the search works on.

    Attributes:
        names: the relevant facts.
        kinds: their kinds.
        capacities: their capacities; None for no limit.
        start: the state at the start.
        actions: the relevant skills, in the order in which they were given.
        goal: what must be affordable in the last state; its least and most n are the goal's.
        last: the skill and n to put at the end of a plan, when the goal includes running it.
    """

    names: tuple[str, ...]
    kinds: tuple[FactKind, ...]
    capacities: tuple[int | None, ...]
    start: State
    actions: tuple[Action, ...]
    goal: Action
    last: tuple[str, int] | None

    def reached(self, state: State) -> bool:
        """Whether ``state`` satisfies the goal."""
        return self.goal.affordable(state, self.goal.least)


def compile_problem(
    facts: Mapping[str, int], operators: Mapping[str, Operator], goal: Goal, vocabulary: Vocabulary
) -> Problem:
    """Compiles checked input: names are known and values in range (see ``plan_input``)."""
    if isinstance(goal, SkillGoal):
        target, n, target_name = operators[goal.skill], goal.n, goal.skill
    else:
        target, n, target_name = _as_operator(goal, vocabulary), 1, ""
    kept, names = _relevant(operators, target)
    place = {name: index for index, name in enumerate(names)}
    actions = []
    for name in kept:
        most = _largest_repeat(operators[name], vocabulary)
        if most:
            actions.append(_compile(name, operators[name], 1, most, place, vocabulary))
    return Problem(
        names=names,
        kinds=tuple(vocabulary[name].kind for name in names),
        capacities=tuple(vocabulary[name].capacity for name in names),
        start=tuple(facts.get(name, 0) for name in names),
        actions=tuple(actions),
        goal=_compile(target_name, target, n, n, place, vocabulary),
        last=(goal.skill, goal.n) if isinstance(goal, SkillGoal) and goal.include else None,
    )


def _as_operator(goal: FactGoal, vocabulary: Vocabulary) -> Operator:
    """Fact requirements as an operator that gains nothing."""
    requires: dict[str, Count] = {}
    for name, wanted in goal.facts.items():
        if isinstance(wanted, tuple):
            requires[name] = wanted
        else:
            requires[name] = (wanted,) if vocabulary[name].kind is FactKind.PLACE else Linear(0, wanted)
    return Operator(requires, {}, {})


def _relevant(operators: Mapping[str, Operator], target: Operator) -> tuple[list[str], tuple[str, ...]]:
    """The skills that a plan without detours can use, and the facts that their use depends on.

    A fact is wanted when the goal or a kept skill requires or consumes it, a skill is kept when it gains
    something wanted. Leaving any other step out of a plan leaves a plan.
    """
    wanted = dict.fromkeys([*target.requires, *target.consumes])
    kept: set[str] = set()
    growing = True
    while growing:
        growing = False
        for name, operator in operators.items():
            if name not in kept and any(gain in wanted for gain in operator.gains):
                kept.add(name)
                wanted.update(dict.fromkeys([*operator.requires, *operator.consumes]))
                growing = True
    return [name for name in operators if name in kept], tuple(wanted)


def _largest_repeat(operator: Operator, vocabulary: Vocabulary) -> float:
    """The largest n that can be of use: 1 when nothing scales, 0 when the skill can never run.

    Capacities bound what it needs, and a level that it reaches. Of an amount no more is of use than fills it.
    """
    possible: float = ENDLESS if operator.scales else 1
    useful: float = 1
    for name, gain in operator.gains.items():
        kind, capacity = vocabulary[name].kind, vocabulary[name].capacity
        if not isinstance(gain, Linear):
            continue
        amount = Amount(0, gain.slope, gain.offset)
        if capacity is not None and kind is FactKind.TIER:
            possible = min(possible, amount.most_for(capacity))
        if gain.slope:
            adds_up_to = None if kind is FactKind.TIER else capacity
            useful = max(useful, ENDLESS if adds_up_to is None else amount.least_for(adds_up_to))
    for name, need in (*operator.requires.items(), *operator.consumes.items()):
        capacity = vocabulary[name].capacity
        if isinstance(need, Linear) and need.slope and capacity is not None:
            possible = min(possible, Amount(0, need.slope, need.offset).most_for(capacity))
    return min(possible, useful)


def _compile(
    name: str, operator: Operator, least: int, most: float, place: Mapping[str, int], vocabulary: Vocabulary
) -> Action:
    at_least: list[Amount] = []
    within: list[tuple[int, frozenset[int]]] = []
    for fact, count in operator.requires.items():
        if isinstance(count, Linear):
            at_least.append(Amount(place[fact], count.slope, count.offset))
        else:
            within.append((place[fact], frozenset(count)))
    gains: dict[FactKind, list[Amount]] = {kind: [] for kind in FactKind}
    moves: list[tuple[int, int]] = []
    moved = False
    for fact, count in operator.gains.items():
        kind, capacity = vocabulary[fact].kind, vocabulary[fact].capacity
        moved = moved or kind is FactKind.PLACE
        if fact not in place:
            continue
        if isinstance(count, Linear):
            gains[kind].append(Amount(place[fact], count.slope, count.offset, capacity))
        else:
            moves.append((place[fact], count[0]))
    reaches = tuple(gain.fact for gain in gains[FactKind.REACH])
    lapses = tuple(
        index
        for fact, index in place.items()
        if vocabulary[fact].kind is FactKind.REACH
        and index not in reaches
        and (moved or fact not in operator.requires)
    )
    return Action(
        name=name,
        least=least,
        most=most,
        at_least=tuple(at_least),
        within=tuple(within),
        consumes=tuple(Amount(place[f], used.slope, used.offset) for f, used in operator.consumes.items()),
        adds=tuple(gains[FactKind.COUNT] + gains[FactKind.VITAL]),
        raises=tuple(gains[FactKind.TIER] + gains[FactKind.FLAG]),
        moves=tuple(moves),
        lapses=lapses,
        reaches=reaches,
    )
