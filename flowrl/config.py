"""What a run can be told, as frozen values. No JAX here: the command line must answer before JAX loads.

The fields are the flags: ``ppo.lr`` is ``--lr``. Nobody writes into a configuration; derive another with
``dataclasses.replace``. :func:`validate` is the one place that says which values make sense.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrl.errors import UserError, nearest

ENV_NAMES = ("Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1")
"""The worlds that exist, by ``--env_name``."""


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation (arXiv 1707.06347), the same for every skill of a run."""

    total_timesteps: int = 2_000_000
    """Budget in env steps, summed over all envs. In bottomup: of one skill, whose training stops earlier on
    success."""

    num_envs: int | None = None
    """Envs that step side by side. Left out: chosen from the device."""

    num_steps: int | None = None
    """Env steps of each env between two updates. Left out: chosen from the device."""

    layer_size: int | None = None
    """Units in each hidden layer of the policy and of the value net. Left out: the graph's, where there is
    one, else chosen from the device."""

    lr: float = 1e-3
    """Adam's learning rate."""

    gamma: float = 0.99
    """Discount of a reward per env step, 0 to 1."""

    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation, 0 (one step) to 1 (whole return)."""

    clip_eps: float = 0.2
    """How far one update may move the probability ratio and the value from 1 and the old value."""

    ent_coef: float = 0.01
    """Weight of the entropy bonus in the loss."""

    vf_coef: float = 0.5
    """Weight of the value loss in the loss."""

    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm."""

    update_epochs: int = 4
    """Passes over each batch of num_envs * num_steps transitions."""

    num_minibatches: int = 8
    """Parts that a batch is cut into in each pass; num_envs * num_steps must be a multiple of it."""

    anneal_lr: bool = False
    """Lower the learning rate linearly over total_timesteps: to 0, in practice to a tenth."""


@dataclass(frozen=True)
class ValidationConfig:
    """When a trained skill is good enough to join the graph."""

    success_state_rate: float = 0.8
    """Share of episodes that must succeed: the Wilson 95% lower bound has to reach it."""

    validation_episodes: int = 256
    """Episodes on worlds that training never saw."""

    train_until: float | None = None
    """Train on until this share of episodes succeeds or the budget is spent. Left out: success_state_rate."""

    refine: bool = True
    """Hold each trained skill's operator against what its policy does, and correct it."""


@dataclass(frozen=True)
class RunConfig:
    """One run of the bottom-up loop: which world, which graph, how far, and how skills are trained."""

    env_name: str = "Craftax-Symbolic-v1"
    """World to learn in: Craftax-Classic-Symbolic-v1 or Craftax-Symbolic-v1."""

    graph_path: Path = Path("exp/bottom_up/")
    """Folder of the skill graph; made when missing, resumed when there."""

    max_nodes: int = 20
    """Stop when the graph has this many accepted skills in all."""

    current_i: int | None = None
    """Go on at this node index, keeping nodes 0 .. current_i - 1; what follows is archived. Left out: go on
    from the end of what is there."""

    max_consecutive_failures: int = 5
    """Stop (exit code 3, resumable) after this many refused skills in a row."""

    max_skill_steps: int = 300
    """Env steps that one episode of a skill may take per repeat, where the skill names no limit itself."""

    max_repeat: int = 4
    """Largest repeat count n that a skill is trained for."""

    start_states: int = 256
    """Env states that a skill's training episodes start from, at a time."""

    use_wandb: bool = True
    """Log training curves to Weights & Biases; offline, with a notice, where nobody is logged in."""

    dry_run: bool = False
    """Print all flags with their values and exit."""

    seed: int = 0
    """Seed of everything random: worlds, network weights, actions."""

    ppo: PPOConfig = PPOConfig()

    validation: ValidationConfig = ValidationConfig()


@dataclass(frozen=True)
class Bounds:
    """The values that a flag may take, both ends included unless ``open_low`` or ``open_high``."""

    low: float
    high: float
    whole: bool = True
    open_low: bool = False
    open_high: bool = False

    def complaint(self, flag: str, value: Any, default: Any) -> str | None:
        """What is wrong with ``--flag value`` and what to write instead; None when nothing is wrong."""
        if self._holds(value):
            return None
        kind = "a whole number" if self.whole else "a number"
        expected = (
            f"{kind} {'above' if self.open_low else 'of at least'} {_short(self.low)} "
            f"and {'below' if self.open_high else 'at most'} {_short(self.high)}"
        )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and value < self.low and not self.open_low:
            fix = f"Use --{flag} {_short(self.low)}."
        elif number and value > self.high and not self.open_high:
            fix = f"Use --{flag} {_short(self.high)}."
        else:
            fix = "Leave it out." if default is None else f"Use --{flag} {_short(default)}, the default."
        return f"--{flag} {_short(value)}: expected {expected}. {fix}"

    def _holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below  # NaN is neither


