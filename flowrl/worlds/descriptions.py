"""The games' rules as prose, for prompts: facts of the stock craftax package (1.6.1), checked in its code."""

CLASSIC = """\
Craftax-Classic is a 2D survival game on a 64x64 map. The agent sees 9 columns by 7 rows of tiles around
itself and starts on grass with an empty bag and health, food, drink and energy at 9.

Moving: LEFT, RIGHT, UP, DOWN turn the agent that way and move it one tile if the tile there is free
(grass, sand, path). Lava can be walked into and kills. Everything else is an action on the tile in front.

DO, on the tile or creature in front:
- tree: +1 wood; the tree becomes grass. No tool needed.
- stone or coal: +1, needs a wood pickaxe. iron: +1, needs a stone pickaxe. diamond: +1, needs an iron
  pickaxe. What is mined becomes path. Stone, coal, iron and diamonds lie in the mountain areas and caves.
- water: +1 drink. grass: a sapling with a chance of 10%.
- cow (3 health): killed by hits, gives +6 food. zombie (5 health, on grass, more at night) and skeleton
  (3 health, on paths in caves, shoots arrows): killed by hits. A hit does 1 damage, 2 with a wood sword,
  3 with a stone sword, 5 with an iron sword.
- ripe plant: +4 food. Hitting a sapling that is not ripe does nothing good; cows and zombies may damage it.

PLACE_TABLE: 2 wood. PLACE_FURNACE: 1 stone (no table needed). PLACE_STONE: 1 stone, also onto water or lava.
PLACE_PLANT: 1 sapling onto grass in front; it ripens after about 600 steps.

Crafting works while the table (for iron tools: table and furnace) is on one of the 8 tiles around the agent:
MAKE_WOOD_PICKAXE and MAKE_WOOD_SWORD: 1 wood each. MAKE_STONE_PICKAXE and MAKE_STONE_SWORD: 1 wood and
1 stone each. MAKE_IRON_PICKAXE and MAKE_IRON_SWORD: 1 wood, 1 stone, 1 coal and 1 iron each.
The bag holds at most 9 of each thing.

Vitals: food falls by 1 every 25 to 30 steps, drink every 20, energy every 30. While any of them is 0, health
falls; otherwise it recovers slowly. SLEEP works when energy is below 9: the agent sleeps, regaining
energy, until energy is 9 (or it is hit) and then wakes up. A zombie hit costs 2 health, 7 while asleep;
zombies also spawn on paths and come to a sleeper in the open, at night three at once.
Only a skill that gains vital:energy or achievement:wake_up may SLEEP: nobody falls asleep by accident.
The episode ends at health 0, in lava, or after 10,000 steps. A day lasts 300 steps; nights are dark.
"""

FULL = """\
Craftax is a 2D survival and dungeon game with 9 floors of 48x48 tiles; floor 0 is the overworld. The agent
sees 11 columns by 9 rows of tiles around itself, only lit ones, and starts on floor 0 on grass with an empty
bag, health, food, drink, energy and mana at 9, and dexterity, strength and intelligence at 1.

Moving: LEFT, RIGHT, UP, DOWN turn the agent that way and move it one tile if the tile there is free.
Water and lava block the way. Everything else acts on the tile in front.

DO, on the tile or creature in front:
- tree: +1 wood; the tree becomes grass. No tool needed.
- stone or coal: +1, needs pickaxe tier 1 (wood). iron: tier 2 (stone). diamond: tier 3 (iron). sapphire and
  ruby: tier 4 (diamond). Coal, iron and diamonds lie in the overworld's mountains and on lower floors.
- water: +1 drink. grass: a sapling with a chance of 10%. ripe plant: food. chest (floors below 0): loot.
- creatures: hits kill them. Overworld: cow (food), zombie (on grass, more at night), skeleton (in caves).

PLACE_TABLE: 2 wood. PLACE_FURNACE: 1 stone. PLACE_STONE: 1 stone. PLACE_TORCH: 1 torch, lights the
tiles around. PLACE_PLANT: 1 sapling onto grass; it ripens after about 600 steps.

Crafting works while the table (with iron: table and furnace) is on one of the 8 tiles around the agent.
The pickaxe and the sword are tiers, each made only when it is better than the one held:
tier 1 (wood): 1 wood. tier 2 (stone): 1 wood, 1 stone. tier 3 (iron): 1 wood, 1 stone, 1 iron, 1 coal.
tier 4 (diamond): pickaxe 1 wood, 3 diamonds; sword 1 wood, 2 diamonds. Iron armour piece: 3 iron, 3 coal.
MAKE_ARROW: 1 wood, 1 stone gives 2 arrows. MAKE_TORCH: 1 wood, 1 coal gives 4 torches.
The bag holds at most 99 of each thing.

Floors: DESCEND works standing on a ladder down, ASCEND on a ladder up. The ladder of floor 0 is open; below,
a floor's ladder opens after 8 of its creatures were killed. Floor 1 is the dungeon, 2 the gnomish mines,
3 sewers, 4 vaults, 5 troll mines, 6 fire realm, 7 ice realm, 8 graveyard. Reaching a new floor gives 1 xp;
LEVEL_UP_DEXTERITY, _STRENGTH or _INTELLIGENCE spends it.

Vitals: food falls by 1 about every 25 to 30 steps, drink every 20, energy every 30; while any of them is 0,
health falls, otherwise it recovers. SLEEP works when energy is below its maximum and lasts until it is full
or the agent is hit. REST waits until health is full. Only a skill that gains vital:energy or
achievement:wake_up may SLEEP, and only one that gains vital:health may REST.
The episode ends at health 0 or after 100,000 steps (10,000 in some evaluations).
"""
