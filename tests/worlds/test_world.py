"""What holds for every world: its tables agree, its states keep their types, its worlds differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from world_studio import BATCH, Studio, on_host

from flowrl.config import ENV_NAMES
from flowrl.errors import UserError
from flowrl.pipeline.workbench import Workbench
from flowrl.report.bench_slots import compilations
from flowrl.rl.trainer import TrainerShape
from flowrl.skills.facts import FactKind, kind_from_namespace
from flowrl.worlds.registry import make_world


@pytest.fixture(params=ENV_NAMES)
def world(request: pytest.FixtureRequest) -> Any:
    """Nothing is compiled for these."""
    return make_world(request.param)


def test_every_fact_has_one_column_and_every_column_its_line(world: Any) -> None:
    """The vocabulary, the field table and the columns are one table."""
    spec = world.snapshot_spec
    paths = [field.path for field in spec.fields]
    assert len(set(paths)) == len(paths) == len(spec)
    assert [field.fact for field in spec.fields if field.fact] == list(world.vocabulary)
    assert set(spec.fact_columns) == set(world.vocabulary)
    for fact, column in spec.fact_columns.items():
        assert spec.fields[column].fact == fact
        assert spec.columns[spec.fields[column].path] == column
    for field in spec.fields:
        assert field.dtype in ("int32", "float32", "bool")
        assert field.meaning
        assert f"| `{field.path}` | {field.dtype} | {field.unit} | {field.meaning} |" in spec.table()
    assert [row["path"] for row in spec.to_json()] == paths


def test_kinds_follow_from_the_namespaces(world: Any) -> None:
    """Save for full Craftax's tools and armour, which are tiers."""
    for name in world.vocabulary:
        fact = world.vocabulary[name]
        if fact.kind is FactKind.TIER and name.startswith("inventory:"):
            assert fact.capacity in (1, 2, 4)
        else:
            assert fact.kind is kind_from_namespace(name)
        if fact.kind is FactKind.COUNT:
            assert fact.capacity == (99 if world.name == ENV_NAMES[1] else 9)


def test_all_achievements_are_facts_with_a_value(world: Any) -> None:
    """22 and 67, each paid by the stock reward."""
    achievements = [name for name in world.vocabulary if name.startswith("achievement:")]
    assert len(achievements) == (67 if world.name == ENV_NAMES[1] else 22)
    assert list(world.achievement_values) == achievements


def test_the_registry_gives_one_world_a_name() -> None:
    """Built once; what it is called is what was asked for."""
    for name in ENV_NAMES:
        assert make_world(name).name == name
        assert make_world(name) is make_world(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("Craftax-Clasic-Symbolic-v1", ENV_NAMES[0]), ("craftax-symbolic-v1", ENV_NAMES[1])],
)
def test_an_unknown_world_names_the_nearest(name: str, nearest: str) -> None:
    """One line that quotes what was given."""
    with pytest.raises(UserError, match="unknown --env_name") as error:
        make_world(name)
    assert repr(name) in str(error.value)
    assert repr(nearest) in str(error.value)
    assert "\n" not in str(error.value)


def test_initial_facts_are_those_of_fresh_worlds(studio: Studio) -> None:
    """What plans start from is what the game starts with; `near` facts depend on the world."""
    for fact, column in studio.spec.fact_columns.items():
        if not fact.startswith("near:"):
            expected = studio.world.initial_facts.get(fact, 0)
            np.testing.assert_array_equal(studio.fresh.seen.snapshot[:, column], expected, err_msg=fact)


def test_states_keep_their_types(studio: Studio) -> None:
    """Fresh, stepped and stepped again: a difference would compile the env once more."""
    first = studio.step(studio.fresh.states, 1)
    second = studio.step(first.states, 5)

    def kinds(tree: Any) -> list[tuple[Any, Any, bool]]:
        return [(leaf.shape, leaf.dtype, leaf.aval.weak_type) for leaf in jax.tree.leaves(tree)]

    assert kinds(studio.fresh) == kinds(first) == kinds(second)
    assert not any(weak for _, _, weak in kinds(first))
    assert jax.tree.structure(studio.fresh) == jax.tree.structure(second)


def test_stepping_compiles_nothing_more(studio: Studio) -> None:
    """Fresh states and stepped ones, copied or not: all are the same to the program."""
    with compilations() as names:
        placed = studio.step(studio.fresh.states, 0)
        placed = studio.programs.advance(placed.states, jnp.zeros(BATCH, jnp.int32), jax.random.key(1))
        fresh = studio.programs.fresh(jax.random.key(5), BATCH)
        studio.programs.advance(fresh.states, np.ones(BATCH, np.int32), jax.random.key(2))
    assert names["_advance_batch"] == names["_generate_chunk"] == 0


def test_what_is_compiled_ahead_is_what_is_called(studio: Studio) -> None:
    """The shapes that are foreseen are those of real states: else the step would be compiled twice."""
    [_, (_, foreseen)] = studio.programs.ahead()
    states, actions, key = foreseen()
    called = (studio.fresh.states, jnp.zeros(BATCH, jnp.int32), jax.random.key(1))

    def form(leaf: Any) -> tuple[Any, ...]:
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)  # keys have none

    assert jax.tree.map(form, (states, actions, key)) == jax.tree.map(form, called)


