"""Snapshot columns and the code that reads them, declared together so that they cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from flowrl.worlds.memory import UNKNOWN_DISTANCE
from flowrl.worlds.snapshot import Field, SnapshotSpec


@dataclass(frozen=True)
class ColumnGroup:
    """Adjacent snapshot columns that are read together.

    Attributes:
        fields: one a column.
        read: ``view -> [len(fields)]``, any real dtype.
    """

    fields: tuple[Field, ...]
    read: Callable[[Any], jax.Array]


class SnapshotReader:
    """Turns one world's view of a state into the snapshot vector that its field table describes."""

    def __init__(self, groups: Sequence[ColumnGroup]) -> None:
        self._groups = tuple(groups)
        self.spec = SnapshotSpec(tuple(field for group in groups for field in group.fields))

    def __call__(self, view: Any) -> jax.Array:
        """float32 ``[D]``."""
        return jnp.concatenate([group.read(view).astype(jnp.float32) for group in self._groups])


def nearest_fields(prefix: str, names: Sequence[str], what: str) -> tuple[Field, ...]:
    """Four columns a kind: whether one is known, how far, and in which direction."""
    fields = []
    for name in names:
        thing = name.replace("_", " ")
        fields += [
            Field(f"{prefix}.{name}.seen", "bool", "", f"a {thing} is {what}"),
            Field(
                f"{prefix}.{name}.distance",
                "int32",
                "tiles",
                f"steps to the nearest one, {UNKNOWN_DISTANCE} if none",
            ),
            Field(f"{prefix}.{name}.down", "int32", "tiles", "rows down to it (negative: up), 0 if none"),
            Field(
                f"{prefix}.{name}.right", "int32", "tiles", "columns right to it (negative: left), 0 if none"
            ),
        ]
    return tuple(fields)


def nearest_columns(seen: jax.Array, offsets: jax.Array) -> jax.Array:
    """The values of :func:`nearest_fields`: int32 ``[4 * C]`` from bool ``[C]`` and int32 ``[C, 2]``."""
    distance = jnp.where(seen, jnp.abs(offsets).sum(axis=-1), UNKNOWN_DISTANCE)
    return jnp.concatenate([seen[:, None], distance[:, None], offsets], axis=-1).reshape(-1)


def nearest_features(seen: jax.Array, offsets: jax.Array) -> jax.Array:
    """What a policy sees of the same: float32 ``[3 * C]``, direction and closeness, 0 where nothing is known.

    The direction is a unit vector in the L1 sense and the closeness ``1 / (1 + distance)``, so that near
    things differ clearly and far ones still show the way.
    """
    distance = jnp.abs(offsets).sum(axis=-1)
    direction = offsets / jnp.maximum(distance, 1)[:, None]
    closeness = jnp.where(seen, 1.0 / (1.0 + distance), 0.0)
    return jnp.concatenate([direction.reshape(-1), closeness]).astype(jnp.float32)


def frontier_features(nearest_unseen: tuple[jax.Array, jax.Array], unseen_around: jax.Array) -> jax.Array:
    """What a policy sees of what it has not seen yet: float32 ``[11]``.

    With its view alone it cannot tell a place where it has been from a new one. The way to the nearest unseen
    tile is that of frontier-based exploration (Yamauchi 1997, "A frontier-based approach for autonomous
    exploration"); the shares say on which side more is new.

    Args:
        nearest_unseen: ``(seen [1], offset [1, 2])``, as of :meth:`TileMemory.nearest`.
        unseen_around: float32 ``[8]``, as of :meth:`TileMemory.unseen_around`.
    """
    return jnp.concatenate([nearest_features(*nearest_unseen), unseen_around])
