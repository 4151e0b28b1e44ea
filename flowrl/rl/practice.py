"""All policies of an agent trained together by PPO, in the whole episodes that the agent itself plays.

Plans and rules choose the policy in charge at every step, exactly as in :class:`~flowrl.rl.agent.Agent`, so
every policy learns where the agent really calls it, and what follows its call is part of what its actions are
worth. All share one network (:mod:`flowrl.rl.shared_network`) and one value function: what one skill's policy
learns about staying alive, all know.

Half of the episodes begin in a fresh world, the others in the middle of an earlier one
(:mod:`flowrl.rl.practice_starts`). An episode ends with death, with the game's time, or when every target is
reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.agent_program import AgentProgram, ProgramTable, standing
from flowrl.rl.averaging import averaged
from flowrl.rl.calls import Calls, no_calls, note_calls
from flowrl.rl.compiled import compiled, run_aside, split_key
from flowrl.rl.environment import EnvPrograms, Placed, Seen, copy_rows, put_rows, rows_of, where_rows
from flowrl.rl.fights import Fights, FightWatch, note_fights
from flowrl.rl.milestones import Milestones, pay
from flowrl.rl.network import ActorCritic, apply_of
from flowrl.rl.ppo import PPOSettings, Rollout, as_of_now, make_optimizer, ppo_update
from flowrl.rl.practice_starts import Record, Starts
from flowrl.rl.practice_tally import PracticeReport, Tally, report_of
from flowrl.rl.pursuit import Pursuit, nothing_pursued, pursue
from flowrl.rl.shared_network import apply_shared
from flowrl.rl.task import GOAL_FEATURES, GoalTable, Task, goal_features

GameReward = Callable[[jax.Array, jax.Array], jax.Array]
"""``(before [B, D], after [B, D]) -> float32 [B]``: the game's own reward, read off snapshots."""

ROLLOUTS = 2
"""One to learn from, one to play into meanwhile."""


