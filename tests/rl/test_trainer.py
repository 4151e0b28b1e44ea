"""The slot trainer: tasks side by side, refilled slots, banks of start states, truncation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import (
    ACTION,
    BUILD,
    CHOOSE_ACTION,
    COINS,
    COLLECT,
    CONSTANT,
    ENDLESS,
    ENDLESS_REWARD,
    ENDLESS_STEPS,
    TIME,
    TWO_STEPS,
    ProbeGame,
)
from small_trainers import BANK, ENVS, SETTINGS, STEPS, policy_at, small_trainer, starts_of

from flowrl.report.bench_slots import compilations
from flowrl.rl.environment import EnvPrograms
from flowrl.rl.task import Task
from flowrl.rl.trainer import SlotTrainer, TrainerShape


def choosing(action: int) -> Task:
    """One step; own reward 1 for ``action``."""

    def program(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del start, prev, n
        return (now[:, ACTION] == action).astype(jnp.float32), jnp.ones(len(now), bool)

    return Task(f"choose_{action}", program, (), 10)


@pytest.fixture(scope="module")
def two_slots() -> SlotTrainer:
    """A trainer with two slots; every test assigns them anew."""
    return small_trainer(ProbeGame("time"), slots=2)


def leaves_of(tree: Any) -> list[np.ndarray]:
    """On the host, to compare after the originals are donated."""
    return [np.array(leaf) for leaf in jax.tree.leaves(tree)]


def same(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    """Bit by bit."""
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_two_slots_learn_two_tasks_side_by_side() -> None:
    """Each its own action, from one program."""
    trainer = small_trainer(ProbeGame(), slots=2)
    starts = trainer.programs.fresh(jax.random.key(0), BANK)
    trainer.assign(0, choosing(BUILD), starts)
    trainer.assign(1, choosing(COLLECT), starts)
    for _ in range(25):
        trainer.update()
    for slot, action in enumerate((BUILD, COLLECT)):
        assert policy_at(trainer, slot)[0][action] > 0.95


def test_a_refilled_slot_compiles_its_judge_alone(two_slots: SlotTrainer) -> None:
    """Neither the env, nor acting, nor the update; its neighbour keeps its policy and goes on."""
    starts = starts_of(two_slots)
    two_slots.assign(0, choosing(BUILD), starts)
    two_slots.assign(1, choosing(COLLECT), starts)
    two_slots.update()
    two_slots.release(0)
    two_slots.update()
    neighbour = leaves_of(two_slots.params(1))
    with compilations() as names:
        two_slots.assign(0, TWO_STEPS, starts)
        assert same(neighbour, leaves_of(two_slots.params(1)))
        report, _ = two_slots.update()
    assert report is not None
    assert report.mean_length == 2
    assert names["judge_slot"] == 1
    for program in ("_act_batch", "_update_slots", "_advance_batch", "_generate_chunk", "_init_params"):
        assert names[program] == 0, names


def test_reports_count_episodes(two_slots: SlotTrainer) -> None:
    """Every env finishes an episode of two steps eight times in sixteen; idle slots report None."""
    two_slots.release(0)
    two_slots.assign(1, TWO_STEPS, starts_of(two_slots))
    for _ in range(2):
        idle, report = two_slots.update()
        assert idle is None
        assert report is not None
        assert (report.episodes, report.successes) == (ENVS * STEPS // 2, ENVS * STEPS // 2)
        assert report.mean_length == 2
        assert report.metrics["reward"] == pytest.approx(0.5)


def test_endings_that_fall_between_updates_are_counted_once(two_slots: SlotTrainer) -> None:
    """Episodes of three steps do not divide a rollout of sixteen; three rollouts hold sixteen each."""

    def program(
        start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del start, prev, n
        return jnp.zeros(len(now)), now[:, TIME] >= 3

    two_slots.assign(0, Task("three_steps", program, (), 10), starts_of(two_slots))
    episodes = [two_slots.update()[0].episodes for _ in range(3)]  # type: ignore[union-attr]
    assert episodes == [5 * ENVS, 5 * ENVS, 6 * ENVS]


def test_a_truncated_episode_is_worth_the_state_before_its_reset(two_slots: SlotTrainer) -> None:
    """The policy sees the time: the value that is bootstrapped is that of time 4, not of a fresh start."""
    two_slots.release(1)
    two_slots.assign(0, ENDLESS, starts_of(two_slots))
    two_slots.update([0.0, 0.0])
    assert two_slots._carry is not None
    # The last step's verdict is noted inside the update.
    rollout = jax.tree.map(lambda leaf: np.asarray(leaf[:-1, :ENVS]), two_slots._carry.rollout)
    assert rollout.truncated.sum() == ENVS * (STEPS // ENDLESS_STEPS - 1)
    cut, fresh = (policy_at(two_slots, feature=time)[1] for time in (float(ENDLESS_STEPS), 0.0))
    assert abs(cut - fresh) > 0.01
    np.testing.assert_allclose(rollout.final_value[rollout.truncated], cut, rtol=1e-4)
    np.testing.assert_allclose(rollout.reward, ENDLESS_REWARD, rtol=1e-6)
    after_the_cut = np.roll(rollout.truncated, 1, axis=0)
    np.testing.assert_allclose(rollout.value[after_the_cut], fresh, rtol=1e-4)


def test_the_repeat_count_is_drawn_from_one_to_the_largest(two_slots: SlotTrainer) -> None:
    """And the time that an episode may take grows with it."""
    endless = Task("endless", ENDLESS.program, (), max_steps=2, max_repeat=3)
    two_slots.assign(0, endless, starts_of(two_slots))
    two_slots.assign(1, ENDLESS, starts_of(two_slots))
    lengths = set()
    for _ in range(2):
        two_slots.update()
        assert two_slots._carry is not None
        rollout = two_slots._carry.rollout
        ended = np.asarray(rollout.truncated[:, :ENVS])
        lengths |= set(np.asarray(rollout.length[:, :ENVS])[ended].tolist())
        assert (np.asarray(two_slots._carry.progress.n[ENVS:]) == 1).all()
    assert lengths == {2, 4, 6}


def starting_coins(trainer: SlotTrainer, slot: int) -> set[int]:
    """What the episodes under way in a slot began with."""
    assert trainer._carry is not None
    own = slice(slot * ENVS, (slot + 1) * ENVS)
    return set(np.asarray(trainer._carry.progress.start[own, COINS]).astype(int).tolist())


def test_every_slot_starts_from_its_own_bank(two_slots: SlotTrainer) -> None:
    """Of any size; refreshed in part while training goes on."""
    two_slots.assign(0, CONSTANT, starts_of(two_slots, coins=10))
    two_slots.assign(1, CONSTANT, starts_of(two_slots, coins=20, count=5))
    two_slots.update()
    assert starting_coins(two_slots, 0) == {10}
    assert starting_coins(two_slots, 1) == {20}
    two_slots.refresh(1, starts_of(two_slots, coins=30, count=BANK // 2), at=BANK // 2)
    seen: set[int] = set()
    for _ in range(3):
        two_slots.update()
        seen |= starting_coins(two_slots, 1)
        assert starting_coins(two_slots, 0) == {10}
    assert seen == {20, 30}


def test_the_bank_survives_training(two_slots: SlotTrainer) -> None:
    """Env states are donated at every step; the start states that they were copied from are not."""
    starts = starts_of(two_slots, coins=4)
    before = leaves_of(starts)
    two_slots.assign(0, CONSTANT, starts)
    two_slots.update()
    two_slots.assign(0, TWO_STEPS, starts)
    two_slots.update()
    assert same(before, leaves_of(starts))


def test_a_learning_rate_of_zero_changes_nothing(two_slots: SlotTrainer) -> None:
    """In its own slot; the other one learns."""
    starts = starts_of(two_slots)
    two_slots.assign(0, CHOOSE_ACTION, starts)
    two_slots.assign(1, CHOOSE_ACTION, starts)
    before = [leaves_of(two_slots.params(slot)) for slot in (0, 1)]
    two_slots.update([0.0, 1.0])
    assert same(before[0], leaves_of(two_slots.params(0)))
    assert not same(before[1], leaves_of(two_slots.params(1)))


def test_parameters_can_be_given_and_are_fresh_otherwise(two_slots: SlotTrainer) -> None:
    """A slot never goes on with the policy of the task before it."""
    starts = starts_of(two_slots)
    given = two_slots.initial_params(jax.random.key(42))
    two_slots.assign(0, CHOOSE_ACTION, starts, params=jax.device_get(given))
    assert same(leaves_of(given), leaves_of(two_slots.params(0)))
    two_slots.update()
    trained = leaves_of(two_slots.params(0))
    two_slots.assign(0, CHOOSE_ACTION, starts)
    assert not same(trained, leaves_of(two_slots.params(0)))


def test_the_same_seed_gives_the_same_policy() -> None:
    """And another seed another one."""

    def policy(seed: int) -> list[np.ndarray]:
        trainer = small_trainer(ProbeGame(), seed=seed)
        trainer.assign(0, CHOOSE_ACTION, trainer.programs.fresh(jax.random.key(0), BANK))
        trainer.update()
        return leaves_of(trainer.params(0))

    assert same(policy(1), policy(1))
    assert not same(policy(1), policy(2))


def test_each_stage_is_observed() -> None:
    """What a benchmark waits at: three programs a step, then the update."""
    stages: list[str] = []
    programs = EnvPrograms(ProbeGame(), ENVS)
    shape = TrainerShape(1, ENVS, STEPS, 32, BANK)
    trainer = SlotTrainer(programs, shape, SETTINGS, observe=lambda stage, _: stages.append(stage))
    trainer.assign(0, CONSTANT, programs.fresh(jax.random.key(0), BANK))
    trainer.update()
    assert stages == ["policy", "env", "judge"] * STEPS + ["update"]


def test_misuse_is_refused() -> None:
    """Programs of another batch size; training nothing."""
    programs = EnvPrograms(ProbeGame(), 3)
    with pytest.raises(ValueError, match="step 3 envs, the trainer needs 16"):
        SlotTrainer(programs, TrainerShape(1, ENVS, STEPS, 32, BANK), SETTINGS)
    with pytest.raises(RuntimeError, match="assign a task"):
        small_trainer(ProbeGame()).update()
