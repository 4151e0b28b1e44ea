"""A planning problem compiled for search: facts become positions in a tuple, operators become actions.

Only what can matter for the goal is kept (see :func:`_relevant`), so that sixty operators search like the
dozen that count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.plan import FactGoal, Goal, SkillGoal

State = tuple[int, ...]
"""The value of every fact of a problem, in the order of :attr:`Problem.names`."""

LARGEST_FREE_REPEAT = 99
"""The largest n tried for a skill when no capacity bounds it and the goal asks for no more than that."""


@dataclass(frozen=True)
class Amount:
    """``slope * n + offset`` of the fact at ``fact``; as a gain, up to ``capacity`` (None: no limit)."""

    fact: int
    slope: int
    offset: int
    capacity: int | None = None

    def at(self, n: int) -> int:
        """The amount for ``n`` repeats."""
        return self.slope * n + self.offset


@dataclass(frozen=True)
class Action:
    """One operator, or the goal written as one that gains nothing.

    Attributes:
        name: the skill.
        repeats: the values of n that can ever be used, from least to largest.
        at_least: requirements on everything but places.
        within: per PLACE fact the allowed values.
        consumes: what is used up.
        adds: COUNT gains, refused beyond their capacity.
        fills: VITAL gains, which saturate.
        raises: TIER and FLAG gains.
        moves: PLACE gains, as (fact, value).
        lapses: REACH facts that no longer hold after it.
        reaches: REACH facts that it gains.
    """

    name: str
    repeats: range
    at_least: tuple[Amount, ...] = ()
    within: tuple[tuple[int, frozenset[int]], ...] = ()
    consumes: tuple[Amount, ...] = ()
    adds: tuple[Amount, ...] = ()
    fills: tuple[Amount, ...] = ()
    raises: tuple[Amount, ...] = ()
    moves: tuple[tuple[int, int], ...] = ()
    lapses: tuple[int, ...] = ()
    reaches: tuple[int, ...] = ()

    def affordable(self, state: State, n: int) -> bool:
        """Whether all that it requires and consumes is there. Once false, false for every larger n."""
        for fact, values in self.within:
            if state[fact] not in values:
                return False
        for need in self.at_least:
            if state[need.fact] < need.slope * n + need.offset:
                return False
        return all(state[used.fact] >= used.slope * n + used.offset for used in self.consumes)

    def after(self, state: State, n: int) -> State | None:
        """The state after running it, given that it is affordable; None when the bag has no room."""
        values = list(state)
        for used in self.consumes:
            values[used.fact] -= used.slope * n + used.offset
        for gain in self.adds:
            values[gain.fact] += gain.slope * n + gain.offset
            if gain.capacity is not None and values[gain.fact] > gain.capacity:
                return None
        for gain in self.fills:
            filled = values[gain.fact] + gain.at(n)
            values[gain.fact] = filled if gain.capacity is None else min(filled, gain.capacity)
        for gain in self.raises:
            values[gain.fact] = max(values[gain.fact], gain.at(n))
        for fact, value in self.moves:
            values[fact] = value
        for fact in self.lapses:
            values[fact] = 0
        for fact in self.reaches:
            values[fact] = 1
        return tuple(values)

    def runs(self, state: State) -> Iterator[tuple[int, State]]:
        """Every ``(n, state after)`` that is possible in ``state``, from the least n."""
        for n in self.repeats:
            if not self.affordable(state, n):
                return
            after = self.after(state, n)
            if after is not None:
                yield n, after

    def gains(self) -> Iterator[Amount]:
        """All gains but moves, as amounts."""
        yield from self.adds
        yield from self.fills
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
        goal: what must be affordable, and have room, in the last state; its only repeat is the goal's n.
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
        n = self.goal.repeats[0]
        return self.goal.affordable(state, n) and self.goal.after(state, n) is not None


def compile_problem(
    facts: Mapping[str, int], operators: Mapping[str, Operator], goal: Goal, vocabulary: Vocabulary
) -> Problem:
    """Compiles checked input: names are known and values in range (see ``plan_input``)."""
    if isinstance(goal, SkillGoal):
        target, n, target_name = operators[goal.skill], goal.n, goal.skill
    else:
        target, n, target_name = _as_operator(goal, vocabulary), 1, ""
    kept, names = _relevant(operators, target, vocabulary)
    place = {name: index for index, name in enumerate(names)}
    demanded = max((count.at(n) for count in _amounts(target)), default=1)
    free = max(LARGEST_FREE_REPEAT, demanded)
    actions = []
    for name in kept:
        repeats = range(1, _largest_repeat(operators[name], vocabulary, free) + 1)
        if repeats:
            actions.append(_compile(name, operators[name], repeats, place, vocabulary))
    return Problem(
        names=names,
        kinds=tuple(vocabulary[name].kind for name in names),
        capacities=tuple(vocabulary[name].capacity for name in names),
        start=tuple(facts.get(name, 0) for name in names),
        actions=tuple(actions),
        goal=_compile(target_name, target, range(n, n + 1), place, vocabulary),
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


def _amounts(operator: Operator) -> list[Linear]:
    counts = [*operator.requires.values(), *operator.consumes.values()]
    return [count for count in counts if isinstance(count, Linear)]


def _relevant(
    operators: Mapping[str, Operator], target: Operator, vocabulary: Vocabulary
) -> tuple[list[str], tuple[str, ...]]:
    """The skills that a plan without detours can use, and the facts that their use depends on.

    A fact is wanted when the goal or a kept skill requires or consumes it. It is in the way when it takes
    up room: a COUNT fact with a capacity that the goal or a kept skill gains. A skill is kept when it gains
    something wanted or uses up something in the way. Leaving any other step out of a plan leaves a plan.
    """
    wanted: dict[str, None] = {}
    in_the_way: dict[str, None] = {}

    def note(operator: Operator) -> None:
        wanted.update(dict.fromkeys([*operator.requires, *operator.consumes]))
        for name in operator.gains:
            fact = vocabulary[name]
            if fact.kind is FactKind.COUNT and fact.capacity is not None:
                in_the_way[name] = None

    note(target)
    kept: set[str] = set()
    growing = True
    while growing:
        growing = False
        for name, operator in operators.items():
            useful = any(gain in wanted for gain in operator.gains)
            if name not in kept and (useful or any(used in in_the_way for used in operator.consumes)):
                kept.add(name)
                note(operator)
                growing = True
    return [name for name in operators if name in kept], tuple(dict.fromkeys([*wanted, *in_the_way]))


def _largest_repeat(operator: Operator, vocabulary: Vocabulary, free: int) -> int:
    """The largest n that can be of use: 1 when nothing scales, 0 when the skill can never run.

    Capacities bound COUNT and TIER gains, and growing consumption. A skill whose only growing gains are VITAL
    needs no more than fills them. ``free`` bounds the rest.
    """
    bounds: list[int] = []
    fills_at: list[int] = []
    for name, gain in operator.gains.items():
        capacity, kind = vocabulary[name].capacity, vocabulary[name].kind
        if capacity is None or not isinstance(gain, Linear):
            continue
        if kind is FactKind.VITAL:
            fills_at.append(max(1, -((gain.offset - capacity) // gain.slope)) if gain.slope else 1)
        elif gain.slope:
            bounds.append((capacity - gain.offset) // gain.slope)
        elif gain.offset > capacity:
            return 0
    if not operator.scales:
        return 1
    for name, used in operator.consumes.items():
        capacity = vocabulary[name].capacity
        if used.slope and capacity is not None:
            bounds.append((capacity - used.offset) // used.slope)
    if bounds:
        return max(0, min(bounds))
    grows_without_end = any(
        isinstance(gain, Linear) and gain.slope and vocabulary[name].capacity is None
        for name, gain in operator.gains.items()
    )
    # Using up more can be of use too: it makes room in the bag.
    if grows_without_end or any(used.slope for used in operator.consumes.values()):
        return free
    return max(fills_at)


def _compile(
    name: str, operator: Operator, repeats: range, place: Mapping[str, int], vocabulary: Vocabulary
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
        repeats=repeats,
        at_least=tuple(at_least),
        within=tuple(within),
        consumes=tuple(Amount(place[f], used.slope, used.offset) for f, used in operator.consumes.items()),
        adds=tuple(gains[FactKind.COUNT]),
        fills=tuple(gains[FactKind.VITAL]),
        raises=tuple(gains[FactKind.TIER] + gains[FactKind.FLAG]),
        moves=tuple(moves),
        lapses=lapses,
        reaches=reaches,
    )
