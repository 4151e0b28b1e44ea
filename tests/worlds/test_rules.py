"""The games' rules as the prompts tell them, each tried out on the stock game in a planted state.

The sentences of ``flowrl/worlds/descriptions.py`` are what models and the playbook rely on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from world_studio import BATCH, Studio

AHEAD = (-1, 0)
BESIDE = (1, 1)
"""Two of the tiles around the agent; it faces the first."""

TABLE = {BESIDE: "crafting_table"}
TABLE_AND_FURNACE = {BESIDE: "crafting_table", (0, -1): "furnace"}


def bag_after(studio: Studio, states: Any, action: str, key: int = 0) -> tuple[dict[str, int], Any]:
    """What an action changed in the first env's bag, and where it led."""
    placed = studio.step(states, studio.action(action), key=key)
    changed = {}
    for path in studio.spec.columns:
        if path.startswith("inventory."):
            name = path.partition(".")[2]
            after = int(studio.column(placed, path)[0])
            before = (
                int(np.asarray(getattr(states.env.inventory, name, np.zeros(1)))[0])
                if hasattr(states.env.inventory, name)
                else 0
            )
            if after != before:
                changed[name] = after - before
    return changed, placed


def deeds(studio: Studio, placed: Any) -> set[str]:
    """Achievements of the first env."""
    return {
        path.partition(".")[2]
        for path in studio.spec.columns
        if path.startswith("achievements.") and studio.column(placed, path)[0]
    }


def deeds_for_tools(studio: Studio, placed: Any) -> set[str]:
    """Full Craftax counts every tool up to the one in the bag as made, however it was come by."""
    if not studio.full:
        return set()
    return {
        f"make_{material}_{tool}"
        for tool in ("pickaxe", "sword")
        for material, tier in TIERS.items()
        if tier <= studio.column(placed, f"inventory.{tool}")[0]
    }


