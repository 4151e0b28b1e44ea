"""Craftax-Classic with wrong operators: what refinement makes of them after real training.

    python experiments/classic_planted_errors.py
    python experiments/classic_planted_errors.py --seed 1 --out exp/planted_errors/seed_1/

Writes the playbook's first proposals, each with one planted error, into OUT/proposals, learns from them with
refinement on, into OUT/graph, and holds every operator that came out against the shipped one, in
OUT/result.json. The same command goes on where it stopped. What it gave: experiments/README.md.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrl.cli import guarded
from flowrl.config import PPOConfig, RunConfig, ValidationConfig
from flowrl.llm.config import LlmConfig
from flowrl.report.commands.flags import parse_flags

ENV_NAME = "Craftax-Classic-Symbolic-v1"
GOES_ON = " The same command goes on from the last accepted skill."


@dataclass(frozen=True)
class Recipe:
    """What may differ between repetitions; the errors are fixed in ``PLANTED``."""

    seed: int = 0
    """Of worlds, network weights and actions."""

    out: Path = Path("exp/planted_errors/")
    """Folder for the proposals, the graph and the result."""

    total_timesteps: int = 800_000
    """Budget of one skill in env steps."""


@dataclass(frozen=True)
class Planted:
    """An error: what kind it is, and the sections of the operator that say what is wrong."""

    kind: str
    sections: Mapping[str, Any]


PLANTED: Mapping[str, Planted] = {
    "collect_wood": Planted(
        "overstated gain", {"gains": {"inventory:wood": "2*n", "achievement:collect_wood": 1}}
    ),
    "place_table": Planted("overstated consumption", {"consumes": {"inventory:wood": 4}}),
    "make_wood_pickaxe": Planted("missing requirement", {"requires": {}}),
    "collect_drink": Planted("superfluous requirement", {"requires": {"inventory:wood": 1}}),
    "collect_sapling": Planted("missing side product", {"gains": {"inventory:sapling": "1*n"}}),
    "place_plant": Planted(
        "missing consumption", {"requires": {"inventory:sapling": 1}, "consumes": {}}
    ),
    "make_wood_sword": Planted(
        "too high a requirement", {"requires": {"near:crafting_table": 1, "inventory:wood": 3}}
    ),
    "eat_cow": Planted(
        "gain that never comes", {"gains": {"vital:food": 6, "vital:drink": 3, "achievement:eat_cow": 1}}
    ),
    "collect_stone": Planted(
        "superfluous tool", {"requires": {"inventory:wood_pickaxe": 1, "inventory:wood_sword": 1}}
    ),
    "place_stone": Planted("consumption of the wrong fact", {"consumes": {"inventory:wood": 1}}),
    "make_stone_pickaxe": Planted(
        "superfluous achievement",
        {"requires": {"near:crafting_table": 1, "achievement:make_wood_sword": 1}},
    ),
}  # fmt: skip
"""Skill -> error, in the playbook's order; what later skills need is learned with an error of its own."""


def write_proposals(folder: Path) -> dict[str, dict[str, Any]]:
    """One file a planted error.

    Returns:
        name -> the shipped operator, without the error.
    """
    from flowrl.llm.providers.playbook import load_playbook
    from flowrl.llm.reply_text import whole_reply

    shipped = {proposal.name: proposal for proposal in load_playbook(ENV_NAME)}
    folder.mkdir(parents=True, exist_ok=True)
    for index, (name, planted) in enumerate(PLANTED.items()):
        operator = {**shipped[name].operator, **planted.sections}
        (folder / f"{index:02}_{name}.md").write_text(
            whole_reply(operator, shipped[name].source), encoding="utf-8"
        )
    return {name: shipped[name].operator for name in PLANTED}


def run_config(recipe: Recipe) -> RunConfig:
    """A run with the defaults that a user gets, but for the budget; a refused error does not end it."""
    return RunConfig(
        env_name=ENV_NAME,
        graph_path=recipe.out / "graph",
        max_nodes=len(PLANTED),
        max_consecutive_failures=len(PLANTED),
        use_wandb=False,
        seed=recipe.seed,
        ppo=PPOConfig(total_timesteps=recipe.total_timesteps),
        validation=ValidationConfig(),
    )


def outcomes(graph_path: Path, shipped: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What became of each error: ``right``, ``other`` (accepted with another operator), ``refused`` or
    ``not tried``.
    """
    from flowrl.skills.operator import parse_operator
    from flowrl.store.reader import GraphReader
    from flowrl.worlds.registry import make_world

    graph, vocabulary = GraphReader(graph_path).graph, make_world(ENV_NAME).vocabulary
    rows = []
    for name, planted in PLANTED.items():
        right = parse_operator(dict(shipped[name]), vocabulary).to_json()
        wrong = parse_operator({**shipped[name], **planted.sections}, vocabulary).to_json()
        row: dict[str, Any] = {"skill": name, "error": planted.kind, "right": right, "planted": wrong}
        if name in graph.names:
            node = graph.node(name)
            learned = node.operator.to_json()
            same = without_repetition(learned) == without_repetition(right)
            row |= {"outcome": "right" if same else "other", "learned": learned}
            row["env_steps"] = dataclasses.asdict(node.env_steps)
        else:
            reasons = [f"{one.stage}: {one.reason}" for one in graph.failures if one.name == name]
            row |= {"outcome": "refused" if reasons else "not tried", "reasons": reasons}
        rows.append(row)
    return rows


def without_repetition(operator: Mapping[str, Any]) -> dict[str, Any]:
    """The operator without requirements that it uses up in the same amount: it needs these anyhow."""
    consumes = operator.get("consumes", {})
    requires = {
        fact: count for fact, count in operator.get("requires", {}).items() if consumes.get(fact) != count
    }
    return {**operator, "requires": requires}


def show(rows: list[dict[str, Any]]) -> None:
    """The table of outcomes."""
    from rich.console import Console
    from rich.table import Table

    table = Table("skill", "error", "outcome", "where it differs, or why it was refused")
    for row in rows:
        said = "\n".join(row.get("reasons", ()))
        for part, facts in row.get("learned", {}).items():
            if row["outcome"] == "other" and facts != row["right"].get(part):
                said += f"{part}: {json.dumps(facts)} instead of {json.dumps(row['right'].get(part))}\n"
        table.add_row(row["skill"], row["error"], row["outcome"], said.strip())
    Console().print(table)


def main(recipe: Recipe) -> int:
    """Plants, learns, compares, writes the result."""
    from flowrl.errors import RunStopped
    from flowrl.llm.errors import NothingToPropose
    from flowrl.pipeline.run import run_bottomup
    from flowrl.report.live import terminal_view

    proposals = recipe.out / "proposals"
    shipped = write_proposals(proposals)
    config = run_config(recipe)
    with terminal_view() as view:
        try:
            run_bottomup(config, LlmConfig(llm_name=f"playbook_{proposals}"), [view])
        except (RunStopped, NothingToPropose) as stopped:
            print(f"not all were accepted: {stopped}", flush=True)
    rows = outcomes(config.graph_path, shipped)
    result = {"recipe": {**dataclasses.asdict(recipe), "out": str(recipe.out)}, "outcomes": rows}
    (recipe.out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(
        guarded(
            lambda: main(parse_flags(Recipe, sys.argv[1:], "classic_planted_errors.py", __doc__)), GOES_ON
        )
    )
