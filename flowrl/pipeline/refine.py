"""The stage that corrects a trained skill's operator from what its policy really does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.errors import ProposalRefused, ProviderError
from flowrl.llm.proposer import Analysis
from flowrl.pipeline.events import OperatorRefined
from flowrl.pipeline.library import LearnedSkill, SkillLibrary
from flowrl.pipeline.prepare import StartStateSource, plan_for
from flowrl.pipeline.refine_starts import StartVariant, variant_after, variants_with, variants_without
from flowrl.pipeline.streams import stream_number
from flowrl.rl.environment import Placed
from flowrl.rl.episodes import Outcomes
from flowrl.skills.analyst import believed
from flowrl.skills.change import MIN_EPISODES
from flowrl.skills.evidence import wilson_interval
from flowrl.skills.fact_table import FactTable
from flowrl.skills.operator import Operator, parse_operator
from flowrl.skills.refinement import Refinement, refine
from flowrl.skills.trajectories import Trajectories
from flowrl.worlds.base import World

EPISODES = 128
"""From the skill's own start states, at least; more where the env's batch has room."""

EPISODES_A_REPEAT = 48
"""At least so many for each n: every n is judged by itself, and some fail."""

VARIANT_EPISODES = 64
"""From each other kind of start: at a success rate of 90% their Wilson bound is 0.8, which lets a requirement
go (``change.AS_GOOD``); 32 would not do."""

ROUNDS = 3
"""Times that other starts are looked for: what was corrected opens new ones."""

MAX_VARIANTS = 8
"""Kinds of starts a round: each takes a plan carried out and its share of a batch of episodes."""

MIN_ALLOWANCE = 100_000
"""Env steps that the stage may take in any case."""

ALLOWANCE = 0.25
"""... and as a share of those trained: for a skill at the end of a long plan every kind of start is dear."""

MAX_ALLOWANCE = 400_000
"""... and at most: by then every kind of start that can be had at a bearable price was tried."""

RELIABLE = 0.9
"""From this success rate on, nothing that the start states lack can be missing from what is required."""

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
    bench, vocabulary = source.bench, source.bench.world.vocabulary
    steps_before = bench.programs.env_steps
    player = _Player(skill, source, steps_before + allowance(trained))
    episodes = player.play_own(starts)
    refinement = refine(skill.operator, episodes, vocabulary)
    tried: set[str] = set()
    for round_ in range(ROUNDS):
        wanted = _variants(refinement.operator, episodes, source, skill.name)
        fresh = list(islice((one for one in wanted if one.label not in tried), MAX_VARIANTS))
        tried |= {variant.label for variant in fresh}
        more = player.play_variants(fresh, refinement.operator, round_)
        if more is None:
            break
        episodes = Trajectories.joined([episodes, more])
        refinement = refine(skill.operator, episodes, vocabulary)
    table = FactTable.of(refinement.operator, episodes, vocabulary)
    spent = bench.programs.env_steps - steps_before
    refined = Refined(skill.operator, refinement, episodes, table, spent, _shortage(table))
    if player.untried:
        refined = refined.noting(f"For want of env steps, {player.untried} kinds of starts were not tried.")
    return refined


def allowance(trained: int) -> int:
    """Env steps that refining may take after so many of training."""
    return min(max(MIN_ALLOWANCE, int(ALLOWANCE * trained)), MAX_ALLOWANCE)


def _variants(
    operator: Operator, episodes: Trajectories, source: StartStateSource, name: str
) -> Iterable[StartVariant]:
    """Starts that could tell what the episodes so far leave open, the most telling first."""
    vocabulary = source.bench.world.vocabulary
    within = episodes.started_within(operator, vocabulary) & (episodes.n == 1)
    hits = int((episodes.succeeded(operator, vocabulary) & within).sum())
    if wilson_interval(hits, int(within.sum()))[0] < RELIABLE:
        others = {other: known for other, known in source.library.operators.items() if other != name}
        yield from variants_with(operator, others, vocabulary)
    yield from variants_without(operator)
    yield variant_after(operator, vocabulary)


class _Player:
    """Plays one skill from start states of several kinds, as long as there are env steps for it.

    Attributes:
        untried: kinds of start states that there were no env steps for.
    """

    def __init__(self, skill: LearnedSkill, source: StartStateSource, until: int) -> None:
        self.untried = 0
        self._until = until
        self._skill = skill
        self._source = source
        self._bench = source.bench

    def play_own(self, starts: Placed) -> Trajectories:
        """From the skill's own start states, for every n that it was trained for."""
        batch, task = self._bench.programs.batch, self._skill.task
        wanted = max(EPISODES, EPISODES_A_REPEAT * task.max_repeat)
        rows = np.arange(min(-(-wanted // batch) * batch, starts.rows))
        return self._play(jax.tree.map(lambda leaf: leaf[rows], starts), task.max_repeat, "own")

    def play_variants(
        self, variants: Iterable[StartVariant], operator: Operator, round_: int
    ) -> Trajectories | None:
        """From other starts, with n = 1; None when no plan leads to any of them."""
        library = SkillLibrary()
        for name in self._source.library.operators:
            library.add(self._source.library[name])
        library.add(dataclasses.replace(self._skill, operator=operator))
        parts = [self._starts(variant, operator, library) for variant in variants]
        found = [part for part in parts if part is not None]
        if not found:
            return None
        starts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
        return self._play(starts, 1, round_)

    def _starts(self, variant: StartVariant, operator: Operator, library: SkillLibrary) -> Placed | None:
        if self._bench.programs.env_steps >= self._until:
            self.untried += 1
            return None
        goal = variant.operator(operator)
        name = f"{self._skill.name} {variant.label}"
        try:
            steps = plan_for(name, goal, library.operators, self._bench.world)
            source = dataclasses.replace(
                self._source,
                name=name,
                operator=goal,
                steps=steps,
                library=library,
                stream=f"{self._source.stream} {variant.label}",
                _batches=0,
            )
            return source.training(VARIANT_EPISODES)
        except ProposalRefused:
            return None

    def _play(self, starts: Placed, max_repeat: int, purpose: str | int) -> Trajectories:
        key = jax.random.fold_in(
            jax.random.key(self._bench.seed), stream_number(self._source.stream, "refine", purpose)
        )
        task = dataclasses.replace(self._skill.task, max_repeat=max_repeat)
        outcomes = self._bench.episodes.run(task, self._skill.params, starts, key)
        return trajectories_of(outcomes, self._bench.world)


def trajectories_of(outcomes: Outcomes, world: World) -> Trajectories:
    """Episodes read in the world's facts."""
    facts = tuple(name for name in world.vocabulary if name in world.snapshot_spec.fact_columns)
    columns = [world.snapshot_spec.fact_columns[name] for name in facts]

    def read(snapshots: Any) -> np.ndarray:
        return np.rint(np.asarray(snapshots)[:, columns]).astype(np.int32)

    return Trajectories(
        facts=facts,
        start=read(outcomes.start),
        end=read(outcomes.end),
        fell=read(outcomes.fell),
        rose=read(outcomes.rose),
        done=np.asarray(outcomes.claimed) & ~np.asarray(outcomes.died),
        died=np.asarray(outcomes.died),
        n=np.asarray(outcomes.n),
        length=np.asarray(outcomes.length),
    )


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


def _shortage(table: FactTable) -> str:
    """Says when the episodes were too few of one kind to decide much."""
    episodes = table.successes + table.failures
    if table.successes < MIN_EPISODES:
        return (
            f"Only {table.successes} of {episodes} episodes succeeded; with fewer than {MIN_EPISODES} "
            "nothing can be said about what is needed and used up."
        )
    if table.failures < MIN_EPISODES:
        return (
            f"Only {table.failures} of {episodes} episodes failed, from every start that could be reached; "
            f"with fewer than {MIN_EPISODES} no requirement is added."
        )
    return ""
