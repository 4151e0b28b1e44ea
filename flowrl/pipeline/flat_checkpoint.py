"""What a flat-PPO run has kept of itself: the policy, its curves and what it was trained with.

One folder ``policy_<env steps>``, written whole before the one before it is removed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flowrl.errors import GraphError, UserError
from flowrl.store.arrays import load_arrays, save_arrays
from flowrl.store.atomic import new_folder, remove_folder, remove_temporaries, write_bytes

PREFIX = "policy_"

_FIX = "Name another folder, or remove this one."


@dataclass(frozen=True)
class Kept:
    """A policy between two updates.

    Attributes:
        env_steps: that it was trained for.
        wall_s: that this took, in seconds.
        params: of the trainer's form.
        curves: one entry an update.
    """

    env_steps: int
    wall_s: float
    params: Any
    curves: list[dict[str, float]]


def keep(out: Path, kept: Kept, settings: dict[str, Any]) -> None:
    """Writes ``kept`` into ``out``, in the place of what was kept there before."""
    before = _folders(out)
    with new_folder(out / f"{PREFIX}{kept.env_steps}") as folder:
        save_arrays(folder / "params.npz", jax.tree.map(np.asarray, kept.params))
        write_bytes(folder / "curves.json", json.dumps(kept.curves).encode())
        about = {"env_steps": kept.env_steps, "wall_s": kept.wall_s, "settings": settings}
        write_bytes(folder / "run.json", json.dumps(about, indent=2).encode())
    for folder in before:
        remove_folder(folder)


def go_on(out: Path, settings: dict[str, Any]) -> Kept | None:
    """What ``out`` holds of a run with the same settings; None where it holds none.

    Raises:
        UserError: it was trained with other settings.
        GraphError: it is damaged.
    """
    remove_temporaries(out)
    folders = _folders(out)
    if not folders:
        return None
    # Where a run was killed between writing one and removing the other, there are two.
    folder = folders[-1]
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        curves = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
        was, env_steps, wall_s = about["settings"], int(about["env_steps"]), float(about["wall_s"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GraphError(f"{folder} is damaged ({error}). {_FIX}") from error
    for name, value in settings.items():
        if was.get(name) != value:
            raise UserError(
                f"{out} holds a policy of {env_steps:,} env steps that was trained with {name} "
                f"{was.get(name)}, not {value}. Give the same to go on with it, or name another folder."
            )
    return Kept(env_steps, wall_s, load_arrays(folder / "params.npz", _FIX), curves)


def _folders(out: Path) -> list[Path]:
    """Of kept policies, the last one last."""
    found = [folder for folder in out.glob(f"{PREFIX}*") if folder.name.removeprefix(PREFIX).isdecimal()]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix(PREFIX)))
