"""``world``: what a skill may be made of in a world, as models are told it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from flowrl.config import RunConfig, validate_env_name
from flowrl.report.commands.flags import parse_flags


@dataclass(frozen=True)
class WorldFlags:
    """Prints what models are told of a world: its rules, its facts, the fields that skill code may read.

    That is all one needs to write a skill by hand, for `flowrl check-skill FILE` or for a playbook of one's
    own (--llm_name playbook_<folder>). Markdown; --json gives facts, fields and enums as data.
    """

    env_name: str = RunConfig.env_name
    """World: Craftax-Classic-Symbolic-v1 or Craftax-Symbolic-v1."""

    json: bool = False
    """Print JSON, for scripts."""


def world(args: Sequence[str], prog: str) -> int:
    """``flowrl world``."""
    flags = parse_flags(WorldFlags, args, prog)
    validate_env_name(flags.env_name)
    from flowrl.llm.prompts import load_prompt, render
    from flowrl.pipeline.proposal_context import enum_table, fact_table
    from flowrl.worlds.registry import make_world

    made = make_world(flags.env_name)
    if flags.json:
        facts = [
            {"name": fact.name, "kind": str(fact.kind), "capacity": fact.capacity, "meaning": fact.meaning}
            for fact in made.vocabulary.values()
        ]
        fields = made.snapshot_spec.to_json()
        enums = {name: dict(members) for name, members in made.enums.items()}
        print(json.dumps({"facts": facts, "fields": fields, "enums": enums}, indent=2))
        return 0
    tables = {"field_table": made.snapshot_spec.table(), "enum_table": enum_table(made)}
    parts = {
        made.name: made.description,
        "Facts": fact_table(made),
        "The operator, a block of JSON": load_prompt("operator_rules"),
        "The code, a block of Python": render("code_rules", tables),
    }
    print("\n\n".join(f"# {title}\n\n{text.strip()}" for title, text in parts.items()))
    return 0
