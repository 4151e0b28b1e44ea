"""Operators come out right where episodes show what is true, and stay as they are where these do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled_trajectories import VOCABULARY, Starts, operator, sampled

from flowrl.errors import ProposalRefused
from flowrl.skills.operator import Linear, Operator
from flowrl.skills.refinement import refine
from flowrl.skills.trajectories import Trajectories

PICKAXE = operator(
    {"near:table": 1, "floor": 0},
    {"inventory:wood": 2},
    {"stat:pickaxe": 1, "achievement:build": 1},
)
PICKAXE_STARTS = (
    Starts(64, {"near:table": 1, "inventory:wood": [2, 3, 4]}),
    Starts(64, {"near:table": 1, "inventory:wood": 1}),
    Starts(64, {"near:table": 1}),
    Starts(64, {"inventory:wood": [2, 3, 4]}),
    Starts(64, {"near:table": 1, "inventory:wood": 2, "stat:pickaxe": 1, "achievement:build": 1}),
    Starts(64, {"near:table": 1, "inventory:wood": 2, "floor": 1}),
)
WOOD = operator({}, {}, {"inventory:wood": "1*n", "achievement:dig": 1})
WOOD_STARTS = (Starts(150, {}), Starts(60, {"inventory:wood": [1, 2, 3, 4], "achievement:dig": 1}))
STONE = operator({"stat:pickaxe": 1}, {}, {"inventory:stone": "1*n"})
STONE_STARTS = (
    Starts(200, {"stat:pickaxe": [1, 2], "inventory:stone": [0, 2], "near:table": [0, 1]}),
    Starts(70, {"near:table": [0, 1]}),
)
DESCEND = operator({"floor": [0, 1]}, {}, {"floor": 2, "achievement:dig": 1})
DESCEND_STARTS = (Starts(64, {}), Starts(64, {"floor": 1}), Starts(64, {"floor": 3}))


@dataclass(frozen=True)
class Skill:
    """A true operator and starts that tell it apart from wrong ones."""

    truth: Operator
    starts: Sequence[Starts]
    repeats: int = 1


SKILLS = {
    "pickaxe": Skill(PICKAXE, PICKAXE_STARTS),
    "wood": Skill(WOOD, WOOD_STARTS, 3),
    "stone": Skill(STONE, STONE_STARTS, 2),
    "descend": Skill(DESCEND, DESCEND_STARTS),
}

PLANTED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "overstated consumption": ("pickaxe", {"consumes": {"inventory:wood": 4}}),
    "understated consumption": ("pickaxe", {"consumes": {"inventory:wood": 1}}),
    "missing consumption": ("pickaxe", {"consumes": {}}),
    "consumption of the wrong fact": ("pickaxe", {"consumes": {"inventory:sapling": 2}}),
    "superfluous consumption": (
        "pickaxe", {"consumes": {"inventory:wood": 2, "inventory:stone": 1}},
    ),
    "missing requirement": ("pickaxe", {"requires": {"floor": 0}}),
    "missing place": ("pickaxe", {"requires": {"near:table": 1}}),
    "superfluous requirement": ("pickaxe", {"requires": {"near:table": 1, "floor": 0, "inventory:stone": 1}}),
    "superfluous achievement": ("pickaxe", {"requires": {"near:table": 1, "floor": 0, "achievement:dig": 1}}),
    "two superfluous requirements": (
        "pickaxe", {"requires": {"near:table": 1, "floor": 0, "achievement:dig": 1, "inventory:sapling": 1}},
    ),
    "too high a tier": ("stone", {"requires": {"stat:pickaxe": 2}}),
    "too low a tier": ("pickaxe", {"gains": {"stat:pickaxe": 2, "achievement:build": 1}}),
    "requirement of the wrong fact": ("stone", {"requires": {"near:table": 1}}),
    "requirement that was missing altogether": ("stone", {"requires": {}}),
    "place too narrow": ("descend", {"requires": {"floor": 0}}),
    "place too wide": ("descend", {"requires": {"floor": [0, 1, 3]}}),
    "wrong place gained": ("descend", {"gains": {"floor": 4, "achievement:dig": 1}}),
    "place gained but not said": ("descend", {"gains": {"achievement:dig": 1}}),
    "overstated slope": ("wood", {"gains": {"inventory:wood": "2*n", "achievement:dig": 1}}),
    "understated slope": ("wood", {"gains": {"inventory:wood": 1, "achievement:dig": 1}}),
    "gain that never comes": (
        "wood", {"gains": {"inventory:wood": "1*n", "achievement:dig": 1, "inventory:stone": 1}},
    ),
    "missing achievement": ("wood", {"gains": {"inventory:wood": "1*n"}}),
    "nothing right but is_done": ("wood", {"gains": {"inventory:stone": "1*n"}}),
}  # fmt: skip


def planted(truth: Operator, **sections: Any) -> Operator:
    """The true operator with some sections replaced."""
    return operator(**{**truth.to_json(), **sections})


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_comes_out_right(error: str) -> None:
    name, sections = PLANTED[error]
    skill = SKILLS[name]
    wrong = planted(skill.truth, **sections)
    extra: dict[str, Any] = {
        fact: [0, 1, 2] for fact in ("inventory:stone", "inventory:sapling", "achievement:dig")
    }
    own = {*skill.truth.gains, *skill.truth.requires}
    starts = [
        Starts(3 * group.count, {**{f: v for f, v in extra.items() if f not in own}, **group.facts})
        for group in skill.starts
    ]
    found = refine(wrong, sampled(skill.truth, starts, seed=3, repeats=skill.repeats), VOCABULARY)
    assert found.operator.to_json() == skill.truth.to_json()
    assert found.changes
    assert all(change.evidence and change.reason for change in found.changes)


@pytest.mark.parametrize("name", SKILLS)
def test_a_right_operator_is_left_alone(name: str) -> None:
    """Not one false change in ten draws of each skill, with policies from weak to perfect."""
    skill = SKILLS[name]
    for seed in range(10):
        rate = (0.75, 0.9, 1.0)[seed % 3]
        episodes = sampled(skill.truth, skill.starts, seed, rate, skill.repeats)
        assert refine(skill.truth, episodes, VOCABULARY).changes == ()


def test_what_always_held_is_kept() -> None:
    """Nothing speaks against a requirement that every start met, however often the skill succeeds."""
    wrong = planted(PICKAXE, requires={"near:table": 1, "floor": 0, "inventory:stone": 2})
    always = [Starts(g.count, {**g.facts, "inventory:stone": 3}) for g in PICKAXE_STARTS]
    assert refine(wrong, sampled(PICKAXE, always), VOCABULARY).operator == wrong


def test_of_two_needs_that_go_together_neither_is_added_and_both_are_named() -> None:
    """The truth is a table; in every start there is a table just where there is stone."""
    wrong = planted(PICKAXE, requires={"floor": 0})
    both = {"near:table": 1, "inventory:stone": 1}
    starts = (Starts(80, {"inventory:wood": 2, **both}), Starts(80, {"inventory:wood": 2}))
    found = refine(wrong, sampled(PICKAXE, starts), VOCABULARY)
    assert found.operator == wrong
    assert {change.fact for change in found.not_taken} == set(both)


def test_either_of_two_tools_is_not_neither() -> None:
    """Each alone may be missing. Only starts without both show that one of them is needed."""
    either = operator({"stat:pickaxe": 1, "inventory:sapling": 1}, {}, {"inventory:stone": 1})
    by_pickaxe = operator({"stat:pickaxe": 1}, {}, {"inventory:stone": 1})
    by_sapling = operator({"inventory:sapling": 1}, {}, {"inventory:stone": 1})
    one, other = {"stat:pickaxe": 1}, {"inventory:sapling": 1}
    played = [
        sampled(by_pickaxe, [Starts(64, one), Starts(64, {**one, **other})]),
        sampled(by_sapling, [Starts(64, other), Starts(64, {})], seed=1),
    ]
    found = refine(either, Trajectories.joined(played), VOCABULARY)
    assert len(found.operator.requires) == 1


def test_of_needs_of_which_any_will_do_what_must_merely_hold_is_required() -> None:
    """Crafting works next to a table, or with four wood, of which two make one first: a substitute."""
    at_table = operator({"near:table": 1}, {"inventory:wood": 1}, {"inventory:stone": 1})
    own_table = operator(
        {}, {"inventory:wood": 4}, {"inventory:stone": 1, "near:table": 1, "achievement:build": 1}
    )
    played = [
        sampled(
            at_table, [Starts(80, {"near:table": 1, "inventory:wood": 1}), Starts(120, {"inventory:wood": 1})]
        ),
        sampled(own_table, [Starts(80, {"inventory:wood": 4})], seed=1),
    ]
    wrong = operator({}, {"inventory:wood": 1}, {"inventory:stone": 1})
    assert refine(wrong, Trajectories.joined(played), VOCABULARY).operator == at_table


@pytest.mark.parametrize("count", [10, 31])
def test_too_few_episodes_change_nothing(count: int) -> None:
    wrong = planted(PICKAXE, consumes={"inventory:wood": 4}, gains={"stat:pickaxe": 2})
    starts = [Starts(count, {"near:table": 1, "inventory:wood": 4}), Starts(count, {"inventory:wood": 4})]
    found = refine(wrong, sampled(PICKAXE, starts, success=1.0), VOCABULARY)
    assert found.operator is wrong


def test_a_consumption_that_goes_leaves_its_need_until_starts_without_it_succeed() -> None:
    """Every start had four wood: two are used, and whether two would do is not known."""
    wrong = planted(PICKAXE, consumes={"inventory:wood": 4})
    starts = (Starts(64, {"near:table": 1, "inventory:wood": [4, 5]}),)
    found = refine(wrong, sampled(PICKAXE, starts), VOCABULARY).operator
    assert found.consumes["inventory:wood"] == Linear(0, 2)
    assert found.requires["inventory:wood"] == Linear(0, 4)


def test_what_is_found_and_spent_on_the_way_is_not_consumed() -> None:
    """Wood in the bag at the start stays there: the policy gathers two and spends two."""
    episodes = sampled(planted(PICKAXE, consumes={}), PICKAXE_STARTS)
    wood = episodes.column("inventory:wood")
    episodes.fell[:, wood] += 2
    episodes.rose[:, wood] += 2
    assert (
        "inventory:wood" not in refine(planted(PICKAXE, consumes={}), episodes, VOCABULARY).operator.consumes
    )


@pytest.mark.parametrize(("more", "claimed"), [(70, 3), (40, 1)])
def test_most_successes_say_what_is_used_up(more: int, claimed: int) -> None:
    """One piece of wood is declared; a policy places a table for two more where none is near.

    A plan must not count on what is gone in most cases; where it mostly is not, it stays as declared.
    """
    sword = operator({}, {"inventory:wood": 1}, {"stat:pickaxe": 1})
    alone = sampled(planted(sword, consumes={"inventory:wood": 3}), [Starts(more, {"inventory:wood": 5})])
    beside = sampled(sword, [Starts(100 - more, {"inventory:wood": 5, "near:table": 1})])
    failures = sampled(sword, [Starts(40, {})])
    found = refine(sword, Trajectories.joined([alone, beside, failures]), VOCABULARY)
    assert found.operator.consumes == {"inventory:wood": Linear(0, claimed)}


def test_nothing_gained_is_refused() -> None:
    """``is_done`` says yes and nothing that the skill declares, nor anything else, is there."""
    claims = sampled(operator({"floor": 9}, {}, {"floor": 9}), [Starts(64, {})], done_needs_gains=False)
    with pytest.raises(ProposalRefused, match="none of the declared gains was measured") as refused:
        refine(operator({}, {}, {"inventory:stone": 1}), claims, VOCABULARY)
    assert refused.value.stage == "refine"


@given(
    seed=st.integers(0, 10_000),
    slope=st.integers(0, 2),
    used=st.integers(0, 3),
    needs_table=st.booleans(),
    success=st.sampled_from([0.8, 0.95, 1.0]),
)
@settings(max_examples=15, derandomize=True)
def test_a_random_right_operator_is_left_alone(
    seed: int, slope: int, used: int, needs_table: bool, success: float
) -> None:
    truth = operator(
        {"near:table": 1} if needs_table else {},
        {"inventory:wood": used} if used else {},
        {"inventory:stone": f"{slope}*n + 1" if slope else 1, "achievement:dig": 1},
    )
    starts = (
        Starts(120, {"near:table": 1, "inventory:wood": [used, used + 1]}),
        Starts(48, {"inventory:wood": [0, 3], "near:table": [0, 1]}),
    )
    episodes = sampled(truth, starts, seed, success, repeats=2 if slope else 1)
    assert refine(truth, episodes, VOCABULARY).changes == ()


def test_the_order_of_episodes_does_not_matter() -> None:
    wrong = planted(PICKAXE, consumes={"inventory:wood": 4}, requires={"floor": 0, "inventory:stone": 1})
    episodes = sampled(
        PICKAXE, [Starts(g.count, {"inventory:stone": [0, 1], **g.facts}) for g in PICKAXE_STARTS]
    )
    shuffled = episodes.select(np.random.default_rng(0).permutation(len(episodes)))
    assert refine(wrong, episodes, VOCABULARY) == refine(wrong, shuffled, VOCABULARY)
