"""From ``--env_name`` to a world."""

from __future__ import annotations

import functools

from flowrl.config import ENV_NAMES
from flowrl.errors import UserError, nearest
from flowrl.worlds.base import World


@functools.cache
def make_world(name: str) -> World:
    """The world of that name; built once a process.

    Raises:
        UserError: unknown name, with the nearest valid one.
    """
    if name == ENV_NAMES[0]:
        from flowrl.worlds.classic import ClassicWorld

        return ClassicWorld()
    if name == ENV_NAMES[1]:
        from flowrl.worlds.full import FullWorld

        return FullWorld()
    raise UserError(f"unknown --env_name {name!r}. {nearest(name, ENV_NAMES)}")
