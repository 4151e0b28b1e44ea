"""Models think while skills train, several at a time, each told what the others are at."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from replies import DIAMOND, FLAG_ONLY, MORE_WOOD, TABLE, WOOD, WOOD_ONLY, ThinkingSource, reply
from toy_runs import RunToy

from flowrl.errors import FatalProviderError, ProposalRefused
from flowrl.llm.errors import NothingToPropose
from flowrl.pipeline.claims import Claims
from flowrl.pipeline.events import Event, StageStarted, TrainingProgress
from flowrl.skills.operator import Linear, Operator

PATIENCE_S = 60.0
"""How long a double waits for what must happen before it calls the test failed."""

USE_DIAMOND = reply(
    "use_diamond",
    "now.inventory.pickaxe > start.inventory.pickaxe",
    "1.0 * (now.inventory.pickaxe - prev.inventory.pickaxe)",
    requires={"inventory:diamond": 1},
    gains={"inventory:pickaxe": 1},
)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """A conversation ends with its run, or as soon as its model answers."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("flowrl-proposal"):
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), thread.name


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S), "it never came to that"


def test_free_slots_ask_at_the_same_time_and_each_is_told_what_the_other_chose(run_toy: RunToy) -> None:
    both = threading.Barrier(2)

    def think(number: int) -> None:
        if number < 2:
            both.wait(PATIENCE_S)  # broken, and the run fails, unless both are asked at a time

    done = run_toy(ThinkingSource([FLAG_ONLY, WOOD_ONLY], think), slots=2, max_nodes=2)
    assert done.raised is None
    first, second = done.source.contexts
    assert (first.in_training, first.index) == ((), 0)
    assert (second.in_training, second.index) == (("gather_once",), 1)
    assert sorted(done.graph.names) == ["collect_wood", "gather_once"]


def test_training_goes_on_while_a_model_thinks(run_toy: RunToy) -> None:
    trained = threading.Event()

    def on(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.env_steps >= 3 * 32 * 16:
            trained.set()

    def think(number: int) -> None:
        if number == 1:
            wait_for(trained)

    done = run_toy(ThinkingSource([WOOD_ONLY, FLAG_ONLY], think), slots=2, max_nodes=2, on=on)
    assert done.raised is None
    assert sorted(done.graph.names) == ["collect_wood", "gather_once"]


def test_what_needs_a_skill_in_training_waits_for_it_and_is_not_refused(run_toy: RunToy) -> None:
    done = run_toy(ThinkingSource([WOOD, TABLE]), slots=2, max_nodes=2)
    assert done.raised is None
    assert done.graph.names == ("collect_wood", "place_table")
    assert done.graph.failures == ()
    assert done.source.refusals == []
    assert StageStarted("plan", "place_table", "waits for collect_wood") in done.events
    assert done.graph.nodes[1].plan == (("collect_wood", 1),)


def test_what_may_need_a_skill_that_is_still_being_written_waits_too(run_toy: RunToy) -> None:
    waits = threading.Event()

    def on(event: Event) -> None:
        if event == StageStarted("plan", "place_table", "waits for collect_wood"):
            waits.set()

    def think(number: int) -> None:
        if number == 0:
            wait_for(waits)

    done = run_toy(ThinkingSource([WOOD, TABLE], think), slots=2, max_nodes=2, on=on)
    assert done.raised is None
    assert done.graph.names == ("collect_wood", "place_table")
    assert done.source.refusals == []


def test_what_waits_for_a_skill_that_fails_is_refused_and_the_others_go_on(run_toy: RunToy) -> None:
    done = run_toy(
        ThinkingSource([DIAMOND, USE_DIAMOND, WOOD_ONLY]),
        slots=2, max_nodes=3, max_repairs=0, max_consecutive_failures=9, ppo={"total_timesteps": 16 * 512},
    )  # fmt: skip
    assert isinstance(done.raised, NothingToPropose)
    assert StageStarted("plan", "use_diamond", "waits for collect_diamond") in done.events
    stages = {failure.name: failure.stage for failure in done.graph.failures}
    assert stages == {"collect_diamond": "train", "use_diamond": "plan"}
    assert done.graph.names == ("collect_wood",)


def test_of_two_that_would_gain_the_same_one_is_refused(run_toy: RunToy) -> None:
    both = threading.Barrier(2)
    done = run_toy(
        ThinkingSource([WOOD_ONLY, MORE_WOOD], lambda _: both.wait(PATIENCE_S)),
        slots=2, max_nodes=2, max_repairs=0, max_consecutive_failures=1,
    )  # fmt: skip
    [failure] = done.graph.failures
    assert failure.stage == "plan"
    assert "those in training already gain (inventory:wood)" in failure.reason
    assert {failure.name, *done.graph.names} == {"collect_wood", "gather_more"}


def test_a_provider_s_error_in_a_thread_ends_the_run_after_what_trains(run_toy: RunToy) -> None:
    refused = FatalProviderError("The key was refused.")

    def think(number: int) -> None:
        if number == 1:
            raise refused

    done = run_toy(ThinkingSource([WOOD, TABLE], think), slots=2, max_nodes=3)
    assert done.raised is refused
    assert done.graph.names == ("collect_wood",)


def test_an_interrupt_does_not_wait_for_a_model(run_toy: RunToy) -> None:
    answered = threading.Event()

    def on(event: Event) -> None:
        if isinstance(event, TrainingProgress):
            raise KeyboardInterrupt

    def think(number: int) -> None:
        if number == 1:
            wait_for(answered)

    done = run_toy(ThinkingSource([WOOD_ONLY, FLAG_ONLY], think), slots=2, max_nodes=2, on=on)
    assert isinstance(done.raised, KeyboardInterrupt)
    assert done.journal[-1]["reason"] == "interrupted"
    told = len(done.events)
    answered.set()
    for thread in threading.enumerate():
        if thread.name.startswith("flowrl-proposal"):
            thread.join(PATIENCE_S)
    assert len(done.events) == told, "nobody is told of anything after the end"


def test_a_claim_shows_others_what_is_claimed_until_it_is_released() -> None:
    claims = Claims()
    wood = Operator({}, {}, {"inventory:wood": Linear(1, 0)})

    def refuse_all_but_the_first(others: object) -> None:
        if others:
            raise ProposalRefused("plan", "taken")

    claims.choose(0, "collect_wood")
    # A name alone claims no gain, and nobody stands in their own way.
    for _ in range(2):
        others = claims.claim(1, "gather", wood, refuse_all_but_the_first)
        assert (others.operators, others.undecided) == ({}, ("collect_wood",))
    assert claims.names == ("collect_wood", "gather")
    with pytest.raises(ProposalRefused):
        claims.claim(0, "collect_wood", wood, refuse_all_but_the_first)
    claims.choose(1, "gather_another_thing")
    assert claims.claim(0, "collect_wood", wood, refuse_all_but_the_first).undecided == (
        "gather_another_thing",
    )
    claims.release(1)
    assert claims.names == ("collect_wood",)
