"""Policies trained together in whole episodes, on a game of coins and bricks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_games import BRICKS, COINS, COLLECT, COLUMNS, DIE, SIGNAL, TIME, CoinGame
from small_trainers import ENVS, SETTINGS, STEPS, small_trainer
from test_executor import program

from flowrl.rl.agent import Agent
from flowrl.rl.agent_program import AgentProgram
from flowrl.rl.averaging import averaged
from flowrl.rl.environment import EnvPrograms
from flowrl.rl.executor import PlanProgram
from flowrl.rl.fights import FightWatch
from flowrl.rl.maintenance import Rule
from flowrl.rl.milestones import NEW_TILE
from flowrl.rl.practice import PracticeTrainer
from flowrl.rl.practice_starts import EVEN, FROM_KEPT, KEPT_A_SKILL, REMEMBERED
from flowrl.rl.practice_tally import PracticeReport
from flowrl.rl.shared_network import policy_of, shared_params, without_actions_of
from flowrl.rl.task import GOAL_FEATURES, MeasuredGain, Task

PLAN = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 1})
"""Two coins, then a brick of one."""

ENDLESS = program(({}, 0, 2), ({"coins": 2}, 1, 1), goal={"bricks": 99})
"""The same, and more bricks than anyone can build."""

FIVE_COINS = program(({}, 0, 5), goal={"coins": 5})

WORLDS, PATIENCE = 16, 50
NO_FIGHTS = FightWatch()


def nothing(start: jax.Array, prev: jax.Array, now: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A skill whose own reward says nothing: what is learned is the plan's and the game's."""
    del start, prev, n
    return jnp.zeros(len(now)), jnp.zeros(len(now), bool)


TASKS = (
    Task("collect", nothing, (MeasuredGain(COINS, 1, 0, "add"),), max_steps=10, max_repeat=9),
    Task("build", nothing, (MeasuredGain(BRICKS, 1, 0, "add"),), max_steps=10),
)


def bricks_count(before: jax.Array, after: jax.Array) -> jax.Array:
    """The game pays for the first brick."""
    return (after[:, BRICKS] > 0).astype(jnp.float32) * (before[:, BRICKS] == 0)


def practice(
    seed: int = 0,
    guides: Any = (None, None),
    immortal: bool = False,
    explored: tuple[int, int] | None = None,
    plans: tuple[PlanProgram, ...] = (PLAN,),
    rules: tuple[Rule, ...] = (),
    fights: FightWatch = NO_FIGHTS,
    patience: int = PATIENCE,
) -> PracticeTrainer:
    """Two policies that have learned nothing yet; episodes of at most twelve steps."""
    trainer = small_trainer(CoinGame(max_time=12), seed=seed)
    params = shared_params(trainer.initial_params(jax.random.key(seed)), 2, jax.random.key(seed + 1))
    for row in range(2) if immortal else ():
        params = without_actions_of(params, row, [DIE])
    return PracticeTrainer(
        trainer.programs,
        trainer.network,
        AgentProgram(plans, (patience,) * len(plans), rules),
        TASKS,
        bricks_count,
        explored,
        [BRICKS, COINS],
        fights,
        STEPS,
        SETTINGS,
        params,
        guides,
        trainer.programs.fresh(jax.random.key(7), WORLDS),
        seed,
    )


def test_a_plan_is_learned_by_those_that_carry_it_out() -> None:
    """At first few episodes end with a brick; then nearly all do, played by an ordinary agent too."""
    trainer = practice()
    reports = [trainer.update() for _ in range(60)]
    first, last = reports[:5], reports[-5:]
    assert share(first, 0) < 0.8
    assert share(last, 0) > 0.95
    game = CoinGame(max_time=12)
    programs = EnvPrograms(game, ENVS)
    agent = Agent(
        programs,
        small_trainer(game).network,
        AgentProgram((PLAN,), (50,)),
        TASKS,
        [policy_of(trainer.averaged, row) for row in range(2)],
    )
    played = agent.play(programs.fresh(jax.random.key(3), ENVS), 12, jax.random.key(4))
    assert np.asarray(played.reached).mean() > 0.9


def test_the_policies_are_averaged_over_about_the_last_quarter_of_the_updates() -> None:
    """The first update counts in full, the second for 4 in 5, the fifth for half; by hand after three."""
    mean = jnp.float32(99.0)
    for update, value in enumerate([8.0, 3.0, 6.0], start=1):
        mean = averaged(mean, jnp.float32(value), jnp.float32(update))
    assert float(mean) == pytest.approx((8 / 5 + 3 * 4 / 5) / 3 + 6 * 2 / 3)
    for update in range(1, 401):
        mean = averaged(mean, jnp.float32(update > 300), jnp.float32(update))
    assert 0.6 < float(mean) < 0.8


