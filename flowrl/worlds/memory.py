"""What the agent remembers: the tiles that it has itself seen, and the nearest one of each kind.

A policy that sees a few tiles cannot find its way back to the iron it passed. The memory holds, for every
floor, the last seen kind of every tile (0: never seen) and answers "where is the nearest remembered X".
Nothing that was out of view or unlit ever enters it. What it does not hold yet says where to look next.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

UNSEEN = 0
UNKNOWN_DISTANCE = 99
"""The distance that is reported for a kind of which no tile is remembered."""


@dataclass(frozen=True)
class TileMemory:
    """Remembered tile kinds of one world. Arrays are padded by half a view, so no window leaves them.

    Attributes:
        floors: number of floors.
        map_shape: ``(rows, columns)`` of one floor.
        view_shape: ``(H, W)`` of the agent's view, both odd.
    """

    floors: int
    map_shape: tuple[int, int]
    view_shape: tuple[int, int]

    @property
    def _padding(self) -> tuple[int, int]:
        return self.view_shape[0] // 2, self.view_shape[1] // 2

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Shape of one floor with its padding."""
        (rows, columns), (pad_rows, pad_columns) = self.map_shape, self._padding
        return rows + 2 * pad_rows, columns + 2 * pad_columns

    def empty(self) -> jax.Array:
        """uint8 ``[floors, padded rows, padded columns]``, nothing seen."""
        return jnp.zeros((self.floors, *self.padded_shape), jnp.uint8)

    def window(self, position: jax.Array) -> jax.Array:
        """int32 ``[H, W, 2]``: the tiles that the agent at ``position`` ``[2]`` has in view."""
        height, width = self.view_shape
        grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
        return position + jnp.asarray(grid - np.array([height // 2, width // 2]), jnp.int32)

    def remember(
        self, memory: jax.Array, floor: jax.Array, position: jax.Array, view: jax.Array, lit: jax.Array
    ) -> jax.Array:
        """``memory`` with the lit tiles of ``view`` (``[H, W]``, kinds) written around ``position``.

        The window around a position has its corner at that same position in padded coordinates.
        """
        corner = (floor, position[0], position[1])
        before = jax.lax.dynamic_slice(memory, corner, (1, *self.view_shape))[0]
        now = jnp.where(lit, view.astype(jnp.uint8), before)
        return jax.lax.dynamic_update_slice(memory, now[None], corner)

    def around(
        self, memory: jax.Array, floor: jax.Array, position: jax.Array, reach: int, outside: int
    ) -> jax.Array:
        """uint8 ``[2 * reach + 1, 2 * reach + 1]``: the square of remembered kinds around ``position``.

        Args:
            outside: the kind of what lies beyond the map.
        """
        (rows, columns), (pad_rows, pad_columns) = self.map_shape, self._padding
        tiles = memory[floor, pad_rows : pad_rows + rows, pad_columns : pad_columns + columns]
        edged = jnp.pad(tiles, reach, constant_values=np.uint8(outside))
        # A slice, where a gather of single tiles takes ten times as long.
        return jax.lax.dynamic_slice(edged, (position[0], position[1]), (2 * reach + 1, 2 * reach + 1))

    def explored(self, memory: jax.Array, floor: jax.Array) -> jax.Array:
        """int32: how many tiles of the floor are remembered, tiles beyond the map's edge included."""
        return jnp.sum(memory[floor] != UNSEEN)

    def unseen_around(self, memory: jax.Array, floor: jax.Array, position: jax.Array) -> jax.Array:
        """float32 ``[8]``: the share of tiles never seen in each of the windows around the one in view.

        From the upper left to the lower right. What lies beyond the padding counts as seen: nobody need go.
        """
        (height, width), (rows, columns) = self.view_shape, self.padded_shape
        down = position[0] + np.arange(-height, 2 * height)
        right = position[1] + np.arange(-width, 2 * width)
        inside = ((down >= 0) & (down < rows))[:, None] & ((right >= 0) & (right < columns))
        kinds = memory[floor, jnp.clip(down, 0, rows - 1)[:, None], jnp.clip(right, 0, columns - 1)]
        shares = ((kinds == UNSEEN) & inside).reshape(3, height, 3, width).mean(axis=(1, 3))
        return jnp.delete(shares.reshape(9), 4, assume_unique_indices=True)

    def nearest(
        self, memory: jax.Array, floor: jax.Array, position: jax.Array, kinds: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Offsets to the nearest remembered tile of each kind.

        Every offset on a floor has a rank, nearer offsets first, so the nearest tile is the one of lowest
        rank: one pass of 16-bit minima instead of a search with distances and directions.

        Args:
            kinds: uint8 ``[C]``; :data:`UNSEEN` asks for the nearest tile that was never seen.

        Returns:
            ``(seen bool [C], offset int32 [C, 2])``: rows down and columns right, 0 where nothing is seen.
        """
        tiles = jax.lax.dynamic_slice(memory, (floor, 0, 0), (1, *self.padded_shape))[0]
        rows, columns = self.map_shape
        corner = (rows - 1 - position[0], columns - 1 - position[1])
        ranks = jax.lax.dynamic_slice(jnp.asarray(self._ranks()), corner, self.padded_shape)

        def with_row(row: jax.Array, best: jax.Array) -> jax.Array:
            ours = tiles[row].astype(jnp.uint16) == kinds.astype(jnp.uint16)[:, None]
            return jnp.minimum(best, jnp.where(ours, ranks[row], _NO_RANK))

        # Row by row, into minima a column: of one reduction over everything XLA makes a scalar loop. Measured
        # on a CPU core, 64x64 tiles, 14 kinds, 256 envs: 9 us an env instead of 156.
        by_column = jnp.full((kinds.shape[0], tiles.shape[1]), _NO_RANK)
        best = jnp.min(jax.lax.fori_loop(0, tiles.shape[0], with_row, by_column), axis=1)
        seen = best != _NO_RANK
        offsets = jnp.asarray(self._offsets())
        return seen, jnp.where(seen[:, None], offsets[jnp.where(seen, best, 0)], 0)

    def _offset_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column offsets ``[2 * rows - 1 + pads, ...]`` from a position to every padded tile."""
        (rows, columns), (pad_rows, pad_columns) = self.map_shape, self._padding
        down = np.arange(-(rows - 1) - pad_rows, rows + pad_rows)
        right = np.arange(-(columns - 1) - pad_columns, columns + pad_columns)
        grid = np.meshgrid(down, right, indexing="ij")
        return grid[0], grid[1]

    def _order(self) -> np.ndarray:
        down, right = self._offset_grid()
        return np.argsort((np.abs(down) + np.abs(right)).ravel(), kind="stable")

    def _ranks(self) -> np.ndarray:
        order = self._order()
        ranks = np.empty(order.size, np.uint16)
        ranks[order] = np.arange(order.size, dtype=np.uint16)
        return ranks.reshape(self._offset_grid()[0].shape)

    def _offsets(self) -> np.ndarray:
        down, right = self._offset_grid()
        return np.stack([down.ravel(), right.ravel()], axis=-1)[self._order()].astype(np.int32)


_NO_RANK = np.uint16(65535)
