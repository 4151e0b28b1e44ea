"""How many steps are still missing: works out, from the goal backwards, which skills must run how often.

Demand is passed on like a bill of materials: what the goal lacks, what the skills that give it consume,
and so on down to what can be had from nothing. Order, and that things within reach lapse again, is left
out. What is demanded is always a number: who has ENDLESS of a fact lacks none of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flowrl.skills.facts import FactKind
from flowrl.skills.plan_problem import ENDLESS, Action, Amount, Problem, State

_VISITS_PER_FACT = 6
"""How often one fact's demand may grow before the estimate is cut short (skills may feed each other)."""


@dataclass
class Estimate:
    """What is still missing in a state.

    Attributes:
        steps: how many steps at least (when optimistic), or about.
        runs: the actions concerned, with the repeats wanted of each in all; never ENDLESS.
        lacking: a fact of which more is needed than is there, and which nothing gains; None when there is
            none. When optimistic, that proves that the goal is out of reach from here.
    """

    steps: int = 0
    runs: dict[int, float] = field(default_factory=dict)
    lacking: int | None = None


class Estimator:
    """Estimates for the states of one problem.

    Args:
        problem: with only those actions that are possible at all.
        waves: per action, how early it is possible; an earlier provider is preferred.
    """

    def __init__(self, problem: Problem, waves: Iterable[int]) -> None:
        self.problem = problem
        self.wave = tuple(waves)
        self._providers: dict[tuple[int, object], tuple[int, ...]] = {}
        self._gains = tuple({gain.fact: gain for gain in action.gains()} for action in problem.actions)

    def providers(self, fact: int, wanted: float | frozenset[int]) -> tuple[int, ...]:
        """The actions that can give a fact: add to an amount, reach a level, or move to one of the values."""
        if (fact, wanted) not in self._providers:
            found = [
                i for i, action in enumerate(self.problem.actions) if self._gives(i, action, fact, wanted)
            ]
            found.sort(key=lambda i: (self.wave[i], i))
            self._providers[fact, wanted] = tuple(found)
        return self._providers[fact, wanted]

    def _gives(self, index: int, action: Action, fact: int, wanted: float | frozenset[int]) -> bool:
        if isinstance(wanted, frozenset):
            return any(moved == fact and value in wanted for moved, value in action.moves)
        gain = self._gains[index].get(fact)
        if gain is None:
            return False
        adds_up = self.problem.kinds[fact] in (FactKind.COUNT, FactKind.VITAL)
        return adds_up or gain.at(action.most) >= wanted

    def estimate(self, state: State, *, optimistic: bool) -> Estimate:
        """Estimates from ``state``.

        With ``optimistic`` the steps are a lower bound: where several skills could provide something, as many
        steps are counted as the one that gives most at once would take, and what they need is not. Otherwise
        the earliest provider is taken.
        """
        return _Demand(self, state, optimistic).total()

    def gain_of(self, action: int, fact: int) -> Amount:
        """How an action adds to a fact that it provides."""
        return self._gains[action][fact]