def _short(value: Any) -> str:
    """A number as a person types it: 20, 0.0002, 1e+09."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        value = int(value)
    if isinstance(value, int) and abs(value) >= 10_000_000 and int(float(f"{value:g}")) == value:
        return f"{value:g}".replace("e+0", "e").replace("e+", "e")
    return str(value)


BOUNDS: Mapping[str, Bounds] = {
    "max_nodes": Bounds(1, 10_000),
    "current_i": Bounds(0, 10_000),
    "max_consecutive_failures": Bounds(1, 10_000),
    "max_skill_steps": Bounds(1, 10_000),
    "max_repeat": Bounds(1, 99),
    "start_states": Bounds(1, 1_000_000),
    "seed": Bounds(0, 2**31 - 1),
    "total_timesteps": Bounds(1, 10**12),
    "num_envs": Bounds(1, 1_000_000),
    "num_steps": Bounds(1, 100_000),
    "layer_size": Bounds(1, 65_536),
    "lr": Bounds(0, 1, whole=False, open_low=True),
    "gamma": Bounds(0, 1, whole=False),
    "gae_lambda": Bounds(0, 1, whole=False),
    "clip_eps": Bounds(0, 1, whole=False, open_low=True),
    "ent_coef": Bounds(0, 10, whole=False),
    "vf_coef": Bounds(0, 100, whole=False),
    "max_grad_norm": Bounds(0, 1_000_000, whole=False, open_low=True),
    "update_epochs": Bounds(1, 1000),
    "num_minibatches": Bounds(1, 1_000_000),
    "success_state_rate": Bounds(0, 1, whole=False, open_low=True, open_high=True),
    "train_until": Bounds(0, 1, whole=False, open_low=True, open_high=True),
    "validation_episodes": Bounds(1, 1_000_000),
}
"""Bounds of every flag that is a number. The upper ends catch slips of the keyboard, not ambition."""


def flags_of(config: Any) -> Iterator[tuple[str, Any]]:
    """``(flag, value)`` of every leaf field of a nested configuration, in the order of declaration."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from flags_of(value)
        else:
            yield field.name, value


def validate(config: RunConfig) -> None:
    """Refuses values that cannot work, each by its flag, before anything is written or compiled.

    Raises:
        UserError: names the flag, the value, what was expected and the nearest fix.
    """
    validate_env_name(config.env_name)
    validate_bounds(config, BOUNDS)
    if config.current_i is not None and config.current_i > config.max_nodes:
        raise UserError(
            f"--current_i {config.current_i}: expected at most --max_nodes, which is {config.max_nodes}. "
            f"Use --max_nodes {config.current_i + 1} to learn one skill more than the nodes before it."
        )
    validate_batch(config.ppo)
    validate_evidence(config.validation)
    _validate_graph_path(config.graph_path)


def validate_bounds(config: Any, bounds: Mapping[str, Bounds]) -> None:
    """Refuses the first flag of ``config`` that is out of its bounds. None passes where it is the default."""
    defaults = dict(flags_of(type(config)()))
    for flag, value in flags_of(config):
        default = defaults[flag]
        if flag in bounds and not (value is None and default is None):
            complaint = bounds[flag].complaint(flag, value, default)
            if complaint:
                raise UserError(complaint)


def validate_env_name(env_name: str) -> None:
    """Refuses a world that does not exist, with the nearest one that does."""
    if env_name not in ENV_NAMES:
        raise UserError(f"--env_name {env_name!r}: there is no such world. {nearest(env_name, ENV_NAMES)}")


def validate_batch(ppo: PPOConfig) -> None:
    """Refuses a batch that cannot be cut into equal minibatches, or that is larger than the budget.

    Sizes that are None are chosen later to fit, so there is nothing to check for them yet.
    """
    if ppo.num_envs is None or ppo.num_steps is None:
        return
    batch = ppo.num_envs * ppo.num_steps
    if batch % ppo.num_minibatches:
        raise UserError(
            f"--num_minibatches {ppo.num_minibatches}: expected a divisor of --num_envs * --num_steps = "
            f"{ppo.num_envs} * {ppo.num_steps} = {batch}. "
            f"Use --num_minibatches {_nearest_divisor(batch, ppo.num_minibatches)}."
        )
    if ppo.total_timesteps < batch:
        raise UserError(
            f"--total_timesteps {ppo.total_timesteps}: expected at least one update of --num_envs * "
            f"--num_steps = {ppo.num_envs} * {ppo.num_steps} env steps. Use --total_timesteps {batch}."
        )


def _nearest_divisor(batch: int, wanted: int) -> int:
    """The divisor of ``batch`` nearest to ``wanted``, the smaller of two; 1 divides all, so there is one."""
    by_distance = (wanted + side * step for step in itertools.count() for side in (-1, 1))
    return next(size for size in by_distance if size > 0 and batch % size == 0)


def validate_evidence(validation: ValidationConfig) -> None:
    """Refuses a threshold that the given episodes could not prove even if every one of them succeeded."""
    rate, episodes = validation.success_state_rate, validation.validation_episodes
    if validation.train_until is not None and validation.train_until < rate:
        raise UserError(
            f"--train_until {validation.train_until}: expected at least --success_state_rate, which is "
            f"{rate}: what ends training must be good enough to join. Use --train_until {rate}."
        )
    z2 = 1.96**2  # as flowrl.skills.graph.Z_95, which this lowest layer may not import
    # With k = n successes the Wilson lower bound is n / (n + z^2).
    if episodes / (episodes + z2) < rate:
        needed = int(z2 * rate / (1 - rate)) + 1
        raise UserError(
            f"--validation_episodes {episodes}: expected enough to prove --success_state_rate {rate}: if all "
            f"of them succeed the lower bound is {episodes / (episodes + z2):.3f}. "
            f"Use --validation_episodes {max(needed, ValidationConfig.validation_episodes)}."
        )


def _validate_graph_path(path: Path) -> None:
    """Refuses a path that is no folder, or in which no folder can be made or written."""
    existing = path
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(
            f"--graph-path {str(path)!r}: {str(existing)!r} is a file, expected a folder or a path that can "
            f"become one. Use --graph-path {str(existing) + '_graph'!r}."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"--graph-path {str(path)!r}: no permission to write in {str(existing)!r}. "
            "Use a folder of yours, or change its permissions."
        )
