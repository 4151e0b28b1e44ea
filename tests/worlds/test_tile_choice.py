"""Drawing one tile out of a floor: the very tiles that ``jax.random.choice`` draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax import game_logic as full_logic
from craftax.craftax_classic import game_logic as classic_logic

from flowrl.worlds.registry import make_world
from flowrl.worlds.tile_choice import choice

DRAWS = 512


def masks(size: int, share: float) -> np.ndarray:
    """``[DRAWS, size]``: each tile is allowed with probability ``share``, at least one is."""
    rng = np.random.default_rng(0)
    allowed = rng.random((DRAWS, size)) < share
    allowed[np.arange(DRAWS), rng.integers(0, size, DRAWS)] = True
    return allowed


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("size", [64 * 64, 48 * 48, 1501])
def test_the_same_key_draws_the_same_tile(size: int, share: float) -> None:
    """Out of one, few and all tiles; where rows do not come out even, too."""
    allowed = masks(size, share)
    p = jnp.asarray(allowed / allowed.sum(axis=1, keepdims=True), jnp.float32)
    keys = jax.random.split(jax.random.key(1), DRAWS)

    def drawn_by(function: object) -> np.ndarray:
        tiles = jnp.arange(size)
        return np.asarray(jax.jit(jax.vmap(lambda key, p: function(key, tiles, (1,), p=p)))(keys, p))

    ours, stock = drawn_by(choice), drawn_by(jax.random.choice)
    assert ours.shape == stock.shape == (DRAWS, 1)
    assert ours.dtype == stock.dtype
    np.testing.assert_array_equal(ours, stock)
    assert allowed[np.arange(DRAWS), ours[:, 0]].all()


def test_uneven_probabilities() -> None:
    """Tiles come as often as they should; drawn from half of them and a rare one."""
    p = np.zeros(4096, np.float32)
    p[::2], p[1001] = 0.75 / 2048, 0.25
    keys = jax.random.split(jax.random.key(2), 4096)
    drawn = np.asarray(
        jax.jit(jax.vmap(lambda key: choice(key, jnp.arange(4096), (), p=jnp.asarray(p))))(keys)
    )
    assert (p[drawn] > 0).all()
    assert np.mean(drawn == 1001) == pytest.approx(0.25, abs=0.03)
    assert np.mean(drawn < 2048) == pytest.approx(0.375 + 0.25, abs=0.03)


def test_where_nothing_is_allowed_the_index_is_one_of_the_map() -> None:
    """As in the stock game, which then draws by 0 / 0 and does not use the tile."""
    drawn = choice(jax.random.key(0), jnp.arange(4096), (1,), p=jnp.full(4096, jnp.nan))
    assert 0 <= int(drawn[0]) < 4096


def test_other_choices_are_left_as_they_are() -> None:
    """Few alternatives, several draws, even ones."""
    key, few = jax.random.key(3), jnp.array([0.5, 0.25, 0.25])
    assert int(choice(key, 4)) == int(jax.random.choice(key, 4))
    assert int(choice(key, jnp.arange(3), p=few)) == int(jax.random.choice(key, jnp.arange(3), p=few))
    many = jnp.full(2048, 1 / 2048)
    several = choice(key, jnp.arange(2048), (5,), p=many)
    np.testing.assert_array_equal(several, jax.random.choice(key, jnp.arange(2048), (5,), p=many))


@pytest.mark.parametrize(
    ("name", "logic"),
    [("Craftax-Classic-Symbolic-v1", classic_logic), ("Craftax-Symbolic-v1", full_logic)],
)
def test_the_games_draw_so(name: str, logic: object) -> None:
    """Once the world has been made; everything else of JAX is what it was."""
    make_world(name)
    assert logic.jax.random.choice is choice  # type: ignore[attr-defined]
    assert logic.jax.random.split is jax.random.split  # type: ignore[attr-defined]
    assert logic.jax.lax is jax.lax  # type: ignore[attr-defined]
