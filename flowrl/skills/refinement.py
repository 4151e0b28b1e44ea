"""Operators corrected from what trajectories really did: pivotal trajectory analysis (SCALAR,
arXiv:2603.09036), with counts in place of a model's reading.

The order matters. The declared gains, less the overstated ones, say which episodes are successes; what these
used up says what is needed at least; then needs are raised until nothing else separates success from failure,
and lowered where nothing is lost. What else a skill gains shows where it should have started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flowrl.skills.change import Change
from flowrl.skills.facts import Vocabulary
from flowrl.skills.operator import Count, Linear, Operator
from flowrl.skills.refine_gains import with_missing, without_overstated
from flowrl.skills.refine_needs import Finding, Need, Needs, needs_of, refined_needs
from flowrl.skills.refine_uses import refined_uses
from flowrl.skills.trajectories import Trajectories

STILL_NEEDED = "was declared as used up, and not shown to be needless"
"""Why a need outlives the consumption that implied it."""


@dataclass(frozen=True)
class Refinement:
    """An operator as trajectories bear it out.

    Attributes:
        operator: corrected; the one that was given where ``changes`` is empty.
        changes: what was corrected, each with its counts.
        not_taken: what was considered or proposed and not done; their reasons say why.
    """

    operator: Operator
    changes: tuple[Change, ...]
    not_taken: tuple[Change, ...] = ()


def refine(operator: Operator, episodes: Trajectories, vocabulary: Vocabulary) -> Refinement:
    """Corrects ``operator`` where the episodes leave no doubt; elsewhere it stays as it is.

    Args:
        operator: as declared.
        episodes: of the trained skill; from where a plan leads, and from where single needs do not hold: what
            always holds can be neither shown to be needed nor to be superfluous.
        vocabulary: the kinds and capacities of all facts.

    Raises:
        ProposalRefused: stage ``refine``; the skill gains nothing that could be measured.
    """
    gains, lost = without_overstated(operator, episodes, vocabulary)
    judged = Operator(operator.requires, operator.consumes, MappingProxyType(gains))
    success = episodes.succeeded(judged, vocabulary)
    consumes, uses = refined_uses(operator, episodes.select(success), vocabulary)
    used = {name: count.at(1) for name, count in consumes.items()}
    declared = needs_of(operator)
    at_least = {name: _at_least(declared.get(name), used.get(name, 0)) for name in {**declared, **used}}
    found = refined_needs(at_least, used, episodes, success, vocabulary)
    requires, needs = _requirements(operator, used, found, uses)
    undecided = tuple(
        Change(
            "requires", one.fact, operator.requires.get(one.fact), _count(one.need), one.evidence, one.reason
        )
        for one in found.undecided
    )
    found_needs = Operator(MappingProxyType(requires), MappingProxyType(consumes), MappingProxyType(gains))
    gains, won = with_missing(found_needs, episodes, vocabulary)
    refined = Operator(found_needs.requires, found_needs.consumes, MappingProxyType(gains))
    all_changes = (*lost, *won, *uses, *needs)
    return Refinement(refined if all_changes else operator, all_changes, undecided)


def _at_least(declared: Need | None, used: int) -> Need:
    return declared if isinstance(declared, tuple) else max(declared or 0, used)


def _count(need: Need) -> Count:
    return need if isinstance(need, tuple) else Linear(0, need)


def _requirements(
    operator: Operator, used: Mapping[str, int], found: Needs, uses: list[Change]
) -> tuple[dict[str, Count], list[Change]]:
    """The ``requires`` that, beside what is consumed, says what was found to be needed."""
    requires: dict[str, Count] = dict(operator.requires)
    changes = []
    before_level = needs_of(operator)
    findings: dict[str, Finding] = {finding.fact: finding for finding in found.findings}
    evidence = {change.fact: change.evidence for change in uses}
    for name, need in found.needs.items():
        if need == before_level.get(name, 0) and name not in evidence:
            continue
        before = operator.requires.get(name)
        implied = isinstance(need, int) and need <= used.get(name, 0)
        if before is not None and implied and name not in findings:
            continue
        after = None if implied else _count(need)
        if after == before or (before is not None and _level(before) == need):
            continue
        requires.pop(name, None)
        if after is not None:
            requires[name] = after
        finding = findings.get(name)
        reason = finding.reason if finding else STILL_NEEDED
        counts = finding.evidence if finding else evidence.get(name, {})
        changes.append(Change("requires", name, before, after, counts, reason))
    return requires, changes


def _level(count: Count) -> Need:
    return count.at(1) if isinstance(count, Linear) else count
