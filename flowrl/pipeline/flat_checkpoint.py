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
from flowrl.store.faults import writing
from flowrl.store.layout import GraphLayout
from flowrl.store.lock import FolderLock

PREFIX = "policy_"

_FIX = "Give another --out, or remove that folder."


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


class FlatFolder:
    """The folder of one flat-PPO run, this process's alone until :meth:`close`."""

    def __init__(self, out: Path) -> None:
        """Makes the folder where it is missing, and takes it.

        Raises:
            GraphError: another process has it, or it cannot be written.
        """
        self.out = out
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(GraphLayout(out), "--out")
        remove_temporaries(out)

    def close(self) -> None:
        """Gives the folder back."""
        self._lock.release()

    def keep(self, kept: Kept, settings: dict[str, Any]) -> None:
        """Writes ``kept`` in the place of what was kept before."""
        before = self._policies()
        with new_folder(self.out / f"{PREFIX}{kept.env_steps}") as folder:
            save_arrays(folder / "params.npz", jax.tree.map(np.asarray, kept.params))
            write_bytes(folder / "curves.json", json.dumps(kept.curves).encode())
            about = {"env_steps": kept.env_steps, "wall_s": kept.wall_s, "settings": settings}
            write_bytes(folder / "run.json", json.dumps(about, indent=2).encode())
        for folder in before:
            remove_folder(folder)

    def go_on(self, settings: dict[str, Any], budget: int) -> Kept | None:
        """What is here of a run with the same settings; None where nothing was kept.

        Args:
            settings: by the names of the flags.
            budget: env steps that the run is to be trained for in all.

        Raises:
            UserError: it was trained with other settings, or for longer.
            GraphError: it is damaged.
        """
        policies = self._policies()
        if not policies:
            return None
        # Where a run was killed between writing one and removing the other, there are two.
        folder = policies[-1]
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            curves = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
            env_steps, wall_s = int(about["env_steps"]), float(about["wall_s"])
            was = dict(about["settings"])
            if not all(isinstance(point, dict) for point in curves):
                raise ValueError("curves.json is no list of updates")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GraphError(f"{folder} is damaged ({error}). {_FIX}") from error
        for name, value in settings.items():
            if was.get(name) != value:
                raise UserError(
                    f"--out {self.out} holds a policy of {env_steps:,} env steps that was trained with "
                    f"--{name} {was.get(name)}, not {value}. Give that to go on with it, or another --out."
                )
        if env_steps > budget:
            raise UserError(
                f"--out {self.out} holds a policy of {env_steps:,} env steps, more than the {budget:,} asked "
                "for. Give another --out."
            )
        return Kept(env_steps, wall_s, load_arrays(folder / "params.npz", _FIX), curves)

    def _policies(self) -> list[Path]:
        """Folders of kept policies, the last one last."""
        steps = [folder.name.removeprefix(PREFIX) for folder in self.out.glob(f"{PREFIX}*")]
        return [
            self.out / f"{PREFIX}{count}" for count in sorted(int(one) for one in steps if one.isdecimal())
        ]
