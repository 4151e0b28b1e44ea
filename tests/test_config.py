"""Every flag's bounds, and the relations between flags."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrl.config import (
    BOUNDS,
    PPOConfig,
    RunConfig,
    ValidationConfig,
    flags_of,
    validate,
)
from flowrl.errors import UserError

INF, NAN = float("inf"), float("nan")

# flag -> (values that must be refused, a value that must pass)
BAD: dict[str, tuple[list[Any], Any]] = {
    "env_name": (["Craftax", "", "craftax-symbolic-v1", "Craftax-Pixels-v1"], "Craftax-Classic-Symbolic-v1"),
    "max_nodes": ([0, -1, 2.5, True, "3", None], 1),
    "current_i": ([-1, 1.5, True, 21], 0),
    "max_consecutive_failures": ([0, -5, None], 1),
    "max_skill_steps": ([0, -1, 10_001, None], 10_000),
    "max_repeat": ([0, -1, 100, None], 9),
    "start_states": ([0, -1, 10**9, None], 64),
    "seed": ([-1, 2**31, 0.5, None], 2**31 - 1),
    "total_timesteps": ([0, -1, 1.5, 1e6, 10**13, None], 200_000_000),
    "num_envs": ([0, -8, 1.5, 10**7], 1024),
    "num_steps": ([0, -8, 1.5, 10**7], 64),
    "layer_size": ([0, -8, 1.5, 10**7], 512),
    "lr": ([0.0, -1e-4, 1.5, NAN, INF, None], 1e-3),
    "gamma": ([-0.1, 1.01, NAN], 1.0),
    "gae_lambda": ([-0.1, 1.01, NAN], 0),
    "clip_eps": ([0.0, -0.2, 1.1, NAN], 0.1),
    "ent_coef": ([-0.01, 11.0, NAN], 0.0),
    "vf_coef": ([-0.5, 101.0, NAN], 0.0),
    "max_grad_norm": ([0.0, -1.0, INF, NAN], 0.5),
    "update_epochs": ([0, -1, 1001], 1),
    "num_minibatches": ([0, -1, 10**7], 1),
    "success_state_rate": ([0.0, 1.0, 1, -0.1, 80, NAN], 0.5),
    "train_until": ([0.0, 1.0, -0.1, 90, NAN], 0.9),
    "validation_episodes": ([0, -1, 12, 10**7], 1024),
}


def with_flag(flag: str, value: Any) -> RunConfig:
    """The default configuration but for one flag, wherever it is nested."""
    config = RunConfig()
    for part in ("ppo", "validation"):
        inner = getattr(config, part)
        if flag in {field.name for field in dataclasses.fields(inner)}:
            return dataclasses.replace(config, **{part: dataclasses.replace(inner, **{flag: value})})
    return dataclasses.replace(config, **{flag: value})


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag, (bad, _) in BAD.items() for value in bad]
)
def test_bad_value_is_refused_by_its_flag(flag: str, value: Any) -> None:
    with pytest.raises(UserError) as refused:
        validate(with_flag(flag, value))
    message = str(refused.value)
    assert message.startswith(f"--{flag} ")
    assert "\n" not in message
    assert any(word in message for word in ("Use --", "Leave it out", "Did you mean", "Choose one"))


@pytest.mark.parametrize(("flag", "value"), [(flag, good) for flag, (_, good) in BAD.items()])
def test_good_value_passes(flag: str, value: Any) -> None:
    validate(with_flag(flag, value))


def test_every_number_among_the_flags_has_bounds_and_bad_values() -> None:
    flags = {name for name, value in flags_of(RunConfig()) if not isinstance(value, bool | str | Path)}
    assert flags == set(BOUNDS)
    assert flags < set(BAD)


@pytest.mark.parametrize(
    ("flag", "value", "fix"),
    [
        ("max_nodes", 0, "--max_nodes 1."),
        ("max_repeat", 1000, "--max_repeat 99."),
        ("total_timesteps", 10**13, "--total_timesteps 1e12."),
        ("lr", -1.0, "--lr 0.001, the default."),
        ("gamma", 2.0, "--gamma 1."),
    ],
)
def test_the_nearest_valid_value_is_offered(flag: str, value: Any, fix: str) -> None:
    with pytest.raises(UserError, match=f"Use {fix}"):
        validate(with_flag(flag, value))


def test_a_batch_must_fall_into_equal_minibatches() -> None:
    # 6 * 10 = 60 does not fall into 8 equal parts. Its divisors 6 and 10 are equally near: the smaller wins.
    ppo = PPOConfig(num_envs=6, num_steps=10, num_minibatches=8)
    with pytest.raises(UserError, match=r"6 \* 10 = 60. Use --num_minibatches 6\."):
        validate(RunConfig(ppo=ppo))
    validate(RunConfig(ppo=dataclasses.replace(ppo, num_minibatches=6)))


def test_a_batch_of_unknown_size_is_left_to_whoever_chooses_it() -> None:
    validate(RunConfig(ppo=PPOConfig(num_envs=7, num_minibatches=8)))


def test_the_budget_must_hold_one_update() -> None:
    with pytest.raises(UserError, match="Use --total_timesteps 1024"):
        validate(RunConfig(ppo=PPOConfig(num_envs=16, num_steps=64, total_timesteps=1000)))


def test_episodes_must_be_able_to_prove_the_rate() -> None:
    # All of 380 succeed: 380 / (380 + 1.96^2) = 0.98999 < 0.99; one more makes it 0.99002.
    proof = ValidationConfig(success_state_rate=0.99, validation_episodes=380)
    with pytest.raises(UserError, match="Use --validation_episodes 381"):
        validate(RunConfig(validation=proof))
    validate(RunConfig(validation=dataclasses.replace(proof, validation_episodes=381)))


def test_training_may_not_end_before_the_skill_is_good_enough() -> None:
    early = ValidationConfig(success_state_rate=0.6, train_until=0.5)
    with pytest.raises(UserError, match=r"--train_until 0.5: .* Use --train_until 0.6"):
        validate(RunConfig(validation=early))
    validate(RunConfig(validation=dataclasses.replace(early, train_until=0.6)))


def test_current_i_may_not_lie_beyond_max_nodes() -> None:
    validate(RunConfig(max_nodes=3, current_i=3))
    with pytest.raises(UserError, match="--max_nodes 5"):
        validate(RunConfig(max_nodes=3, current_i=4))


def test_a_graph_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for path in (file, file / "graph"):
        with pytest.raises(UserError, match="is a file"):
            validate(RunConfig(graph_path=path))
    assert file.read_text() == "mine"
    validate(RunConfig(graph_path=tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_a_graph_path_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere, so chmod proves nothing
    with pytest.raises(UserError, match="no permission"):
        validate(RunConfig(graph_path=tmp_path / "graph"))


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 1  # type: ignore[misc]


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, flowrl.config; print([m for m in ('jax', 'numpy', 'tyro', 'rich') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
