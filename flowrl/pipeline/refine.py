"""The stage that corrects a trained skill's operator from what its policy really does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from flowrl.errors import ProposalRefused, ProviderError
from flowrl.llm.proposer import Analysis
from flowrl.pipeline.events import OperatorRefined
from flowrl.pipeline.library import LearnedSkill
from flowrl.pipeline.prepare import StartStateSource
from flowrl.pipeline.refine_counts import MORE_ALLOWANCE, play_on, shortage
from flowrl.pipeline.refine_player import Player
from flowrl.pipeline.refine_starts import telling_variants, variants_to_decide
from flowrl.rl.environment import Placed
from flowrl.skills.analyst import believed
from flowrl.skills.fact_table import FactTable
from flowrl.skills.operator import Operator, parse_operator
from flowrl.skills.refine_growth import declared_lines
from flowrl.skills.refinement import Refinement, refine
from flowrl.skills.trajectories import Trajectories
from flowrl.worlds.base import World

ROUNDS = 3
"""Times that other starts are looked for: what was corrected opens new ones; and times that more of the same
are, where those that there were decide nothing."""

MAX_VARIANTS = 8
"""Kinds of starts a round: each takes a plan carried out and its share of a batch of episodes."""

MIN_ALLOWANCE = 100_000
"""Env steps that the stage may take in any case."""

ALLOWANCE = 0.25
"""... and as a share of those trained: for a skill at the end of a long plan every kind of start is dear."""

MAX_ALLOWANCE = 400_000
"""... and at most: by then every kind of start that can be had at a bearable price was tried."""

Analyst = Callable[[str, str], Analysis]
"""``(operator as JSON, table as Markdown) -> analysis``; a model, asked about one skill."""


@dataclass(frozen=True)
class Refined:
    """What the stage found.

    Attributes:
        before: the operator as declared.
        refinement: the operator as it should be, what changed and what was not taken.
        episodes: all of them.
        table: of these, by the refined operator's gains.
        env_steps: spent.
        note: what could not be had or was not believed, in sentences; empty when nothing.
    """

    before: Operator
    refinement: Refinement
    episodes: Trajectories
    table: FactTable
    env_steps: int
    note: str

    @property
    def operator(self) -> Operator:
        """As it should be."""
        return self.refinement.operator

    @property
    def corrected(self) -> bool:
        """Whether the operator as declared is wrong."""
        return self.operator != self.before

    @property
    def gains_more(self) -> bool:
        """Whether all that is wrong with the operator as declared is that it leaves gains out."""
        before, after = self.before, self.operator
        same_needs = (before.requires, before.consumes) == (after.requires, after.consumes)
        return self.corrected and same_needs and before.gains.items() <= after.gains.items()

    def noting(self, sentence: str) -> Refined:
        """The same, with one sentence more."""
        return dataclasses.replace(self, note=" ".join(filter(None, (self.note, sentence))))

    def event(self, skill: str) -> OperatorRefined:
        """For the journal."""
        return OperatorRefined(
            skill=skill,
            before=self.before.to_json(),
            after=self.operator.to_json(),
            changes=tuple(change.to_json() for change in self.refinement.changes),
            not_taken=tuple(change.to_json() for change in self.refinement.not_taken),
            successes=self.table.successes,
            failures=self.table.failures,
            env_steps=self.env_steps,
            note=self.note,
        )


def refine_skill(skill: LearnedSkill, starts: Placed, source: StartStateSource, trained: int = 0) -> Refined:
    """Plays the trained skill from its own and from other starts, and corrects its operator by what shows.

    An episode counts by the skill's own ``is_done`` first, so that a skill that never succeeds because it
    declares a gain that never comes is refined like any other.

    Args:
        skill: trained; its operator as declared.
        starts: its start states, of the worlds that it was trained in.
        source: where they came from: plan, accepted skills, worlds.
        trained: env steps that its training took; what may be spent here grows with them.

    Raises:
        ProposalRefused: stage ``refine``; what it declares was never measured, nor anything else.
    """
    vocabulary = source.bench.world.vocabulary
    others = {name: known for name, known in source.library.operators.items() if name != skill.name}
    player = Player(skill, starts, source)
    until = allowance(trained)
    player.play_own()
    refinement = refine(skill.operator, player.episodes, vocabulary)
    tried: set[str] = set()
    for _ in range(ROUNDS):
        wanted = telling_variants(
            refinement.operator, player.episodes, others, skill.task.max_repeat, vocabulary
        )
        fresh = list(islice((one for one in wanted if one.label not in tried), MAX_VARIANTS))
        tried |= {variant.label for variant in fresh}
        if not player.play_variants(fresh, refinement.operator, until):
            break
        refinement = refine(skill.operator, player.episodes, vocabulary)
    for _ in range(ROUNDS):
        doubtful = variants_to_decide(refinement.operator, player.episodes, vocabulary)
        if not player.play_variants(doubtful, refinement.operator, until + MORE_ALLOWANCE):
            break
        refinement = refine(skill.operator, player.episodes, vocabulary)
    stopped = play_on(player, refinement.operator, until + MORE_ALLOWANCE, vocabulary)
    episodes = player.episodes
    refinement = refine(skill.operator, episodes, vocabulary)
    table = FactTable.of(refinement.operator, episodes, vocabulary)
    refined = Refined(skill.operator, refinement, episodes, table, player.env_steps, shortage(table, stopped))
    if player.untried:
        refined = refined.noting(f"For want of env steps, {player.untried} kinds of starts were not tried.")
    if skill.task.max_repeat == 1 and any(line.slope for line in declared_lines(refined.operator).values()):
        refined = refined.noting("It was trained for n = 1: how its needs grow with n is as declared.")
    return refined


def allowance(trained: int) -> int:
    """Env steps that refining may take after so many of training."""
    return min(max(MIN_ALLOWANCE, int(ALLOWANCE * trained)), MAX_ALLOWANCE)


def heard(refined: Refined, analyst: Analyst, world: World) -> Refined:
    """What an analyst adds to a refinement, as far as the episodes agree; the note says what became of it.

    Raises nothing that an answer could cause: an analyst that cannot be asked leaves the refinement as it is.
    """
    refinement, shown = refined.refinement, refined.table.markdown()
    if refinement.changes:
        shown += "\n\nCorrected already:\n" + "\n".join(f"- {change}" for change in refinement.changes)
    try:
        analysis = analyst(json.dumps(refinement.operator.to_json(), indent=1), shown)
        proposed = parse_operator(analysis.operator, world.vocabulary)
    except (ProposalRefused, ProviderError) as error:
        return refined.noting(f"The analyst gave no operator: {error}")
    added = believed(refined.episodes, refinement.operator, proposed, world.vocabulary)
    both = Refinement(
        added.operator,
        (*refinement.changes, *added.changes),
        (*refinement.not_taken, *added.not_taken),
    )
    proposals = len(added.changes) + len(added.not_taken)
    return dataclasses.replace(refined, refinement=both).noting(
        f"The analyst proposed {proposals} changes; {len(added.changes)} were taken."
    )