def test_what_is_averaged_are_the_policies_after_each_update() -> None:
    """All of their parameters."""
    trainer = practice()
    after = []
    for _ in range(2):
        trainer.update()
        after.append(trainer.params)

    def check(averaged: jax.Array, first: jax.Array, second: jax.Array) -> None:
        np.testing.assert_allclose(averaged, first / 5 + second * 4 / 5, rtol=1e-4, atol=1e-6)

    jax.tree.map(check, trainer.averaged, *after)


def test_an_agent_of_practised_policies_looks_once_and_sees_the_same() -> None:
    """One network is asked once an env, many are each asked for all envs: the same logits."""
    trainer = practice()
    policies = [policy_of(trainer.params, row) for row in range(2)]
    changed = {**policies[1], "value": jax.tree.map(lambda leaf: leaf + 1.0, policies[1]["value"])}
    programs, worlds = trainer._programs, trainer._programs.fresh(jax.random.key(3), ENVS)
    seen, which = worlds.seen, jnp.arange(ENVS) % 2
    features = jnp.concatenate([seen.features, jnp.ones((ENVS, GOAL_FEATURES))], axis=-1)
    logits = []
    for tree in (policies[1], changed):
        agent = Agent(programs, trainer._network, AgentProgram((PLAN,), (50,)), TASKS, [policies[0], tree])
        logits.append(np.asarray(agent._logits(agent._policies, which, seen.tiles, features)))
        assert agent._one_network == (tree is policies[1])
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    assert np.abs(logits[0][0] - logits[0][1]).max() > 1e-3


def share(reports: list[PracticeReport], column: int) -> float:
    """Of the episodes of several reports, how many held a watched column at the end."""
    ended = sum(report.ended_with[column] * report.episodes for report in reports)
    return float(ended / sum(report.episodes for report in reports))


def test_only_episodes_from_fresh_worlds_are_counted() -> None:
    """These last twelve steps; those from states in the middle of another one are shorter."""
    trainer = practice(immortal=True, plans=(ENDLESS,))
    counted = 0
    for _ in range(12):
        report = trainer.update()
        counted += report.episodes
        assert report.episodes == 0 or report.mean_length == pytest.approx(12)
    assert 0 < counted < 12 * ENVS * STEPS / 12


def test_the_latest_states_of_each_skill_are_kept() -> None:
    """The second policy's are those with two coins: that is when its step of the plan holds."""
    trainer = practice()
    for _ in range(40):
        trainer.update()
    starts = trainer._starts
    np.testing.assert_array_equal(np.asarray(starts.kept), KEPT_A_SKILL)
    kept = np.asarray(starts.bank.seen.snapshot)[WORLDS:].reshape(2, KEPT_A_SKILL, -1)
    assert (kept[1, :, COINS] >= 2).all()
    fresh = np.asarray(starts.bank.seen.snapshot)[:WORLDS]
    assert (fresh[:, COINS] == 0).all()


def test_states_are_kept_for_the_policy_that_begins_there() -> None:
    """A rule that took over at no coins lasts until there are three; who begins at one is not under it."""
    rule = Rule(column=COINS, below=0, until=3, policy=1, patience=50, rest=50)
    trainer = practice(plans=(ENDLESS,), rules=(rule,))
    under_the_rule_at_one = 0
    for _ in range(40):
        trainer.update()
        coins = np.asarray(trainer._carry.seen.snapshot)[:, COINS]
        under_the_rule_at_one += int(((coins == 1) & (np.asarray(trainer._carry.doing.policy) == 1)).sum())
    assert under_the_rule_at_one > 0
    starts = trainer._starts
    np.testing.assert_array_equal(np.asarray(starts.kept), KEPT_A_SKILL)
    kept = np.asarray(starts.bank.seen.snapshot)[WORLDS:].reshape(2, KEPT_A_SKILL, -1)
    assert (kept[0, :, COINS] == 1).all()
    assert (kept[1, :, COINS] != 1).all()


def test_the_games_own_end_cuts_an_episode_off() -> None:
    """What the value expects cannot see the hour: an end worth nothing would have to be learned as noise."""
    trainer = practice(immortal=True, plans=(ENDLESS,))
    for _ in range(12):
        trainer.update()
    rollout = trainer._rollouts[-1]
    assert np.asarray(rollout.truncated).any()
    assert not np.asarray(rollout.terminated).any()