class _Demand:
    """The demand that is being passed on, for one state."""

    def __init__(self, estimator: Estimator, state: State, optimistic: bool) -> None:
        self.estimator = estimator
        self.actions = estimator.problem.actions
        self.kinds = estimator.problem.kinds
        self.state = state
        self.optimistic = optimistic
        self.level: dict[int, float] = {}
        self.used: dict[int, float] = {}
        self.runs: dict[int, tuple[int, float]] = {}
        self.either: dict[tuple[int, object], tuple[int, tuple[int, ...]]] = {}
        self.todo: list[int] = []
        self.one_time: list[tuple[int, float | frozenset[int], int | None]] = []
        self.visits = _VISITS_PER_FACT * (len(self.kinds) + len(self.actions) + 1)
        self.lacking: int | None = None

    def total(self) -> Estimate:
        goal = self.estimator.problem.goal
        n = goal.least
        for fact, values in goal.within:
            self._go_to(fact, values)
        ends_with = {need.fact: need.at(n) for need in goal.at_least}
        for used in goal.consumes:
            ends_with[used.fact] = max(used.at(n), ends_with.get(used.fact, 0))
        for fact, amount in ends_with.items():
            # At the end: on top of all that is used up on the way.
            self._use(fact, amount) if self.kinds[fact] is FactKind.COUNT else self._need(fact, amount)
        self._pass_on()
        if not self.optimistic:
            self._reach_again()
        return self._sum()

    def _pass_on(self) -> None:
        while (self.todo or self.one_time) and self.visits:
            self.visits -= 1
            if self.one_time:
                self._provide_in_time(*self.one_time.pop())
            else:
                self._provide(self.todo.pop())

    def _reach_again(self) -> None:
        """Adds what is within reach now and will have lapsed once the rest of a skill's needs is there."""
        settled: set[int] = set()
        while len(settled) < len(self.runs):
            index = next(index for index in self.runs if index not in settled)
            settled.add(index)
            action = self.actions[index]
            if action.affordable(self.state, 1):
                continue
            for need in action.at_least:
                if self.kinds[need.fact] is FactKind.REACH and self.state[need.fact]:
                    self._reach_for(need.fact, action)
            self._pass_on()

    def _reach_for(self, fact: int, action: Action) -> None:
        """Runs the provider of a thing within reach, if getting the rest of its needs makes that lapse."""
        for need in (*action.at_least, *action.consumes):
            if self.state[need.fact] < need.at(1):
                amount = max(self.level.get(need.fact, 0), self.used.get(need.fact, 0), need.at(1))
                providers = self.estimator.providers(need.fact, amount)
                if providers and fact in self.actions[providers[0]].lapses:
                    again = self.estimator.providers(fact, 1)
                    if again:
                        self._run(again[0], fact, 1)
                    return

    def _sum(self) -> Estimate:
        steps = sum(times for times, _ in self.runs.values())
        counted = set(self.runs)
        for times, providers in self.either.values():
            if counted.isdisjoint(providers):
                steps += times
                counted.update(providers)
        return Estimate(steps, {action: repeats for action, (_, repeats) in self.runs.items()}, self.lacking)

    def _need(self, fact: int, amount: float, before: int | None = None) -> None:
        """Asks for a level. ``before`` is the wave of the action that needs it, None for the goal."""
        if self.kinds[fact] is FactKind.TIER and not self.optimistic:
            # Each level is asked for by itself: a higher one, wanted elsewhere, may come too late.
            if amount > self.state[fact]:
                self.one_time.append((fact, amount, before))
        elif amount > self.level.get(fact, 0):
            self.level[fact] = amount
            self.todo.append(fact)

    def _use(self, fact: int, amount: float) -> None:
        if amount:
            self.used[fact] = self.used.get(fact, 0) + amount
            self.todo.append(fact)

    def _go_to(self, fact: int, values: frozenset[int]) -> None:
        if self.state[fact] not in values:
            self.one_time.append((fact, values, None))

    def _provide_in_time(self, fact: int, wanted: float | frozenset[int], before: int | None) -> None:
        """Gets to a place, or to a level by the wave ``before``, unless a planned run does."""
        providers, wave = self.estimator.providers(fact, wanted), self.estimator.wave
        if not any(index in self.runs and (before is None or wave[index] < before) for index in providers):
            lack = 1 if isinstance(wanted, frozenset) else wanted - self.state[fact]
            self._choose(fact, wanted, lack)

    def _provide(self, fact: int) -> None:
        wanted = max(self.level.get(fact, 0), self.used.get(fact, 0))
        if wanted > self.state[fact]:
            self._choose(fact, wanted, wanted - self.state[fact])

    def _choose(self, fact: int, wanted: float | frozenset[int], lack: float) -> None:
        providers = self.estimator.providers(fact, wanted)
        if not providers:
            self.lacking = fact
        elif self.optimistic and len(providers) > 1:
            least = min(self._times(index, fact, lack) for index in providers)
            self.either[fact, wanted if isinstance(wanted, frozenset) else 0] = (least, providers)
        else:
            self._run(providers[0], fact, lack)

    def _times(self, index: int, fact: int, lack: float) -> int:
        """How many runs of an action make up for the lack of one fact, at the very least."""
        if self.kinds[fact] not in (FactKind.COUNT, FactKind.VITAL):
            return 1
        at_once = self.estimator.gain_of(index, fact).at(self.actions[index].most)
        return 1 if at_once == ENDLESS else int(-(-lack // max(1, at_once)))

    def _run(self, index: int, fact: int, lack: float) -> None:
        """Makes sure that an action runs often enough to make up for the lack of one fact."""
        action = self.actions[index]
        times = self._times(index, fact, lack)
        repeats: float = times
        if self.kinds[fact] in (FactKind.COUNT, FactKind.VITAL):
            gain = self.estimator.gain_of(index, fact)
            # With an offset, several short runs may be cheaper than one long one: no lower bound then.
            if gain.slope and (gain.offset == 0 or not self.optimistic):
                repeats = max(times, -(-(lack - gain.offset * times) // gain.slope))
        elif not self.optimistic and self.kinds[fact] is FactKind.TIER:
            repeats = self.estimator.gain_of(index, fact).least_for(self.state[fact] + lack)
        before = self.runs.get(index)
        old_times, old_repeats = before or (0, 0)
        times, repeats = max(times, old_times), max(repeats, old_repeats)
        if before == (times, repeats):
            return
        self.runs[index] = (times, repeats)
        for used in action.consumes:
            charged = self._consumed(used, old_times, old_repeats) if before else 0
            self._use(used.fact, self._consumed(used, times, repeats) - charged)
        at_once = 1 if self.optimistic else min(-(-repeats // times), action.most)
        for need in action.at_least:
            self._need(need.fact, need.at(at_once), self.estimator.wave[index])
        for place, values in action.within:
            self._go_to(place, values)

    def _consumed(self, used: Amount, times: int, repeats: float) -> float:
        if used.offset < 0:  # the more runs, the less is used
            return used.slope * repeats + used.offset * (repeats if self.optimistic else times)
        return used.slope * repeats + used.offset * times
