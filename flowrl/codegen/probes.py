"""Probes: a traced program is tried on real play before anything is trained with it.

Each probe refuses only what cannot be right whatever the skill is about; judging whether a skill is any
good is left to training and validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray

from flowrl.codegen.artifact import SkillProgram
from flowrl.codegen.transitions import Effects, ProbeBank, Rows, Transitions
from flowrl.errors import ProposalRefused
from flowrl.skills.facts import FactKind, Vocabulary
from flowrl.skills.operator import Operator
from flowrl.worlds.snapshot import SnapshotSpec

MAX_DONE_AT_START = 0.05
MAX_REWARD = 1_000.0
MIN_MOVE = 1e-6
MIN_REAL_GAINS = 4
MAX_ROWS = 8_192
REPEATS = 3

_LOOSE_KINDS = {FactKind.REACH, FactKind.PLACE}
"""Gains that code may well read off other fields (``closest_blocks``), which made-up steps leave alone."""


@dataclass(frozen=True)
class ProbeReport:
    """What the probes saw.

    Attributes:
        transitions: real transitions tried.
        start_states: states tried as a skill's start.
        done_at_start: share of these in which ``is_done`` held at once.
        reward_low: smallest reward seen.
        reward_high: largest reward seen.
        real_gains: real transitions in which the declared gains happened.
        moved_on_gain: share of the transitions with the declared gains, real ones if there are any, else
            made up, in which ``is_done`` turned true or the reward was higher than without the gains.
    """

    transitions: int
    start_states: int
    done_at_start: float
    reward_low: float
    reward_high: float
    real_gains: int
    moved_on_gain: float


@dataclass(frozen=True)
class _Answers:
    """What the program said about a batch: reward float32 ``[B]``, done bool ``[B]``."""

    reward: NDArray[np.float32]
    done: NDArray[np.bool_]

    def moved_from(self, other: _Answers) -> NDArray[np.bool_]:
        """bool ``[B]``: done turned true or the reward rose, against ``other``."""
        return (self.done & ~other.done) | (self.reward > other.reward + MIN_MOVE)


def probe(
    program: SkillProgram, operator: Operator, spec: SnapshotSpec, vocabulary: Vocabulary, bank: ProbeBank
) -> ProbeReport:
    """Tries ``program`` on real transitions and on made-up ones in which the declared gains happen.

    Args:
        program: the checked artifact.
        operator: what the skill claims.
        spec: the snapshot fields, D of them.
        vocabulary: the world's facts.
        bank: real play.

    Raises:
        ProposalRefused: stage ``probe``.
        ValueError: when the bank is empty or its arrays do not fit ``spec``.
    """
    bank = _validated(bank, len(spec))
    effects = Effects(operator, spec, vocabulary)
    real = bank.transitions
    # Each real step also counts as an episode of its own: there the operator applies more often.
    short = real._replace(start=real.prev, n=np.ones_like(real.n))
    starts, fitting = _starts(effects, bank.start_states)
    without, with_gains, half = _made_up(effects, fitting)
    asked = [
        real,
        real._replace(now=real.prev),
        short,
        short._replace(now=real.prev),
        _standing(starts, 1),
        without,
        with_gains,
        half,
        _shuffled(bank),
    ]
    answers = _ask(program, asked)
    said_real, said_idle, said_short, said_short_idle, said_start, said_without, said_with, said_half, _ = (
        answers
    )
    _check_numbers(answers)
    done_at_start = float(said_start.done.mean()) if len(starts) else 0.0
    if done_at_start > MAX_DONE_AT_START:
        raise ProposalRefused(
            "probe",
            f"is_done is already true at the start in {done_at_start:.0%} of {len(starts)} start states.",
            "Compare now with start, as in now.inventory.wood >= start.inventory.wood + n.",
        )
    all_done = np.concatenate([a.done for a in answers])
    all_reward = np.concatenate([a.reward for a in answers])
    if np.ptp(all_reward) <= MIN_MOVE:
        still = f" and is_done {all_done[0]}" if all_done.all() == all_done.any() else ""
        raise ProposalRefused(
            "probe",
            f"The reward is {all_reward[0]:g}{still} whatever happens.",
            "Let the reward move with the declared gains, and with steps towards them.",
        )
    came, came_short = effects.happened(real), effects.happened(short)
    moved = (came & said_real.moved_from(said_idle)) | (came_short & said_short.moved_from(said_short_idle))
    moved_real = moved[came | came_short]
    moved_made = said_with.moved_from(said_without)
    _check_gains(effects, moved_real, moved_made)
    if half.n.size and said_half.done.all() and not said_without.done.any():
        raise ProposalRefused(
            "probe",
            f"is_done is true after the gain of n = 1 although n is {REPEATS}: it ignores n.",
            "Multiply by n what grows with n, as in now.inventory.wood >= start.inventory.wood + n.",
        )
    evidence = moved_real if moved_real.size else moved_made
    rewards = np.concatenate([answer.reward for answer in answers[:-1]])
    return ProbeReport(
        transitions=len(real.n),
        start_states=len(starts),
        done_at_start=done_at_start,
        reward_low=float(rewards.min()),
        reward_high=float(rewards.max()),
        real_gains=len(moved_real),
        moved_on_gain=float(evidence.mean()) if evidence.size else 0.0,
    )


def _validated(bank: ProbeBank, width: int) -> ProbeBank:
    start, prev, now, n = (np.asarray(part) for part in bank.transitions)
    starts = np.asarray(bank.start_states, np.float32)
    shapes = {start.shape, prev.shape, now.shape, (len(n), width)}
    if not len(n) or len(shapes) > 1 or starts.ndim != 2 or not len(starts) or starts.shape[1] != width:
        raise ValueError(f"a probe bank needs transitions and start states of {width} columns, got {shapes}")
    start, prev, now = (array.astype(np.float32) for array in (start, prev, now))
    real = Transitions(start, prev, now, n.astype(np.int32))
    every = slice(None, None, 1 + len(n) // MAX_ROWS)
    return ProbeBank(real.take(every), starts[:: 1 + len(starts) // MAX_ROWS])


def _starts(effects: Effects, states: Rows) -> tuple[Rows, Rows]:
    """float32 ``[S, D]`` and ``[M, D]``: starts with something left to gain, and all that fit.

    Requirements are put in when hardly any state fulfils them. S can be 0.
    """
    once = np.ones(len(states), np.int32)
    fitting = states[effects.satisfied(states, once)]
    if len(fitting) < min(8, len(states)):
        fitting = effects.with_requirements(states, 1)
    # Where a level, a flag or a place is already reached, done at once is right: nothing is left to do.
    return fitting[~effects.gained(fitting, fitting, once[: len(fitting)])], fitting


def _made_up(effects: Effects, states: Rows) -> tuple[Transitions, Transitions, Transitions]:
    """Steps without the gains, with them, and with the gains of one repeat where more are asked for."""
    before = effects.with_room(states, 1)
    without = _standing(before, 1)
    many = effects.with_room(effects.with_requirements(states, REPEATS), REPEATS)
    partial = effects.with_gains(many, 1)
    unmet = ~effects.gained(many, partial, np.full(len(many), REPEATS, np.int32))
    half = _standing(many, REPEATS)._replace(now=partial)
    return without, without._replace(now=effects.with_gains(before, 1)), half.take(unmet)


def _standing(states: Rows, n: int) -> Transitions:
    """Steps in which nothing has happened since the start."""
    return Transitions(states, states, states, np.full(len(states), n, np.int32))


def _shuffled(bank: ProbeBank) -> Transitions:
    """Real states in impossible orders: code that reads anything at all says different things about them."""
    generator = np.random.default_rng(0)
    rows = np.concatenate([bank.transitions.now, bank.transitions.prev, bank.start_states])[:MAX_ROWS]
    count = len(rows)
    start, prev, now = (rows[generator.permutation(count)] for _ in range(3))
    return Transitions(start, prev, now, generator.integers(1, REPEATS + 1, count).astype(np.int32))


def _ask(program: SkillProgram, questions: list[Transitions]) -> list[_Answers]:
    """One call for all questions, so that one batch size is compiled."""
    joined = [np.concatenate(parts) for parts in zip(*questions, strict=True)]
    reward, done = (np.asarray(result) for result in jax.jit(program.__call__)(*joined))
    ends = np.cumsum([len(question.n) for question in questions])[:-1]
    pairs = zip(np.split(reward, ends), np.split(done, ends), strict=True)
    return [_Answers(*pair) for pair in pairs]


def _check_numbers(answers: list[_Answers]) -> None:
    # The last batch is made of impossible orders: it may well ask for the logarithm of a negative count.
    for answer in answers[:-1]:
        if not np.isfinite(answer.reward).all():
            raise ProposalRefused(
                "probe",
                "The reward is not a finite number in some real states.",
                "Guard divisions, logarithms and roots: jnp.log1p(jnp.maximum(x, 0)), x / jnp.maximum(y, 1).",
            )
        largest = float(np.abs(answer.reward).max(initial=0.0))
        if largest > MAX_REWARD:
            raise ProposalRefused(
                "probe",
                f"The reward reaches {largest:g}.",
                f"Scale it: about 1 a gain, never over {MAX_REWARD:g}.",
            )


def _check_gains(effects: Effects, moved_real: NDArray[np.bool_], moved_made: NDArray[np.bool_]) -> None:
    gains = ", ".join(effects.gains)
    if moved_real.any():
        return
    if len(moved_real) >= MIN_REAL_GAINS:
        raise ProposalRefused(
            "probe",
            f"In {len(moved_real)} real steps that gained {gains}, is_done never turned true and the reward "
            "never rose.",
            "Let is_done and reward depend on the facts that 'gains' declares.",
        )
    if effects.gains and not effects.kinds() & _LOOSE_KINDS and not moved_made.any():
        raise ProposalRefused(
            "probe",
            f"When {gains} is gained, is_done does not turn true and the reward does not rise.",
            "Let is_done and reward depend on the facts that 'gains' declares.",
        )