def test_more_episodes_begin_with_what_seldom_comes_through() -> None:
    """Of two skills with a thousand calls each, one that never failed and one that always did."""
    trainer = practice(immortal=True)
    for _ in range(40):
        trainer.update()
    learned, before = trainer._starts.record, np.asarray(trainer._starts.record.calls)
    assert (np.asarray(learned.through) > 0.8 * np.asarray(learned.calls)).all()
    assert (np.asarray(learned.failing) < 0.25).all()
    assert (before > 10).all()
    # A call counts once, and less after every update.
    trainer.update()
    new = np.asarray(trainer._starts.record.calls) - REMEMBERED * before
    np.testing.assert_allclose(new, np.round(new), atol=1e-3)
    assert (new <= ENVS * STEPS / 2).all()
    record = learned._replace(calls=jnp.full(2, 1000.0), through=jnp.array([1000.0, 0.0]))
    starts = trainer._starts._replace(record=record)
    rows, fresh = starts.draw(10_000, jax.random.key(11))
    skills = (np.asarray(rows)[~np.asarray(fresh)] - WORLDS) // KEPT_A_SKILL
    assert np.asarray(fresh).mean() == pytest.approx(1 - FROM_KEPT, abs=0.03)
    assert (skills == 0).mean() == pytest.approx(EVEN / (1 + EVEN), abs=0.03)


def test_new_tiles_are_counted_on_one_floor_and_where_the_world_tells() -> None:
    """As if time were the tiles seen and coins the floor: more of them, fewer, and another floor."""
    before = np.zeros((4, len(COLUMNS)), np.float32)
    after = before.copy()
    after[:, TIME], after[:, COINS] = [1, 7, -5, 7], [0, 0, 0, 1]
    trainer = practice(explored=(TIME, COINS))
    np.testing.assert_array_equal(trainer._new_tiles(jnp.asarray(before), jnp.asarray(after)), [1, 7, 0, 0])
    np.testing.assert_array_equal(practice()._new_tiles(jnp.asarray(before), jnp.asarray(after)), np.zeros(4))


def test_searching_pays_by_how_seldom_calls_come_through() -> None:
    """Every step shows one more tile here; at first half of the calls are taken to fail."""
    paid = [
        float(trainer.update().metrics["reward"])
        for trainer in (practice(immortal=True), practice(immortal=True, explored=(TIME, SIGNAL)))
    ]
    assert 0 < paid[1] - paid[0] <= 0.5 * NEW_TILE + 1e-6


def test_worlds_are_renewed_where_they_are_told_to() -> None:
    trainer = practice()
    more = trainer._programs.fresh(jax.random.key(99), 4)
    more = more._replace(states=more.states._replace(bricks=jnp.full(4, 5, jnp.int32)))
    trainer.renew(more, 8)
    bricks = np.asarray(trainer._starts.bank.states.bricks)[:WORLDS]
    np.testing.assert_array_equal(bricks, [0] * 8 + [5] * 4 + [0] * 4)
    trainer.update()


def guide_to(action: int) -> Any:
    """A policy that always takes one action."""
    one = small_trainer(CoinGame()).initial_params(jax.random.key(5))
    bias = jnp.full(CoinGame.num_actions, -9.0).at[action].set(9.0)
    return {**one, "policy": {"kernel": jnp.zeros_like(one["policy"]["kernel"]), "bias": bias}}


def test_guides_are_imitated_while_they_count() -> None:
    """One skill is drawn towards what its guide does, the other, without one, is left to itself."""
    trainer = practice(guides=(guide_to(DIE), None))
    for _ in range(30):
        trainer.update(guidance=1.0)
    actions, rows = taken(trainer)
    assert (actions[rows == 0] == DIE).mean() > 0.9

    alone = practice(guides=(guide_to(DIE), None))
    for _ in range(30):
        alone.update(guidance=0.0)
    actions, rows = taken(alone)
    assert (actions[rows == 0] == DIE).mean() < 0.2
    assert (actions[rows == 0] == COLLECT).mean() > 0.4


def taken(trainer: PracticeTrainer) -> tuple[np.ndarray, np.ndarray]:
    """The actions of the last rollout, and whose they were."""
    rollout = trainer._rollouts[-1]
    return np.asarray(rollout.action).ravel(), np.asarray(rollout.features)[..., -1].ravel()


def test_the_same_seed_gives_the_same_policies() -> None:
    first, second = practice(seed=3), practice(seed=3)
    for trainer in (first, second):
        for _ in range(2):
            trainer.update()
    for one, other in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_as_many_steps_are_played_as_are_learned_from() -> None:
    """The steps of the next update are played during this one, but for the last."""
    trainer = practice()
    before = trainer._programs.env_steps
    for last in (False, False, True):
        trainer.update(last=last)
    assert trainer._programs.env_steps - before == 3 * ENVS * STEPS
    trainer.update(last=True)
    assert trainer._programs.env_steps - before == 4 * ENVS * STEPS


