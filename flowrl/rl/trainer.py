"""PPO for K tasks at once in one compiled program; what differs between tasks is data or a small judge.

Every step dispatches three programs: ``act`` (reset what ended, choose actions, note everything down),
``advance`` (the env, shared with the rest of the run) and one ``judge`` a slot. Only ``judge`` depends on the
task, so a new task costs a small compile, not the env's and PPO's. ``update`` closes a rollout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.rl.compiled import compiled, split_key
from flowrl.rl.environment import EnvPrograms, Placed, Seen, copy_rows, put_rows, rows_of, where_rows
from flowrl.rl.maintenance import InForce, Maintenance, maintained, rules_in_force
from flowrl.rl.network import ActorCritic, apply_of, init_params
from flowrl.rl.ppo import PPOSettings, Rollout, make_optimizer, ppo_update
from flowrl.rl.slot_judge import all_ended, idle_judge, note_verdict, slot_judge
from flowrl.rl.task import GOAL_FEATURES, GoalTable, Progress, Task, Verdict, goal_features

Observer = Callable[[str, Any], None]
"""``(stage, outputs)``: stage is ``policy``, ``env``, ``judge`` or ``update``."""


@dataclass(frozen=True)
class TrainerShape:
    """The sizes that the compiled programs depend on.

    Attributes:
        num_slots: K.
        num_envs: N, envs a slot.
        num_steps: T, steps of a rollout.
        layer_size: width of the network's hidden layers.
        bank_size: M, start states a slot draws from.
    """

    num_slots: int
    num_envs: int
    num_steps: int
    layer_size: int
    bank_size: int

    @property
    def batch(self) -> int:
        """B = K * N, the envs that step together."""
        return self.num_slots * self.num_envs


@dataclass(frozen=True)
class SlotReport:
    """One update of one slot.

    Attributes:
        episodes: finished in this rollout.
        successes: of them.
        mean_length: env steps of the finished ones; 0 when there are none.
        metrics: losses and mean reward by name.
    """

    episodes: int
    successes: int
    mean_length: float
    metrics: dict[str, float]


class _Tables(NamedTuple):
    """What ``act`` must know of the slots' tasks, as data."""

    goals: GoalTable
    max_repeat: jax.Array