def test_stepping_leaves_start_worlds_alone(studio: Studio) -> None:
    """Only the copy that is stepped is donated."""
    before = on_host(studio.fresh)
    placed = studio.step(studio.fresh.states, studio.action("left"))
    studio.programs.advance(placed.states, jnp.zeros(BATCH, jnp.int32), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, before, on_host(studio.fresh))


def test_steps_follow_from_state_action_and_key(studio: Studio) -> None:
    """The same again; another key makes other creatures move."""
    one, again, other = (studio.step(studio.fresh.states, 0, key=key) for key in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, on_host(one), on_host(again))
    different = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(on_host(one)), jax.tree.leaves(on_host(other)), strict=True)
    ]
    assert any(different)


def maps_of(placed: Any) -> set[bytes]:
    """The maps of a batch of worlds."""
    return {np.asarray(one).tobytes() for one in placed.states.env.map}


def test_worlds_of_two_seeds_differ(studio: Studio) -> None:
    """All of them, from one another too."""
    other = studio.programs.fresh(jax.random.key(2), BATCH)
    assert len(maps_of(studio.fresh) | maps_of(other)) == 2 * BATCH


def test_validation_and_probing_never_meet_training(classic: Studio) -> None:
    """Whatever the stream, worlds to train in, held-out worlds and worlds to probe in are different ones."""
    shape = TrainerShape(1, BATCH, 4, 8, 8)
    nothing: Any = None

    def bench_of(seed: int) -> Workbench:
        return Workbench(classic.world, shape, classic.programs, nothing, nothing, nothing, seed, nothing)

    bench = bench_of(0)
    worlds = [bench.probing_worlds(4)]
    for stream in (0, 1):
        worlds += [bench.training_worlds(stream, 4), bench.held_out_worlds(stream, 4)]
    assert len(set.union(*map(maps_of, worlds))) == 4 * len(worlds)
    assert maps_of(bench_of(0).held_out_worlds(1, 4)) == maps_of(worlds[-1])
    assert not maps_of(bench_of(1).held_out_worlds(1, 4)) & maps_of(worlds[-1])


def test_the_end_of_a_game_is_told_apart(studio: Studio) -> None:
    """Death, and the game's own step limit; else neither."""
    limit = 100_000 if studio.full else 10_000
    cases = [
        ({"player_health": 0}, (True, False)),
        ({"timestep": limit - 1}, (False, True)),
        ({}, (False, False)),
    ]
    for fields, expected in cases:
        placed = studio.step(studio.planted({}, {}, **fields), studio.action("noop"))
        assert (bool(placed.seen.died.all()), bool(placed.seen.time_up.any())) == expected
        assert bool(placed.seen.died.any()) == expected[0]


def test_only_the_worlds_import_craftax() -> None:
    """The rest of the package knows arrays and symbols."""
    package = Path(__file__).parents[2] / "flowrl"
    importing = {
        path.parent.name
        for path in package.rglob("*.py")
        if any(line.startswith(("import craftax", "from craftax")) for line in path.read_text().splitlines())
    }
    assert importing == {"worlds"}


def test_start_states_vary_in_the_hour_and_in_vitals_alone(studio: Studio) -> None:
    """Each vital from what is asked for up to what an episode starts with; the light is that of the hour."""
    world = studio.world
    vitals = world.vocabulary.of_kind(FactKind.VITAL)
    lowest = jnp.arange(1, len(vitals) + 1)
    keys = jax.random.split(jax.random.key(3), BATCH)
    states = studio.fresh.states
    varied = jax.vmap(world.varied, in_axes=(0, None, 0))(states, lowest, keys)
    assert jax.tree.map(lambda leaf: leaf.dtype, varied) == jax.tree.map(lambda leaf: leaf.dtype, states)
    for least, fact in zip(lowest, vitals, strict=True):
        levels = np.asarray(getattr(varied.env, f"player_{fact.name.partition(':')[2]}"))
        assert levels.min() >= least
        assert levels.max() <= world.initial_facts[fact.name]
        assert len(set(levels.tolist())) > 1
    hours = np.asarray(varied.env.timestep)
    assert ((hours >= 0) & (hours < 300)).all()
    light = 1 - np.abs(np.cos(np.pi * (hours / 300 % 1 + 0.3))) ** 3
    np.testing.assert_allclose(np.asarray(varied.env.light_level), light, atol=1e-5)
    assert np.ptp(light) > 0.5
    changed = {"timestep", "light_level", *(f"player_{fact.name.partition(':')[2]}" for fact in vitals)}
    same = [name for name in studio.fresh.states.env.__dataclass_fields__ if name not in changed]
    for name in same:
        before, after = getattr(states.env, name), getattr(varied.env, name)
        jax.tree.map(np.testing.assert_array_equal, on_host(before), on_host(after))


def test_sleeping_is_named_with_what_it_is_for(world: Any) -> None:
    for action, facts in world.sleep_actions.items():
        assert 0 < action < world.num_actions
        assert set(facts) <= set(world.vocabulary)
    assert world.enums["Action"]["SLEEP"] in world.sleep_actions
