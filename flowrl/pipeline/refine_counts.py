"""Enough episodes of both kinds, successes and failures, or the reason why there are not."""

from __future__ import annotations

from flowrl.pipeline.refine_player import OWN, Player
from flowrl.pipeline.refine_starts import StartVariant, variant_from_nothing
from flowrl.skills.change import MIN_EPISODES
from flowrl.skills.evidence import wilson_interval
from flowrl.skills.fact_table import FactTable
from flowrl.skills.facts import Vocabulary
from flowrl.skills.operator import Operator
from flowrl.skills.refine_needs import needs_of

MORE_ROUNDS = 8
"""Times that a kind of start is played once more for want of one kind of episode. Eight times 128 episodes
have 32 failures at a rate of 3%: what fails less often in the worlds that it was trained in hardly fails."""

MORE_ALLOWANCE = 100_000
"""Env steps for that, and for needs that are still open, beyond the stage's own: with fewer than 32 on either
side most of what those were spent on decides nothing."""


def play_on(player: Player, operator: Operator, until: int, vocabulary: Vocabulary) -> str:
    """Plays more where the missing kind of episode is likeliest, until there are enough of both.

    Args:
        operator: says what a success is.
        until: env steps of the player from which on nothing more is begun.

    Returns:
        Why it ended before there were enough; empty when there are.
    """
    untried = [variant_from_nothing()] if needs_of(operator) else []
    for round_ in range(MORE_ROUNDS + 1):
        success = player.episodes.succeeded(operator, vocabulary)
        have = {True: int(success.sum()), False: int((~success).sum())}
        wanted = min(have, key=lambda kind: have[kind])
        missing = MIN_EPISODES - have[wanted]
        if missing <= 0:
            return ""
        if player.env_steps >= until:
            return f"after {player.env_steps:,} env steps"
        if wanted is False and untried:
            # Where all is missing that plans always bring along, failures cost no plan.
            player.play_variants([untried.pop()], operator, until)
            continue
        start, most = _likeliest(player, operator, wanted, vocabulary)
        left = MORE_ROUNDS - round_
        if most * left < missing:
            return f"{left} more rounds would not bring as many" if left else f"after {round_} more rounds"
        if start == OWN:
            player.play_own()
        else:
            player.play_variants([start], operator, until)
    raise AssertionError("the last round returns")


def _likeliest(
    player: Player, operator: Operator, wanted: bool, vocabulary: Vocabulary
) -> tuple[StartVariant, float]:
    """The kind of start that may bring most of what is wanted, and how many a round (upper Wilson bound)."""
    kinds: dict[str, tuple[StartVariant, int, int, int]] = {}
    for start, episodes in player.parts:
        hits = int((episodes.succeeded(operator, vocabulary) == wanted).sum())
        _, hits_before, count_before, _ = kinds.get(start.label, (start, 0, 0, 0))
        kinds[start.label] = (start, hits_before + hits, count_before + len(episodes), len(episodes))
    likely = [(start, wilson_interval(hits, count)[1] * last) for start, hits, count, last in kinds.values()]
    return max(likely, key=lambda kind: kind[1])


def shortage(table: FactTable, stopped: str) -> str:
    """Says when the episodes were too few of one kind, and what is believed less for it.

    Args:
        table: of all episodes.
        stopped: why there are no more.
    """
    episodes = table.successes + table.failures
    if table.successes < MIN_EPISODES:
        return (
            f"Only {table.successes} of {episodes:,} episodes succeeded ({stopped}); with fewer than "
            f"{MIN_EPISODES} nothing can be said about what is needed and used up."
        )
    if table.failures < MIN_EPISODES:
        return (
            f"Only {table.failures} of {episodes:,} episodes failed, from every start that could be reached "
            f"({stopped}); with fewer than {MIN_EPISODES} no requirement is added, and that what is required "
            "is needed rests on what was declared."
        )
    return ""
