"""``check-skill``: the verdict that a run would give on a reply, without a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from flowrl.config import RunConfig, validate_env_name
from flowrl.errors import UserError
from flowrl.report.commands.flags import parse_flags

_REFUSED = 1


@dataclass(frozen=True)
class CheckSkillFlags:
    """Checks a reply with one skill in it: parse, allow-list, trace in a locked-down child, probes.

    Exit code 0: accepted; 1: refused, with the stage, the reason and how to mend it; 2: could not be checked.
    """

    file: tyro.conf.Positional[Path]
    """Text file with the reply, as a model would write it."""

    env_name: str = RunConfig.env_name
    """World that the skill is for."""

    json: bool = False
    """Print JSON, for scripts."""


def check_skill(args: Sequence[str], prog: str) -> int:
    """``flowrl check-skill``."""
    flags = parse_flags(CheckSkillFlags, args, prog)
    validate_env_name(flags.env_name)
    if flags.file.is_dir() or not flags.file.exists():
        what = "is a folder" if flags.file.is_dir() else "does not exist"
        raise UserError(f"{str(flags.file)!r} {what}. Give the path of a text file with a model's reply.")
    from flowrl.pipeline.check_skill import check_skill_file

    verdict = check_skill_file(flags.file, flags.env_name)
    if flags.json:
        print(json.dumps(verdict, indent=2))
    elif verdict["accepted"]:
        print("accepted")
    else:
        print(f"refused [{verdict['stage']}] {verdict['reason']} {verdict.get('fix') or ''}".rstrip())
    return 0 if verdict["accepted"] else _REFUSED
