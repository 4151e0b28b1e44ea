"""Says why there is no plan: follows what is missing from the goal down to a fact that cannot be had.

The states that are given as evidence are all that matter: the optimistic ones of ``plan_reach`` or all
that an exhausted search saw. A requirement that holds in none of them is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flowrl.skills.facts import FactKind
from flowrl.skills.plan import Impossible
from flowrl.skills.plan_problem import Action, Problem, State

_DEEPEST = 200
"""Requirements followed downwards at most; a chain of skills is rarely longer than a dozen."""


@dataclass(frozen=True)
class _Need:
    """One requirement: at least ``amount`` of a fact, or, for a place, one of ``values``."""

    fact: int
    amount: float
    values: frozenset[int] | None = None

    def holds(self, state: State) -> bool:
        if self.values is not None:
            return state[self.fact] in self.values
        return state[self.fact] >= self.amount

    def waits_for(self, other: _Need) -> bool:
        """Whether it comes no sooner than ``other``: the same place, or any amount of the same fact."""
        return (self.fact, self.values) == (other.fact, other.values)


class Explainer:
    """Explains one problem.

    Args:
        problem: as compiled, with the actions that are not possible too.
        states: the evidence.
        possible: names of the skills that can run, when ``states`` are optimistic ones; left out, those that
            run in one of the states.
        ruled_out_by: a fact that runs out, for which the search did not go on from some of the states.
        short_of: a fact that runs out, more of which alone would make a plan possible.
    """

    def __init__(
        self,
        problem: Problem,
        states: Sequence[State],
        *,
        possible: Collection[str] | None = None,
        ruled_out_by: int | None = None,
        short_of: int | None = None,
    ) -> None:
        self._problem = problem
        self._states = states
        self._possible = possible
        self._ruled_out_by = ruled_out_by
        self._short_of = short_of
        self._ever_held: dict[_Need, bool] = {}
        self._only_cycles: dict[_Need, Impossible] = {}

    def explain(self) -> Impossible:
        """The reason, with the fact at the root of it."""
        if self._short_of is not None:
            return self._runs_out(self._short_of)
        if self._ruled_out_by is not None and len(self._states) == 1:
            return self._runs_out(self._ruled_out_by)
        return self._cause(self._problem.goal, (), ()) or self._kept_apart(self._problem.goal, ())

    def _runs_out(self, fact: int) -> Impossible:
        """More of a fact is used up than there is, and nothing gains it."""
        name, there = self._problem.names[fact], self._problem.start[fact]
        if there and self._problem.kinds[fact] is FactKind.COUNT:
            return self._impossible(
                fact, f"more than the {there} of {name!r} is needed, and no skill gains it", ()
            )
        return self._impossible(fact, f"{name!r} is needed, and no skill gains it", ())

    def _cause(
        self, action: Action, waiting: tuple[Action, ...], above: tuple[_Need, ...]
    ) -> Impossible | None:
        """Why ``action`` cannot run; None when each of its requirements can be met by itself.

        ``waiting`` are the skills that wait for it and ``above`` what they wait for, from the goal down. A
        cycle is the reason only when nothing but cycles is found.
        """
        chain = (*waiting, action)
        cycle: Impossible | None = None
        for need in self._unmet(action):
            if any(need.waits_for(other) for other in above):
                cycle = cycle or self._cyclic(need, chain, above)
                continue
            providers = self._providers(need)
            if not providers or len(above) >= _DEEPEST:
                return self._nobody(need, chain)
            if need not in self._only_cycles:
                reason = self._unhelped(need, providers, chain, above)
                if not reason.cycle:
                    return reason
                self._only_cycles[need] = reason
            cycle = cycle or self._only_cycles[need]
        return cycle

    def _unhelped(
        self, need: _Need, providers: list[Action], chain: tuple[Action, ...], above: tuple[_Need, ...]
    ) -> Impossible:
        """Why none of its providers can meet a need."""
        cycle: Impossible | None = None
        for provider in providers:
            if self._runs(provider):
                continue
            reason = self._cause(provider, chain, (*above, need)) or self._kept_apart(provider, chain)
            if not reason.cycle:
                return reason
            cycle = cycle or reason
        return cycle or self._too_little(need, providers, chain)

    def _nobody(self, need: _Need, chain: tuple[Action, ...]) -> Impossible:
        why = f"no skill gains {self._wording(need)}"
        gainers = ", ".join(a.name for a in self._problem.actions if self._touches(a, need.fact))
        if gainers:
            why += f" ({gainers}: {'not as much' if need.values is None else 'elsewhere'})"
        return self._impossible(need.fact, why, chain)

    def _too_little(self, need: _Need, providers: list[Action], chain: tuple[Action, ...]) -> Impossible:
        if self._ruled_out_by is not None:
            return self._runs_out(self._ruled_out_by)
        names = ", ".join(action.name for action in providers)
        return self._impossible(need.fact, f"{self._wording(need)} is more than {names} can ever give", chain)

    def _cyclic(self, need: _Need, chain: tuple[Action, ...], above: tuple[_Need, ...]) -> Impossible:
        # chain[0] is the goal, which waits for above[0] from chain[1], and so on.
        first_wait = next(at for at, other in enumerate(above) if need.waits_for(other))
        ring = chain[first_wait + 1 :]
        names = self._problem.names
        parts = [
            f"{action.name} needs {self._wording(other) if other.values else repr(names[other.fact])}"
            for action, other in zip(ring, (*above[first_wait + 1 :], need), strict=True)
        ]
        first = ring[0].name
        sentence = f"a cycle: {', '.join(parts)}, which {first} would have to give first"
        return self._impossible(need.fact, sentence, chain[: first_wait + 1], tuple(a.name for a in ring))

    def _kept_apart(self, action: Action, waiting: tuple[Action, ...]) -> Impossible:
        """All that it needs can be had, but never together."""
        chain = (*waiting, action)
        needs = self._needs(action)
        nearest = max(self._states, key=lambda state: sum(need.holds(state) for need in needs))
        unmet = [need for need in needs if not need.holds(nearest)]
        # What nobody can provide is the scarce thing.
        scarce = min(unmet, key=lambda need: len(self._providers(need)))
        moving = (FactKind.REACH, FactKind.PLACE)
        others = [need for need in needs if need != scarce]
        if self._possible is not None:  # by optimistic states: only where the agent is keeps things apart
            others = [need for need in others if self._problem.kinds[need.fact] in moving]
        together = " and ".join(self._wording(need) for need in others)
        why = f"{self._wording(scarce)} can be had, but never together with {together}"
        if self._problem.kinds[scarce.fact] is FactKind.REACH:
            why += ": what is within reach lapses at the next skill that does not require it"
        elif not self._providers(scarce):
            why += ": it is used up, and no skill gains it"
        return self._impossible(scarce.fact, why, chain)

    def _impossible(
        self, fact: int, why: str, chain: tuple[Action, ...], cycle: tuple[str, ...] = ()
    ) -> Impossible:
        names = [action.name for action in chain if action.name]
        wanted_for = f" It is wanted for {', for '.join(reversed(names))}." if names else ""
        providers = tuple(a.name for a in self._problem.actions if self._touches(a, fact))
        return Impossible(self._problem.names[fact], providers, f"Impossible: {why}.{wanted_for}", cycle)

    def _needs(self, action: Action) -> list[_Need]:
        n = action.least
        amounts: dict[int, float] = {}
        for need in (*action.at_least, *action.consumes):
            amounts[need.fact] = max(amounts.get(need.fact, 0), need.at(n))
        places = [_Need(fact, 0, values) for fact, values in action.within]
        return [*places, *(_Need(fact, amount) for fact, amount in amounts.items())]

    def _unmet(self, action: Action) -> list[_Need]:
        unmet = [need for need in self._needs(action) if not self._ever(need)]
        # What nobody provides explains most, so it comes first.
        return sorted(unmet, key=lambda need: bool(self._providers(need)))

    def _ever(self, need: _Need) -> bool:
        if need not in self._ever_held:
            self._ever_held[need] = any(need.holds(state) for state in self._states)
        return self._ever_held[need]

    def _runs(self, action: Action) -> bool:
        if self._possible is not None:
            return action.name in self._possible
        return any(action.affordable(state, action.least) for state in self._states)

    def _providers(self, need: _Need) -> list[Action]:
        return [action for action in self._problem.actions if self._provides(action, need)]

    def _provides(self, action: Action, need: _Need) -> bool:
        if need.values is not None:
            return any(fact == need.fact and value in need.values for fact, value in action.moves)
        gain = next((gain for gain in action.gains() if gain.fact == need.fact), None)
        if gain is None:
            return False
        if self._problem.kinds[need.fact] is FactKind.TIER:
            return gain.at(action.most) >= need.amount
        return gain.capacity is None or gain.capacity >= need.amount

    @staticmethod
    def _touches(action: Action, fact: int) -> bool:
        return any(moved == fact for moved, _ in action.moves) or any(g.fact == fact for g in action.gains())

    def _wording(self, need: _Need) -> str:
        name = repr(self._problem.names[need.fact])
        if need.values is not None:
            return f"{name} = {' or '.join(map(str, sorted(need.values)))}"
        kind = self._problem.kinds[need.fact]
        if kind in (FactKind.FLAG, FactKind.REACH) or need.amount == 1:
            return name
        return f"{name} {'level' if kind is FactKind.TIER else 'x'} {need.amount}"