class PracticeTrainer:
    """Trains the policies of one agent.

    What is kept is :attr:`averaged`, the policies averaged over updates, the later ones the more
    (docs/decisions/0010).

    Args:
        programs: the env's programs; B envs step together.
        network: of one policy.
        program: the agent's targets and rules; its policies are rows of ``tasks``.
        tasks: S tasks; their own rewards shape, their ``done`` is not asked: the plans know.
        game_reward: what counts in the end.
        explored: snapshot columns: how many tiles of a floor have been seen, and which floor it is; None
            where the world does not tell.
        watched: snapshot columns that are reported at the end of episodes.
        fights: which rules and tools sums are kept of.
        num_steps: T, env steps of each env between two updates.
        settings: PPO's numbers.
        params: of all policies, as :func:`~flowrl.rl.shared_network.shared_params` makes them.
        guides: what each skill's policy may be told to imitate: parameters of the ordinary form, None where
            there is no such policy.
        worlds: W fresh worlds.
        seed: of every random choice.
    """

    def __init__(
        self,
        programs: EnvPrograms,
        network: ActorCritic,
        program: AgentProgram,
        tasks: Sequence[Task],
        game_reward: GameReward,
        explored: tuple[int, int] | None,
        watched: Sequence[int],
        fights: FightWatch,
        num_steps: int,
        settings: PPOSettings,
        params: Any,
        guides: Sequence[Any | None],
        worlds: Placed,
        seed: int,
    ) -> None:
        self.params = self.averaged = params
        self._updates = 0
        self._programs = programs
        self._network = network
        self._one = apply_of(network)
        self._table = ProgramTable.of(program, GoalTable.of(list(tasks)))
        self._tasks = tuple(tasks)
        self._game_reward = game_reward
        self._explored = explored
        self._watched = np.asarray(watched, np.int32)
        self._fights = fights
        self._guided = jnp.array([guide is not None for guide in guides])
        known = [guide for guide in guides if guide is not None]
        filled = [known[0] if guide is None else guide for guide in guides] if known else []
        self._guides = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled) if known else None
        self._num_steps = num_steps
        self._settings = settings
        self._key = jax.random.key(seed)
        self._opt_state = make_optimizer(settings).init(params)
        self._act = compiled(self._act_batch, donate=(3, 4))
        self._judge = compiled(self._judge_batch, donate=(1,))
        self._keep = compiled(self._keep_states, donate=(1,))
        self._update = compiled(self._update_params, donate=(2,))
        self._renew = compiled(put_rows, donate=(0,))
        self._average = compiled(averaged)
        self._starts = Starts.of(worlds, len(tasks))
        self._carry = self._first_carry()
        self._rollouts = [self._empty_rollout() for _ in range(ROLLOUTS)]
        self._ready: _Played | None = None

    def update(self, lr_scale: float = 1.0, guidance: float = 0.0, last: bool = False) -> PracticeReport:
        """One PPO update of all policies from T env steps of all envs.

        Meanwhile the steps of the next update are played, with the policies as they were before this one: a
        CPU plays on one core and learns on another. What is learned from is always one update old, so the
        same seed still gives the same policies (Cleanba, Huang et al. 2023, arXiv 2310.00036).

        Args:
            lr_scale: what the learning rate is multiplied by.
            guidance: how much the policies are drawn towards their guides.
            last: no update follows: nothing is played for it.
        """
        weight = jnp.float32(guidance if self._guides is not None else 0.0)
        played = self._ready or self._play(weight)
        learning = run_aside(
            self._update, self._table, self.params, self._opt_state, played.rollout, played.seen,
            played.doing, self._next_key(), jnp.float32(lr_scale), weight,
        )  # fmt: skip
        self._ready = None if last else self._play(weight)
        self.params, self._opt_state, metrics = learning.result()
        self._updates += 1
        self.averaged = self._average(self.averaged, self.params, np.float32(self._updates))
        report = report_of(*jax.device_get((played.tally, played.fights, metrics)))
        self._rollouts.append(played.rollout)
        return report

    def _play(self, guidance: jax.Array) -> _Played:
        """T env steps in all envs, and states that episodes may begin in from now on."""
        carry, rollout = self._carry, self._rollouts.pop()
        for t in range(self._num_steps):
            rollout, states, doing, tally, actions, before = self._act(
                self._table, self.params, self._starts, rollout, carry.states, carry.seen, carry.ended,
                carry.doing, carry.tally, self._guides, guidance, self._next_key(), np.int32(t),
            )  # fmt: skip
            placed = self._programs.advance(states, actions, self._next_key())
            rollout, ended, milestones, tally, calls, fights = self._judge(
                self._table, rollout, doing, before, placed.seen, carry.milestones, tally, carry.calls,
                carry.fights, self._starts.record, np.int32(t),
            )  # fmt: skip
            carry = _Carry(placed.states, placed.seen, ended, doing, milestones, tally, calls, fights)
        self._starts, calls = self._keep(
            self._table, self._starts, carry.states, carry.seen, carry.ended, carry.calls, self._next_key()
        )
        self._carry = carry._replace(tally=carry.tally.emptied(), calls=calls, fights=carry.fights.emptied())
        return _Played(rollout, carry.seen, carry.doing, carry.tally, carry.fights.sums)

    def renew(self, worlds: Placed, at: int) -> None:
        """Replaces the fresh worlds from row ``at`` on, so that no policy learns them by heart."""
        self._starts = self._starts._replace(bank=self._renew(self._starts.bank, worlds, jnp.int32(at)))

    def pursue_in_order(self, program: AgentProgram, places: Sequence[int]) -> None:
        """Goes on with the same targets in another order; to be called between two updates.

        Args:
            program: with the targets in their new order.
            places: the place that each of them had so far.

        Raises:
            ValueError: ``places`` names a target twice, or leaves one out.
        """
        if sorted(places) != list(range(len(self._table.goal_index))):
            raise ValueError(f"the targets had the places {list(places)}: not each of them once")
        self._table = ProgramTable.of(program, self._table.goals)
        snapshots = self._starts.bank.seen.snapshot
        begun = pursue(self._table, snapshots, nothing_pursued(self._table, snapshots))
        self._starts = self._starts.filed_again(begun.policy)
        moved = jnp.argsort(jnp.asarray(places))

        def in_order(doing: Pursuit) -> Pursuit:
            return doing._replace(
                target=_moved(doing.target, moved), rested=doing.rested[:, np.asarray(places)]
            )

        carry = self._carry
        milestones = carry.milestones._replace(target=_moved(carry.milestones.target, moved))
        self._carry = carry._replace(doing=in_order(carry.doing), milestones=milestones)
        if self._ready is not None:
            self._ready = self._ready._replace(doing=in_order(self._ready.doing))

    def _next_key(self) -> jax.Array:
        self._key, key = split_key(self._key)
        return key

    # --- the compiled programs -----------------------------------------------------------------

    def _apply(self, params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``(logits, value)``; the policy's row rides along as the last feature, through PPO's batches."""
        return apply_shared(self._one, params, features[:, -1].astype(jnp.int32), tiles, features[:, :-1])

    def _features(self, table: ProgramTable, seen: Seen, doing: Pursuit) -> jax.Array:
        goal = goal_features(table.goals, doing.policy, doing.start, seen.snapshot, doing.n)
        return jnp.concatenate([seen.features, goal, doing.policy[:, None].astype(jnp.float32)], axis=-1)

    def _act_batch(
        self,
        table: ProgramTable,
        params: Any,
        starts: Starts,
        rollout: Rollout,
        states: Any,
        seen: Seen,
        ended: jax.Array,
        doing: Pursuit,
        tally: Tally,
        guides: Any | None,
        guidance: jax.Array,
        key: jax.Array,
        t: jax.Array,
    ) -> tuple[Rollout, Any, Pursuit, Tally, jax.Array, jax.Array]:
        """Begins episodes where one has ended, decides what to do, acts, and notes it down."""
        start_key, action_key = jax.random.split(key)
        rows, fresh = starts.draw(ended.shape[0], start_key)
        states = copy_rows(states, starts.bank.states, rows, ended)
        seen = where_rows(ended, rows_of(starts.bank.seen, rows), seen)
        doing = where_rows(ended, nothing_pursued(table, seen.snapshot), doing)
        tally = tally.one_step_on(ended, fresh)
        doing = pursue(table, seen.snapshot, doing)
        features = self._features(table, seen, doing)
        logits, value = self._apply(params, seen.tiles, features)
        actions = jax.random.categorical(action_key, logits)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), actions[:, None], axis=-1)[:, 0]
        if guides is not None:
            guide = jax.lax.cond(
                guidance > 0,
                lambda: self._guide(guides, doing.policy, seen.tiles, features[:, :-1]),
                lambda: jnp.zeros_like(logits),
            )
            rollout = rollout._replace(guide=rollout.guide.at[t].set(guide))
        rollout = rollout._replace(
            tiles=rollout.tiles.at[t].set(seen.tiles),
            features=rollout.features.at[t].set(features),
            action=rollout.action.at[t].set(actions),
            log_prob=rollout.log_prob.at[t].set(log_prob),
            value=rollout.value.at[t].set(value),
        )
        return rollout, states, doing, tally, actions, seen.snapshot

    def _guide(self, guides: Any, policy: jax.Array, tiles: jax.Array, features: jax.Array) -> jax.Array:
        """Log probabilities ``[B, A]`` of the guide of each env's policy; 0 where it has none."""
        logits = jax.vmap(lambda guide: self._one(guide, tiles, features)[0])(guides)
        chosen = jnp.take_along_axis(logits, policy[None, :, None], axis=0)[0]
        return jnp.where(self._guided[policy][:, None], jax.nn.log_softmax(chosen), 0.0)

    def _judge_batch(
        self,
        table: ProgramTable,
        rollout: Rollout,
        doing: Pursuit,
        before: jax.Array,
        seen: Seen,
        milestones: Milestones,
        tally: Tally,
        calls: Calls,
        fights: Fights,
        record: Record,
        t: jax.Array,
    ) -> tuple[Rollout, jax.Array, Milestones, Tally, Calls, Fights]:
        """Pays for the step and counts the calls, the fights and the episodes that it ended."""
        after = seen.snapshot
        own = jnp.stack([task.program(doing.start, before, after, doing.n)[0] for task in self._tasks])
        own = jnp.take_along_axis(own, doing.policy[None], axis=0)[0]
        searched = record.failing[doing.policy] * self._new_tiles(before, after)
        paid, milestones = pay(table, milestones, doing, before, after, own, searched)
        # When every target is reached, what is left pays nothing, and those who get there live the longest.
        # The value does not see what has been reached, nor the hour at which the game ends: it expects as
        # much as ever, so an end that is worth nothing would be a loss to be put off. It is cut off instead.
        cut_off = ~seen.died & (seen.time_up | jnp.all(standing(table, after).reached, axis=1))
        ended = seen.died | cut_off
        rollout = rollout._replace(
            reward=rollout.reward.at[t].set(self._game_reward(before, after) + paid),
            terminated=rollout.terminated.at[t].set(seen.died),
            truncated=rollout.truncated.at[t].set(cut_off),
        )
        tally = tally.counted(ended, after[:, self._watched] > 0)
        now = pursue(table, after, doing)
        calls = note_calls(table, calls, doing, now, before, after, seen.died)
        calls = calls._replace(under_way=jnp.where(ended, 0, calls.under_way))
        fights = note_fights(self._fights, fights, doing, now, before, after, ended)
        return rollout, ended, milestones.forgotten(ended), tally, calls, fights

    def _new_tiles(self, before: jax.Array, after: jax.Array) -> jax.Array:
        """float32 ``[B]``: tiles seen for the first time in this step; 0 where it led to another floor."""
        if self._explored is None:
            return jnp.zeros(before.shape[0])
        explored, floor = self._explored
        stayed = after[:, floor] == before[:, floor]
        return jnp.where(stayed, jnp.maximum(after[:, explored] - before[:, explored], 0.0), 0.0)

    def _keep_states(
        self,
        table: ProgramTable,
        starts: Starts,
        states: Any,
        seen: Seen,
        ended: jax.Array,
        calls: Calls,
        key: jax.Array,
    ) -> tuple[Starts, Calls]:
        """Takes in states of those who play on, and how calls have ended, and empties their count.

        A state is filed under the policy that an episode begins with there, which remembers nothing: not
        that a rule was in force already, nor what was given up.
        """
        begun = pursue(table, seen.snapshot, nothing_pursued(table, seen.snapshot))
        starts = starts.with_states(Placed(states, seen), begun.policy, ~ended, calls.ended, key)
        return starts, calls._replace(ended=jnp.zeros_like(calls.ended))

    def _update_params(
        self,
        table: ProgramTable,
        params: Any,
        opt_state: Any,
        rollout: Rollout,
        seen: Seen,
        doing: Pursuit,
        key: jax.Array,
        lr_scale: jax.Array,
        guidance: jax.Array,
    ) -> tuple[Any, Any, dict[str, jax.Array]]:
        doing = pursue(table, seen.snapshot, doing)
        last_value = self._apply(params, seen.tiles, self._features(table, seen, doing))[1]
        rollout = self._as_learned(params, rollout)
        params, opt_state, metrics = ppo_update(
            params, opt_state, rollout, last_value, key, lr_scale, self._apply, self._settings, guidance
        )
        return params, opt_state, {**metrics, "reward": rollout.reward.mean()}

    def _as_learned(self, params: Any, rollout: Rollout) -> Rollout:
        """With the values of today; an episode that was cut off is worth as much as any state, on average.

        As if it went on in some other world. What was expected right before, in its place, would be learned
        from itself: it grows by the last reward with every update (docs/LOG.md).
        """
        rollout = as_of_now(params, self._apply, rollout)
        return rollout._replace(final_value=jnp.full_like(rollout.value, rollout.value.mean()))

    def _first_carry(self) -> _Carry:
        """Every env is about to begin an episode."""
        batch = self._programs.batch
        placed = rows_of(self._starts.bank, np.arange(batch) % self._starts.worlds)
        seen = placed.seen
        return _Carry(
            placed.states, seen, jnp.ones(batch, bool), nothing_pursued(self._table, seen.snapshot),
            Milestones.none(batch, self._table.rules.places), Tally.none(batch, len(self._watched)),
            no_calls(batch, len(self._tasks)), Fights.none(batch, self._fights),
        )  # fmt: skip

    def _empty_rollout(self) -> Rollout:
        seen = self._carry.seen
        features = seen.features.shape[-1] + GOAL_FEATURES + 1
        actions = 0 if self._guides is None else self._network.num_actions
        return Rollout.empty(self._num_steps, self._programs.batch, seen.tiles.shape[1:], features, actions)


class _Carry(NamedTuple):
    """Everything that goes from one env step to the next; ``ended`` ``[B]``: an episode, in the last one."""

    states: Any
    seen: Seen
    ended: jax.Array
    doing: Pursuit
    milestones: Milestones
    tally: Tally
    calls: Calls
    fights: Fights


class _Played(NamedTuple):
    """T env steps to learn from; ``seen`` and ``doing`` after the last of them."""

    rollout: Rollout
    seen: Seen
    doing: Pursuit
    tally: Tally
    fights: jax.Array


def _moved(target: jax.Array, to: jax.Array) -> jax.Array:
    """Targets ``[B]``, -1 for none, by their new places."""
    return jnp.where(target >= 0, to[target], -1).astype(jnp.int32)
