"""Probes: programs that trace well and yet cannot be right, and honest ones that must not be refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flowrl.codegen.artifact import seal
from flowrl.codegen.probes import ProbeReport, probe
from flowrl.codegen.static import check_source
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import Effects, ProbeBank, Transitions
from flowrl.errors import ProposalRefused
from flowrl.skills.facts import Vocabulary
from flowrl.skills.operator import parse_operator
from flowrl.worlds.snapshot import SnapshotSpec

Enums = dict[str, dict[str, int]]
WOOD = {"gains": {"inventory:wood": "1*n"}}
PICKAXE = {
    "requires": {"near:crafting_table": 1},
    "consumes": {"inventory:wood": "1*n"},
    "gains": {"inventory:wood_pickaxe": "1*n"},
}
FOOD = {"gains": {"vital:food": 6}}
TABLE = {"consumes": {"inventory:wood": 1}, "gains": {"near:crafting_table": 1, "achievement:place_table": 1}}
FLOOR = {"requires": {"floor": 0}, "gains": {"floor": 1}}
FLAG = {"gains": {"achievement:collect_wood": 1}}


@pytest.fixture
def try_probe(
    tracer: Tracer, spec: SnapshotSpec, vocabulary: Vocabulary, enums: Enums, bank: ProbeBank,
    write_source: Callable[..., str],
) -> Callable[..., ProbeReport]:  # fmt: skip
    def run(operator: dict[str, dict[str, object]], probed: ProbeBank = bank, **parts: str) -> ProbeReport:
        source = write_source(**parts)
        check_source(source, spec, enums)
        program = seal(tracer.trace(source, spec, enums), len(spec))
        return probe(program, parse_operator(operator, vocabulary), spec, vocabulary, probed)

    return run


HONEST_REWARD = "1.0 * (now.inventory.wood - prev.inventory.wood)"
HONEST_DONE = "now.inventory.wood >= start.inventory.wood + n"

REFUSED = {
    "done at once": (WOOD, "n > 0", HONEST_REWARD, "already true at the start"),
    "done by an old achievement": (
        WOOD,
        "now.achievements.collect_wood",
        HONEST_REWARD,
        "already true at the start",
    ),
    "done by what was there": (WOOD, "now.inventory.wood >= n", HONEST_REWARD, "already true at the start"),
    "no signal": (WOOD, "n < 0", "0.0", "whatever happens"),
    "a constant reward beside an honest done": (WOOD, HONEST_DONE, "0.0", "The reward is 0 whatever"),
    "a constant reward": (WOOD, "n > 99", "0.5", "whatever happens"),
    "another fact": (
        WOOD,
        "now.vitals.food > start.vitals.food",
        "1.0 * (now.vitals.food - prev.vitals.food)",
        "never turned true",
    ),
    "another fact, gain never seen": (
        PICKAXE,
        "now.vitals.food > start.vitals.food",
        "1.0 * (now.vitals.food - prev.vitals.food)",
        "does not turn true",
    ),
    "the wrong direction": (WOOD, "n > 99", "1.0 * (prev.inventory.wood - now.inventory.wood)", "never rose"),
    "not a number": (WOOD, HONEST_DONE, "jnp.log(1.0 * now.inventory.stone - 1)", "not a finite number"),
    "infinite": (
        WOOD,
        HONEST_DONE,
        "1.0 / (now.inventory.wood - prev.inventory.wood)",
        "not a finite number",
    ),
    "insanely large": (
        WOOD,
        HONEST_DONE,
        "1e6 * (now.inventory.wood - prev.inventory.wood)",
        "reaches 1e+06",
    ),
    "ignores n": (WOOD, "now.inventory.wood > start.inventory.wood", HONEST_REWARD, "ignores n"),
    "done without food eaten": (FOOD, "now.vitals.food > 2", "0.0", "already true at the start"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, try_probe: Callable[..., ProbeReport]) -> None:
    operator, done, reward, words = REFUSED[case]
    with pytest.raises(ProposalRefused) as refused:
        try_probe(operator, done=done, reward=reward)
    assert refused.value.stage == "probe"
    assert words in str(refused.value)
    assert refused.value.fix


ACCEPTED = {
    "counts": (WOOD, HONEST_DONE, HONEST_REWARD),
    "reward only": (WOOD, "n > 99", HONEST_REWARD),
    "shaped by distance": (
        WOOD,
        HONEST_DONE,
        "1.0 * (now.inventory.wood - prev.inventory.wood) "
        "+ 0.05 * jnp.clip(prev.closest_blocks.tree.distance - now.closest_blocks.tree.distance, -1, 1)",
    ),
    "cost of time": (WOOD, HONEST_DONE, "jnp.where(now.inventory.wood > prev.inventory.wood, 1.0, -0.01)"),
    "a gain that random play never meets": (
        PICKAXE,
        "now.inventory.wood_pickaxe >= start.inventory.wood_pickaxe + n",
        "1.0 * (now.inventory.wood_pickaxe - prev.inventory.wood_pickaxe)",
    ),
    "paid by what is consumed": (
        PICKAXE,
        "now.inventory.wood_pickaxe >= start.inventory.wood_pickaxe + n",
        "0.1 * (prev.inventory.wood - now.inventory.wood)",
    ),
    "saturating": (
        FOOD,
        "now.vitals.food >= jnp.minimum(start.vitals.food + 6, 9)",
        "0.1 * (now.vitals.food - 9)",
    ),
    "a flag": (FLAG, "now.achievements.collect_wood", "jnp.float32(now.achievements.collect_wood)"),
    "reach, by the fact": (TABLE, "now.near.crafting_table", "jnp.float32(now.achievements.place_table)"),
    "reach, by other fields": (
        {"gains": {"near:crafting_table": 1}},
        "now.closest_blocks.crafting_table.distance <= 1.5",
        "0.1 * (prev.closest_blocks.crafting_table.distance - now.closest_blocks.crafting_table.distance)",
    ),
    "a place": (FLOOR, "now.floor == 1", "1.0 * (now.floor - prev.floor)"),
    "needs more than the fact": (
        WOOD,
        "(now.inventory.wood >= start.inventory.wood + n) & ~now.sleeping",
        "jnp.where(now.facing_block == BlockType.TREE, 0.1, 0.0) * (1 - now.sleeping)",
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts(case: str, try_probe: Callable[..., ProbeReport]) -> None:
    operator, done, reward = ACCEPTED[case]
    report = try_probe(operator, done=done, reward=reward)
    assert report.done_at_start <= 0.05


def test_reports_what_it_saw(try_probe: Callable[..., ProbeReport], bank: ProbeBank) -> None:
    report = try_probe(WOOD)
    assert report.transitions == len(bank.transitions.n)
    assert report.done_at_start == 0.0
    assert report.real_gains >= 20
    assert report.moved_on_gain == 1.0
    # By the bank's making: one piece of wood at a time, none is lost within a life.
    assert (report.reward_low, report.reward_high) == (0.0, 1.0)


def test_needs_no_more_than_one_transition(try_probe: Callable[..., ProbeReport], bank: ProbeBank) -> None:
    tiny = ProbeBank(bank.transitions.take(slice(0, 1)), bank.start_states[:1])
    assert try_probe(WOOD, tiny).real_gains == 0


@pytest.mark.parametrize("broken", ["empty", "columns", "starts"])
def test_a_bank_that_does_not_fit_is_our_bug(
    broken: str, try_probe: Callable[..., ProbeReport], bank: ProbeBank
) -> None:
    transitions, starts = bank
    made = {
        "empty": ProbeBank(transitions.take(slice(0, 0)), starts),
        "columns": ProbeBank(transitions._replace(now=transitions.now[:, 1:]), starts),
        "starts": ProbeBank(transitions, starts[:0]),
    }[broken]
    with pytest.raises(ValueError, match="probe bank"):
        try_probe(WOOD, made)


def test_effects_by_hand(spec: SnapshotSpec, vocabulary: Vocabulary) -> None:
    effects = Effects(parse_operator(PICKAXE, vocabulary), spec, vocabulary)
    wood, pickaxe = spec.columns["inventory.wood"], spec.columns["inventory.wood_pickaxe"]
    near = spec.columns["near.crafting_table"]
    states = np.zeros((3, len(spec)), np.float32)
    states[1, [wood, near]] = 5, 1
    states[2, [wood, near, pickaxe]] = 1, 1, 9
    one, two, three = (np.full(3, n, np.int32) for n in (1, 2, 3))
    np.testing.assert_array_equal(effects.satisfied(states, one), [False, True, True])
    np.testing.assert_array_equal(effects.satisfied(states, two), [False, True, False])
    ready = effects.with_room(effects.with_requirements(states, 2), 2)
    # Two of wood put in where there was less; room for two more of at most nine pickaxes.
    np.testing.assert_array_equal(ready[:, [wood, near, pickaxe]], [[2, 1, 0], [5, 1, 0], [2, 1, 7]])
    after = effects.with_gains(ready, 2)
    np.testing.assert_array_equal(after[:, [wood, pickaxe]], [[0, 2], [3, 2], [0, 9]])
    assert effects.gained(ready, after, two).all()
    # Where nine is the limit, two more are all that three repeats could bring.
    np.testing.assert_array_equal(effects.gained(ready, after, three), [False, False, True])


def test_a_gain_happens_once_where_the_operator_applies(spec: SnapshotSpec, vocabulary: Vocabulary) -> None:
    effects = Effects(parse_operator(TABLE, vocabulary), spec, vocabulary)
    wood, flag = spec.columns["inventory.wood"], spec.columns["achievements.place_table"]
    near = spec.columns["near.crafting_table"]
    start, prev, now = (np.zeros((4, len(spec)), np.float32) for _ in range(3))
    columns = [wood, flag, near]
    # Placed; walked to one that stands; already there before this step; placed without wood (not this skill).
    start[:, columns] = [[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
    prev[:, columns] = [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]]
    now[:, columns] = [[0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1]]
    steps = Transitions(start, prev, now, np.ones(4, np.int32))
    np.testing.assert_array_equal(effects.happened(steps), [True, False, False, False])


def test_vital_gains_saturate(spec: SnapshotSpec, vocabulary: Vocabulary) -> None:
    effects = Effects(parse_operator(FOOD, vocabulary), spec, vocabulary)
    food = spec.columns["vitals.food"]
    states = np.zeros((2, len(spec)), np.float32)
    states[:, food] = 9, 5
    # At nine nothing can be gained any more; from five, six more end at nine.
    np.testing.assert_array_equal(effects.gained(states, states, np.ones(2, np.int32)), [True, False])
    full = states.copy()
    full[:, food] = 9
    assert effects.gained(states, full, np.ones(2, np.int32)).all()


def test_transitions_are_taken_together(bank: ProbeBank) -> None:
    some = bank.transitions.take(slice(3, 5))
    assert isinstance(some, Transitions)
    np.testing.assert_array_equal(some.now, bank.transitions.now[3:5])