def tile_at(studio: Studio, placed: Any, at: tuple[int, int]) -> int:
    """The tile at an offset from where the agent stood when planted."""
    ground = np.asarray(placed.states.env.map[0])
    ground = ground[0] if studio.full else ground
    return int(ground[ground.shape[0] // 2 + at[0], ground.shape[1] // 2 + at[1]])


PLACING = [
    ("place_table", {"wood": 2}, {"wood": -2}, "crafting_table", "place_table"),
    ("place_furnace", {"stone": 1}, {"stone": -1}, "furnace", "place_furnace"),
    ("place_stone", {"stone": 1}, {"stone": -1}, "stone", "place_stone"),
    ("place_plant", {"sapling": 1}, {"sapling": -1}, "plant", "place_plant"),
]


@pytest.mark.parametrize(("action", "bag", "changed", "tile", "deed"), PLACING)
def test_placing_costs(
    studio: Studio, action: str, bag: dict[str, int], changed: dict[str, int], tile: str, deed: str
) -> None:
    """Needs no table; the thing stands in front and is within reach; one less is too few."""
    found, placed = bag_after(studio, studio.planted(bag, {}), action)
    assert found == changed
    assert tile_at(studio, placed, AHEAD) == studio.block(tile)
    assert deeds(studio, placed) == {deed}
    assert (studio.column(placed, f"near.{tile}") == 1).all()
    (material,) = bag
    found, placed = bag_after(studio, studio.planted({material: bag[material] - 1}, {}), action)
    assert found == {}
    assert tile_at(studio, placed, AHEAD) == studio.block("grass")


@pytest.mark.parametrize("onto", ["water", "lava", "path", "sand"])
def test_stone_goes_onto_water_and_lava(studio: Studio, onto: str) -> None:
    """And onto whatever is free; in Classic, a table does not go onto water."""
    _, placed = bag_after(studio, studio.planted({"stone": 1}, {AHEAD: onto}), "place_stone")
    assert tile_at(studio, placed, AHEAD) == studio.block("stone")
    if onto == "water" and not studio.full:
        found, _ = bag_after(studio, studio.planted({"wood": 2}, {AHEAD: "water"}), "place_table")
        assert found == {}


def test_a_sapling_needs_grass(studio: Studio) -> None:
    """Nothing else will do."""
    found, _ = bag_after(studio, studio.planted({"sapling": 1}, {AHEAD: "path"}), "place_plant")
    assert found == {}


CRAFTING = [
    ("make_wood_pickaxe", {"wood": 1}, TABLE),
    ("make_wood_sword", {"wood": 1}, TABLE),
    ("make_stone_pickaxe", {"wood": 1, "stone": 1}, TABLE),
    ("make_stone_sword", {"wood": 1, "stone": 1}, TABLE),
    ("make_iron_pickaxe", {"wood": 1, "stone": 1, "coal": 1, "iron": 1}, TABLE_AND_FURNACE),
    ("make_iron_sword", {"wood": 1, "stone": 1, "coal": 1, "iron": 1}, TABLE_AND_FURNACE),
]
TIERS = {"wood": 1, "stone": 2, "iron": 3, "diamond": 4}


@pytest.mark.parametrize(("action", "costs", "near"), CRAFTING)
def test_crafting_costs(
    studio: Studio, action: str, costs: dict[str, int], near: dict[tuple[int, int], str]
) -> None:
    """Exactly that, on one of the 8 tiles around; without any one of the materials or stations, nothing."""
    _, material, tool = action.split("_")
    made = {tool: TIERS[material]} if studio.full else {f"{material}_{tool}": 1}
    found, placed = bag_after(studio, studio.planted(costs, near), action)
    assert found == {**{name: -amount for name, amount in costs.items()}, **made}
    assert deeds(studio, placed) == {action} | deeds_for_tools(studio, placed)
    for name in costs:
        less = {**costs, name: costs[name] - 1}
        assert bag_after(studio, studio.planted(less, near), action)[0] == {}
    for station in near:
        left = {at: kind for at, kind in near.items() if at != station}
        assert bag_after(studio, studio.planted(costs, left), action)[0] == {}


@pytest.mark.parametrize("at", [(d, r) for d in (-1, 0, 1) for r in (-1, 0, 1) if (d, r) != (0, 0)])
def test_a_table_works_from_all_8_tiles_around(classic: Studio, at: tuple[int, int]) -> None:
    """Where ``near`` says so, crafting works; two tiles away neither."""
    states = classic.planted({"wood": 1}, {at: "crafting_table"})
    found, placed = bag_after(classic, states, "make_wood_sword")
    assert found == {"wood": -1, "wood_sword": 1}
    assert (classic.column(placed, "near.crafting_table") == 1).all()
    states = classic.planted({"wood": 1}, {(2 * at[0], 2 * at[1]): "crafting_table"})
    found, placed = bag_after(classic, states, "make_wood_sword")
    assert found == {}
    assert (classic.column(placed, "near.crafting_table") == 0).all()


MINING = [
    ("tree", "wood", 0, "grass"),
    ("stone", "stone", 1, "path"),
    ("coal", "coal", 1, "path"),
    ("iron", "iron", 2, "path"),
    ("diamond", "diamond", 3, "path"),
]
PICKAXES = [{}, {"wood_pickaxe": 1}, {"stone_pickaxe": 1}, {"iron_pickaxe": 1}]


def pickaxe(studio: Studio, tier: int) -> dict[str, int]:
    """A bag with the pickaxes up to a tier."""
    if studio.full:
        return {"pickaxe": tier}
    return {name: 1 for each in PICKAXES[: tier + 1] for name in each}


@pytest.mark.parametrize(("tile", "what", "tier", "left"), MINING)
def test_mining_needs_its_tool(studio: Studio, tile: str, what: str, tier: int, left: str) -> None:
    """One piece a hit, with the pickaxe of its tier and not with a lesser one."""
    found, placed = bag_after(studio, studio.planted(pickaxe(studio, tier), {AHEAD: tile}), "do")
    assert found == {what: 1}
    assert deeds(studio, placed) == {f"collect_{what}"} | deeds_for_tools(studio, placed)
    assert tile_at(studio, placed, AHEAD) == studio.block(left)
    if tier:
        found, placed = bag_after(studio, studio.planted(pickaxe(studio, tier - 1), {AHEAD: tile}), "do")
        assert found == {}
        assert tile_at(studio, placed, AHEAD) == studio.block(tile)


def test_trees_are_felled(studio: Studio) -> None:
    """Whether a tree becomes grass is what the description says of it."""
    _, placed = bag_after(studio, studio.planted({}, {AHEAD: "tree"}), "do")
    gone = tile_at(studio, placed, AHEAD) == studio.block("grass")
    assert gone == ("the tree becomes grass" in studio.world.description)


def test_the_bag_is_full_at_its_capacity(studio: Studio) -> None:
    """What is beyond it is lost; that is the capacity that plans count with."""
    capacity = 99 if studio.full else 9
    assert f"The bag holds at most {capacity} of each thing." in studio.world.description
    assert studio.world.vocabulary["inventory:wood"].capacity == capacity
    found, placed = bag_after(studio, studio.planted({"wood": capacity}, {AHEAD: "tree"}), "do")
    assert found == {}
    assert (studio.column(placed, "inventory.wood") == capacity).all()


def test_water_is_drunk(studio: Studio) -> None:
    """One more, and no more than there is room for."""
    for before, after in ((5, 6), (9, 9)):
        _, placed = bag_after(studio, studio.planted({}, {AHEAD: "water"}, player_drink=before), "do")
        assert (studio.column(placed, "vitals.drink") == after).all()
        assert deeds(studio, placed) == {"collect_drink"}


def test_grass_gives_a_sapling_one_time_in_ten(classic: Studio) -> None:
    """Within four standard deviations, over 25 keys of 16 envs."""
    states = classic.planted({}, {})
    found = sum(
        int(classic.column(classic.step(states, classic.action("do"), key=key), "inventory.sapling").sum())
        for key in range(25)
    )
    tries = 25 * BATCH
    assert abs(found - 0.1 * tries) < 4 * np.sqrt(tries * 0.1 * 0.9)


def test_a_ripe_plant_feeds(classic: Studio) -> None:
    """Four food; a sapling that is not ripe gives nothing."""
    for tile, after in (("ripe_plant", 7), ("plant", 3)):
        _, placed = bag_after(classic, classic.planted({}, {AHEAD: tile}, player_food=3), "do")
        assert (classic.column(placed, "vitals.food") == after).all()


@pytest.mark.parametrize(
    ("sword", "hits"), [({}, 3), ({"wood_sword": 1}, 2), ({"stone_sword": 1}, 1), ({"iron_sword": 1}, 1)]
)
def test_a_cow_has_three_health_and_gives_six_food(classic: Studio, sword: dict[str, int], hits: int) -> None:
    """A hit does 1, with a wood sword 2, a stone sword 3, an iron sword 5."""
    states = classic.planted(sword, {}, player_food=1)
    states = with_creature(states, "cows", health=3)
    for hit in range(1, hits + 1):
        placed = classic.step(pinned(states, "cows"), classic.action("do"), key=hit)
        states = placed.states
        assert (classic.column(placed, "vitals.food") == (7 if hit == hits else 1)).all()
    assert deeds(classic, placed) == {"eat_cow"}


def test_a_zombie_has_five_health(classic: Studio) -> None:
    """Killed by an iron sword at once, by a stone sword at the second hit."""
    for sword, hits in (({"iron_sword": 1}, 1), ({"stone_sword": 1}, 2)):
        states = with_creature(classic.planted(sword, {}), "zombies", health=5)
        for hit in range(1, hits + 1):
            placed = classic.step(pinned(states, "zombies"), classic.action("do"), key=hit)
            states = placed.states
            assert ("defeat_zombie" in deeds(classic, placed)) == (hit == hits)


def with_creature(states: Any, kind: str, health: int) -> Any:
    """One in front of the agent."""
    mobs = getattr(states.env, kind)
    mobs = mobs.replace(health=mobs.health.at[:, 0].set(health), mask=mobs.mask.at[:, 0].set(True))
    return pinned(states._replace(env=states.env.replace(**{kind: mobs})), kind)


def pinned(states: Any, kind: str) -> Any:
    """The first of its kind back in front of the agent: creatures wander."""
    env = states.env
    mobs = getattr(env, kind)
    here = env.player_position.at[:, 0].add(-1)
    mobs = mobs.replace(position=mobs.position.at[:, 0].set(here))
    mob_map = (env.mob_map & False).at[np.arange(BATCH), here[:, 0], here[:, 1]].set(True)
    return states._replace(env=env.replace(**{kind: mobs}, mob_map=mob_map))


def test_lava_kills_or_blocks(studio: Studio) -> None:
    """Whoever walks into it, in Classic; in full Craftax it only blocks the way."""
    placed = studio.step(studio.planted({}, {AHEAD: "lava"}), studio.action("up"))
    assert ("Lava can be walked into and kills." in studio.world.description) != studio.full
    assert ("Water and lava block the way." in studio.world.description) == studio.full
    assert bool(placed.seen.died.all()) != studio.full
    # By which a death is told to have been in lava.
    on_it = studio.column(placed, "closest_blocks.lava.distance") == 0
    assert bool(on_it.all()) != studio.full
    assert bool(on_it.any()) != studio.full
    assert not bool(placed.seen.time_up.any())


@pytest.mark.parametrize(
    ("tile", "free"),
    [
        ("grass", True),
        ("sand", True),
        ("path", True),
        ("stone", False),
        ("water", False),
        ("tree", False),
        ("crafting_table", False),
        ("plant", False),
    ],
)
def test_what_can_be_walked_on(studio: Studio, tile: str, free: bool) -> None:
    """Moving turns the agent in any case."""
    states = studio.planted({}, {(0, 1): tile})
    placed = studio.step(states, studio.action("right"))
    moved = np.asarray(placed.states.env.player_position - states.env.player_position)
    assert (moved == ([0, 1] if free else [0, 0])).all()
    if not free:
        assert (studio.column(placed, "facing.block") == studio.block(tile)).all()


def test_sleep_lasts_until_energy_is_full(classic: Studio) -> None:
    """Not when rested; asleep every action is a no-op; waking up is an achievement."""
    awake = classic.step(classic.planted({}, {}, player_energy=9), classic.action("sleep"))
    assert (classic.column(awake, "sleeping") == 0).all()
    asleep = classic.step(classic.planted({"wood": 2}, {}, player_energy=8), classic.action("sleep"))
    assert (classic.column(asleep, "sleeping") == 1).all()
    still = classic.step(asleep.states, classic.action("place_table"))
    assert (classic.column(still, "inventory.wood") == 2).all()
    assert (classic.column(still, "sleeping") == 1).all()
    rested = still.states._replace(
        env=still.states.env.replace(player_energy=still.states.env.player_energy * 0 + 9)
    )
    woken = classic.step(rested, classic.action("noop"))
    assert (classic.column(woken, "sleeping") == 0).all()
    assert "wake_up" in deeds(classic, woken)


FULL_CRAFTING = [
    ("make_diamond_pickaxe", {"wood": 1, "diamond": 3}, {"pickaxe": 4}),
    ("make_diamond_sword", {"wood": 1, "diamond": 2}, {"sword": 4}),
    ("make_arrow", {"wood": 1, "stone": 1}, {"arrows": 2}),
    ("make_torch", {"wood": 1, "coal": 1}, {"torches": 4}),
]


@pytest.mark.parametrize(("action", "costs", "made"), FULL_CRAFTING)
def test_full_crafting_costs(full: Studio, action: str, costs: dict[str, int], made: dict[str, int]) -> None:
    """At a table; one less of anything is too little."""
    found, _ = bag_after(full, full.planted(costs, TABLE), action)
    assert found == {**{name: -amount for name, amount in costs.items()}, **made}
    for name in costs:
        assert bag_after(full, full.planted({**costs, name: costs[name] - 1}, TABLE), action)[0] == {}
    assert bag_after(full, full.planted(costs, {}), action)[0] == {}


def test_a_better_tool_is_never_replaced(full: Studio) -> None:
    """Tiers only rise, and nothing is spent on a lesser one."""
    found, _ = bag_after(
        full, full.planted({"wood": 1, "stone": 1, "pickaxe": 3}, TABLE), "make_stone_pickaxe"
    )
    assert found == {}


def test_the_overworlds_ladder_is_open(full: Studio) -> None:
    """DESCEND on it leads to floor 1; elsewhere nowhere."""
    rows, columns = full.fresh.states.env.map.shape[-2:]
    items = np.zeros((9, rows, columns), int)
    assert (
        full.column(full.step(full.planted({}, {}, item_map=items), full.action("descend")), "floor") == 0
    ).all()
    items[0, rows // 2, columns // 2] = 2
    placed = full.step(full.planted({}, {}, item_map=items), full.action("descend"))
    assert (full.column(placed, "floor") == 1).all()
    assert "enter_dungeon" in deeds(full, placed)