def test_an_episode_ends_when_every_target_is_reached() -> None:
    """Nothing is left to be earned: nobody who holds a brick plays on to the end of the game's time."""
    trainer = practice(immortal=True)
    reports = [trainer.update() for _ in range(30)][-5:]
    assert share(reports, 0) > 0.95
    assert max(report.mean_length for report in reports) < 9
    snapshots = np.asarray(trainer._carry.seen.snapshot)
    assert (np.asarray(trainer._carry.ended) | (snapshots[:, BRICKS] == 0)).all()
    rollout = trainer._rollouts[-1]
    finished, died = np.asarray(rollout.truncated), np.asarray(rollout.terminated)
    assert finished.any()
    assert not (finished & died).any()
    # An end that counts as worth nothing would be put off.
    learned = trainer._as_learned(trainer.params, rollout)
    np.testing.assert_allclose(np.asarray(learned.final_value), np.asarray(learned.value).mean(), rtol=1e-5)


def test_targets_in_another_order_are_as_if_they_had_been_so_from_the_start() -> None:
    """From the first step on."""
    forwards, backwards = practice(plans=(PLAN, FIVE_COINS)), practice(plans=(FIVE_COINS, PLAN))
    forwards.pursue_in_order(AgentProgram((FIVE_COINS, PLAN), (PATIENCE, PATIENCE)), [1, 0])
    for trainer in (forwards, backwards):
        for _ in range(2):
            trainer.update()
    for one, other in zip(jax.tree.leaves(forwards.params), jax.tree.leaves(backwards.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_under_way_keeps_its_target_when_the_order_changes() -> None:
    """Three targets go round by one place: what each env pursues, and how often each has rested."""
    plans = (PLAN, FIVE_COINS, ENDLESS)
    trainer = practice(plans=plans, immortal=True, patience=3)
    for _ in range(4):
        trainer.update()
    before, ready = trainer._carry, trainer._ready
    assert np.asarray(before.doing.rested).any()
    assert len(np.unique(before.doing.target)) > 1
    with pytest.raises(ValueError, match="not each of them once"):
        trainer.pursue_in_order(AgentProgram(plans, (3,) * 3), [2, 0, 0])
    trainer.pursue_in_order(AgentProgram((plans[2], plans[0], plans[1]), (3,) * 3), [2, 0, 1])
    after = trainer._carry
    assert trainer._ready is not None
    assert ready is not None
    for was, now in (
        (before.doing.target, after.doing.target),
        (before.milestones.target, after.milestones.target),
        (ready.doing.target, trainer._ready.doing.target),
    ):
        np.testing.assert_array_equal(now, np.where(np.asarray(was) < 0, -1, (np.asarray(was) + 1) % 3))
    np.testing.assert_array_equal(after.doing.rested, np.roll(before.doing.rested, 1, axis=1))
    trainer.update()


def test_fights_are_reported_with_the_rollout_in_which_they_end() -> None:
    """Every call of a rule that waits for a coin ends when there is one; each costs the coin it gives."""
    rule = Rule(column=COINS, below=0, until=1, policy=0, patience=50, rest=50)
    watch = FightWatch(rules=(0,), tools=((BRICKS, 1.0),), health=COINS)
    trainer = practice(plans=(ENDLESS,), immortal=True, rules=(rule,), fights=watch)
    reports = [trainer.update() for _ in range(6)]
    ended = sum(report.fights for report in reports)
    assert ended[0, 0] > 20
    assert 0 < ended[1, 1] < ended[0, 0]
    # What begins without a coin ends with one, or with the game's time.
    assert 0 < -ended[0, 2] <= ended[0, 0]
    # Sums that are never emptied would be six times those of the first rollout by now.
    assert reports[5].fights[0, 0] < 2 * reports[1].fights[0, 0]


def test_kept_states_of_skills_that_no_longer_begin_there_are_given_up() -> None:
    """Where two coins are, a plan for a brick builds and a plan for coins collects: filed under either."""
    plans = (PLAN, FIVE_COINS)
    trainer = practice(plans=plans, immortal=True)
    for _ in range(6):
        trainer.update()
    collecting, building = np.asarray(trainer._starts.kept).tolist()
    assert collecting > 0
    assert building > 0
    trainer.pursue_in_order(AgentProgram((FIVE_COINS, PLAN), (PATIENCE, PATIENCE)), [1, 0])
    assert np.asarray(trainer._starts.kept).tolist() == [collecting, 0]