class SlotTrainer:
    """Trains up to K tasks; slots are assigned and released at any time between updates.

    Args:
        programs: the env's programs, for a batch of ``shape.batch``.
        shape: sizes.
        settings: PPO's numbers.
        seed: of every random choice in training.
        observe: is told ``(stage, outputs)`` after each program is dispatched; a benchmark waits there.
    """

    def __init__(
        self,
        programs: EnvPrograms,
        shape: TrainerShape,
        settings: PPOSettings,
        seed: int = 0,
        observe: Observer | None = None,
    ) -> None:
        if programs.batch != shape.batch:
            raise ValueError(f"the env programs step {programs.batch} envs, the trainer needs {shape.batch}")
        self.programs = programs
        self.shape = shape
        self.settings = settings
        self.network = make_network(programs, shape.layer_size)
        self._apply = apply_of(self.network)
        self._seed = seed
        self.observe: Observer = observe or (lambda _stage, _outputs: None)
        self._key = jax.random.key(seed)
        self._tasks: list[Task | None] = [None] * shape.num_slots
        self._judges: list[Callable[..., Verdict]] = [idle_judge(shape.num_envs)] * shape.num_slots
        self._init = compiled(self._init_params)
        self._act = compiled(self._act_batch, donate=(1, 2))
        self._update = compiled(self._update_slots, donate=(0, 1))
        self.maintenance: Maintenance | None = None
        """Rules that go before the policies in training; another with as many places compiles nothing."""
        self._bank: Placed | None = None
        self._carry: _Carry | None = None

    # --- slots ---------------------------------------------------------------------------------

    def assign(self, slot: int, task: Task, starts: Placed, params: Any | None = None) -> None:
        """Gives a slot a task: parameters to begin with and a bank of start states.

        Args:
            starts: M start states; fewer are repeated, more are cut.
            params: one tree of :meth:`initial_params`' form. Left out: fresh ones, from the trainer's seed
                alone.
        """
        starts = _resized(starts, self.shape.bank_size)
        if self._carry is None or self._bank is None:
            self._create(starts)
        assert self._carry is not None
        assert self._bank is not None
        if params is None:
            params = self.initial_params(jax.random.key(self._seed))
        self._tasks[slot] = task
        self._judges[slot] = slot_judge(task, slot, self.shape.num_envs)
        opt_state = make_optimizer(self.settings).init(params)
        self._carry = self._carry._replace(
            params=_writers()[1](self._carry.params, params, slot),
            opt_state=_writers()[1](self._carry.opt_state, opt_state, slot),
            verdicts=tuple(
                all_ended(self.shape.num_envs) if k == slot else verdict
                for k, verdict in enumerate(self._carry.verdicts)
            ),
        )
        self._bank = _writers()[0](self._bank, starts, slot * self.shape.bank_size)
        self._tables = _Tables(
            GoalTable.of(self._tasks),
            jnp.array([task.max_repeat if task else 1 for task in self._tasks], jnp.int32),
        )

    def refresh(self, slot: int, starts: Placed, at: int) -> None:
        """Replaces the start states from row ``at`` on, so that a policy does not learn its bank by heart."""
        assert self._bank is not None
        self._bank = _writers()[0](self._bank, starts, slot * self.shape.bank_size + at)

    def release(self, slot: int) -> None:
        """Frees a slot; its envs idle until it is assigned again."""
        self._tasks[slot] = None
        self._judges[slot] = idle_judge(self.shape.num_envs)

    def params(self, slot: int) -> Any:
        """A copy of the slot's parameters."""
        assert self._carry is not None
        return jax.tree.map(lambda leaf: jnp.array(leaf[slot]), self._carry.params)

    def initial_params(self, key: jax.Array) -> Any:
        """Fresh parameters of the network."""
        return self._init(key)

    @property
    def initial_shapes(self) -> Any:
        """Shapes and dtypes of :meth:`initial_params`."""
        return jax.eval_shape(self._init_params, jax.random.key(0))

    def _init_params(self, key: jax.Array) -> Any:
        env = self.programs.env
        return init_params(self.network, key, env.view_shape, env.feature_count + GOAL_FEATURES)

    # --- training ------------------------------------------------------------------------------

    def update(self, lr_scales: Sequence[float] | None = None) -> list[SlotReport | None]:
        """One rollout of T steps in all slots, then one PPO update each. Idle slots report None.

        Args:
            lr_scales: what each slot's learning rate is multiplied by; 1 when left out.
        """
        if self._carry is None or self._bank is None:
            raise RuntimeError("assign a task before training")
        carry = self._carry
        for t in range(self.shape.num_steps):
            carry = self._step(carry, t)
        keys = jax.random.split(self._next_key(), self.shape.num_slots)
        params, opt_state, metrics = self._update(
            carry.params, carry.opt_state, carry.rollout, carry.seen, carry.progress, carry.verdicts,
            self._tables, keys, jnp.asarray(lr_scales or [1.0] * self.shape.num_slots, jnp.float32),
        )  # fmt: skip
        self.observe("update", metrics)
        self._carry = carry._replace(params=params, opt_state=opt_state)
        return self._reports(jax.device_get(metrics))

    def _step(self, carry: _Carry, t: int) -> _Carry:
        rollout, states, progress, in_force, actions = self._act(
            carry.params, carry.rollout, carry.states, carry.progress, carry.in_force, carry.seen,
            carry.verdicts, self._bank, self._tables, self.maintenance, self._next_key(), np.int32(t),
        )  # fmt: skip
        self.observe("policy", actions)
        placed = self.programs.advance(states, actions, self._next_key())
        self.observe("env", placed.seen)
        now = placed.seen
        verdicts = tuple(
            judge_slot(progress, now.snapshot, now.died, now.time_up) for judge_slot in self._judges
        )
        self.observe("judge", verdicts)
        return _Carry(
            carry.params, carry.opt_state, rollout, placed.states, progress, in_force, now, verdicts
        )

    def _next_key(self) -> jax.Array:
        self._key, key = split_key(self._key)
        return key

    def _reports(self, metrics: dict[str, np.ndarray]) -> list[SlotReport | None]:
        reports: list[SlotReport | None] = []
        for slot, task in enumerate(self._tasks):
            if task is None:
                reports.append(None)
                continue
            row = {name: float(values[slot]) for name, values in metrics.items()}
            episodes, successes = int(row.pop("episodes")), int(row.pop("successes"))
            steps = row.pop("episode_steps")
            reports.append(SlotReport(episodes, successes, steps / episodes if episodes else 0.0, row))
        return reports

    # --- the compiled programs -----------------------------------------------------------------

    def _policy(self, params: Any, tiles: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``(logits [B, A], value [B])`` of all slots' envs, each with its own slot's parameters."""
        shape = self.shape

        def by_slot(leaf: jax.Array) -> jax.Array:
            return leaf.reshape(shape.num_slots, shape.num_envs, *leaf.shape[1:])

        logits, value = jax.vmap(self._apply)(params, by_slot(tiles), by_slot(features))
        return logits.reshape(shape.batch, -1), value.reshape(shape.batch)

    def _features(self, tables: _Tables, seen: Seen, progress: Progress) -> jax.Array:
        slots = jnp.repeat(jnp.arange(self.shape.num_slots), self.shape.num_envs)
        goal = goal_features(tables.goals, slots, progress.start, seen.snapshot, progress.n)
        return jnp.concatenate([seen.features, goal], axis=-1)

    def _act_batch(
        self,
        params: Any,
        rollout: Rollout,
        states: Any,
        progress: Progress,
        in_force: InForce,
        seen: Seen,
        verdicts: tuple[Verdict, ...],
        bank: Placed,
        tables: _Tables,
        maintenance: Maintenance | None,
        key: jax.Array,
        t: jax.Array,
    ) -> tuple[Rollout, Any, Progress, InForce, jax.Array]:
        """Notes the last step's verdict, resets what ended, chooses the next actions."""
        verdict: Verdict = jax.tree.map(lambda *parts: jnp.concatenate(parts), *verdicts)
        features = self._features(tables, seen, progress)
        # A truncated episode is worth what its last state promises; that state is about to be reset away.
        final_value = jax.lax.cond(
            jnp.any(verdict.truncated),
            lambda: self._policy(params, seen.tiles, features)[1],
            lambda: jnp.zeros(self.shape.batch),
        )
        before = (t - 1) % self.shape.num_steps
        rollout = note_verdict(rollout, before, verdict, final_value)

        ended = verdict.terminated | verdict.truncated
        row_key, repeat_key, action_key = jax.random.split(key, 3)
        slots = jnp.repeat(jnp.arange(self.shape.num_slots), self.shape.num_envs)
        drawn = jax.random.randint(row_key, ended.shape, 0, self.shape.bank_size)
        rows = slots * self.shape.bank_size + drawn
        states = copy_rows(states, bank.states, rows, ended)
        seen = where_rows(ended, jax.tree.map(lambda fresh: fresh[rows], bank.seen), seen)
        repeats = jax.random.randint(repeat_key, ended.shape, 1, tables.max_repeat[slots] + 1)
        progress = Progress(
            start=jnp.where(ended[:, None], seen.snapshot, progress.start),
            prev=seen.snapshot,
            n=jnp.where(ended, repeats, progress.n),
            steps=jnp.where(ended, 0, progress.steps) + 1,
        )

        features = self._features(tables, seen, progress)
        logits, value = self._policy(params, seen.tiles, features)
        if maintenance is None:
            chosen = logits
        else:
            in_force = rules_in_force(maintenance.table, seen.snapshot, in_force.restarted(ended))
            chosen = maintained(self._apply, maintenance, in_force.rule, seen.tiles, seen.features, logits)
        action = jax.random.categorical(action_key, chosen)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=-1)[:, 0]
        rollout = rollout._replace(
            tiles=rollout.tiles.at[t].set(seen.tiles),
            features=rollout.features.at[t].set(features),
            action=rollout.action.at[t].set(action),
            weight=rollout.weight.at[t].set(in_force.rule < 0),
            log_prob=rollout.log_prob.at[t].set(log_prob),
            value=rollout.value.at[t].set(value),
        )
        return rollout, states, progress, in_force, action

    def _update_slots(
        self,
        params: Any,
        opt_state: Any,
        rollout: Rollout,
        seen: Seen,
        progress: Progress,
        verdicts: tuple[Verdict, ...],
        tables: _Tables,
        keys: jax.Array,
        lr_scales: jax.Array,
    ) -> tuple[Any, Any, dict[str, jax.Array]]:
        """One PPO update in every slot; metrics are ``[K]``."""
        shape = self.shape
        verdict: Verdict = jax.tree.map(lambda *parts: jnp.concatenate(parts), *verdicts)
        last_value = self._policy(params, seen.tiles, self._features(tables, seen, progress))[1]
        rollout = note_verdict(rollout, jnp.int32(shape.num_steps - 1), verdict, last_value)
        by_slot = jax.tree.map(
            lambda leaf: leaf.reshape(shape.num_steps, shape.num_slots, shape.num_envs, *leaf.shape[2:]),
            rollout,
        )
        update = functools.partial(ppo_update, apply=self._apply, settings=self.settings)
        params, opt_state, metrics = jax.vmap(update, in_axes=(0, 0, 1, 0, 0, 0))(
            params, opt_state, by_slot, last_value.reshape(shape.num_slots, shape.num_envs), keys, lr_scales
        )
        ended = by_slot.terminated | by_slot.truncated
        metrics |= {
            "reward": by_slot.reward.mean(axis=(0, 2)),
            "episodes": ended.sum(axis=(0, 2)),
            "successes": by_slot.success.sum(axis=(0, 2)),
            "episode_steps": (by_slot.length * ended).sum(axis=(0, 2)),
        }
        return params, opt_state, metrics

    # --- first arrays --------------------------------------------------------------------------

    def _create(self, starts: Placed) -> None:
        """Arrays of the right shapes, before the first task; every env is about to be reset."""
        shape = self.shape
        self._bank = jax.tree.map(lambda leaf: jnp.array(jnp.concatenate([leaf] * shape.num_slots)), starts)
        rows = jnp.arange(shape.batch) % shape.bank_size
        placed = rows_of(starts, rows)
        snapshot = placed.seen.snapshot
        params = self.initial_params(jax.random.key(self._seed))
        opt_state = make_optimizer(self.settings).init(params)

        def stacked(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: jnp.stack([leaf] * shape.num_slots), tree)

        self._carry = _Carry(
            stacked(params),
            stacked(opt_state),
            Rollout.empty(
                shape.num_steps,
                shape.batch,
                placed.seen.tiles.shape[1:],
                placed.seen.features.shape[-1] + GOAL_FEATURES,
            ),
            placed.states,
            Progress(
                snapshot,
                jnp.array(snapshot),
                jnp.ones(shape.batch, jnp.int32),
                jnp.zeros(shape.batch, jnp.int32),
            ),
            InForce.none(shape.batch, self.maintenance.table.places if self.maintenance else 0),
            placed.seen,
            (all_ended(shape.num_envs),) * shape.num_slots,
        )


class _Carry(NamedTuple):
    """Everything that goes from one step to the next."""

    params: Any
    opt_state: Any
    rollout: Rollout
    states: Any
    progress: Progress
    in_force: InForce
    seen: Seen
    verdicts: tuple[Verdict, ...]


def make_network(programs: EnvPrograms, layer_size: int) -> ActorCritic:
    """The network for an env; parameters of one layer size are interchangeable within a world."""
    return ActorCritic(programs.env.num_actions, layer_size, programs.env.plane_sizes)


def _resized(starts: Placed, count: int) -> Placed:
    if starts.rows == count:
        return starts
    rows = np.arange(count) % starts.rows
    return rows_of(starts, rows)


@functools.cache
def _writers() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``(put_rows, _put_row)``, compiled; the first use asks for the device, importing must not."""
    return compiled(put_rows, donate=(0,)), compiled(_put_row, donate=(0,))


def _put_row(stack: Any, row: Any, slot: int | jax.Array) -> Any:
    return jax.tree.map(lambda into, out: into.at[slot].set(out), stack, row)
