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
from flowrl.skills.refine_growth import NOTHING, Growth, declared_lines, growths
from flowrl.skills.refine_needs import Needs, needs_of, refined_needs
from flowrl.skills.refine_ranges import Finding, Need
from flowrl.skills.refine_uses import refined_uses
from flowrl.skills.repeat_counts import closest
from flowrl.skills.trajectories import Trajectories

STILL_NEEDED = "was declared as used up, and not shown to be needless"
"""Why a need outlives the consumption that implied it."""

OTHER_REPEATS = "other repeats succeed only with more, or as often with less"
"""Why a need is corrected for which n = 1 alone gives no reason."""


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
    declared, lines = needs_of(operator), declared_lines(operator)
    at_least = {name: _at_least(declared.get(name), used.get(name, 0)) for name in {**declared, **used}}
    found = refined_needs(at_least, used, episodes, success, vocabulary)
    growing = growths(lines, consumes, found, episodes, success, vocabulary)
    requires, needs = _requirements(operator, consumes, found, growing, uses)
    undecided = tuple(
        Change(
            "requires",
            one.fact,
            operator.requires.get(one.fact),
            one.need if isinstance(one.need, tuple) else closest({1: one.need}, lines.get(one.fact)),
            one.evidence,
            one.reason,
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


def _requirements(
    operator: Operator,
    consumes: Mapping[str, Linear],
    found: Needs,
    growing: Mapping[str, Growth],
    uses: list[Change],
) -> tuple[dict[str, Count], list[Change]]:
    """The ``requires`` that, beside what is consumed, says what was found to be needed."""
    requires: dict[str, Count] = dict(operator.requires)
    changes = []
    declared = declared_lines(operator)
    findings = {finding.fact: finding for finding in found.findings}
    spent = {change.fact: change.evidence for change in uses}
    for name, need in found.needs.items():
        before, finding = operator.requires.get(name), findings.get(name)
        if isinstance(need, tuple):
            if finding is not None:
                requires[name] = need
                changes.append(Change("requires", name, before, need, finding.evidence, finding.reason))
            continue
        growth, used = growing[name], consumes.get(name, NOTHING)
        implied = growth.line.at(1) <= used.at(1) and growth.line.slope <= used.slope
        after = None if implied else growth.line
        as_declared = growth.line == declared.get(name, NOTHING)
        # What was declared twice, as required and as used up, may stay so.
        if after == before or (as_declared and (name not in spent or implied)):
            continue
        requires.pop(name, None)
        if after is not None:
            requires[name] = after
        reason, evidence = _grounds(finding, growth, spent.get(name, {}))
        if operator.scales or growth.line.slope:
            reason = f"{reason}; {_measured_for(growth)}"
        changes.append(Change("requires", name, before, after, evidence, reason))
    return requires, changes


def _grounds(
    finding: Finding | None, growth: Growth, spent: Mapping[str, int]
) -> tuple[str, Mapping[str, int]]:
    """Why an amount is corrected, and the counts of episodes that say so."""
    if finding is not None:
        return finding.reason, {**finding.evidence, **growth.evidence}
    if growth.evidence:
        return OTHER_REPEATS, growth.evidence
    return STILL_NEEDED, spent


def _measured_for(growth: Growth) -> str:
    """Which repeat counts a need rests on: what others need nobody saw."""
    if max(growth.repeats, default=1) > 1:
        return f"measured for n = {', '.join(map(str, growth.repeats))}"
    return "measured for n = 1 alone: constant or growing with n as declared"
