"""A record of practice: all skills of a graph trained together, in the episodes that the agent plays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Spared:
    """How much health a tool in the bag spares in a fight, all other tools being equal.

    Attributes:
        points: of health, fewer a fight than without it; negative where fights cost more.
        margin: half the width of its 95% interval.
        fights_with, fights_without: how many were looked at.
    """

    points: float
    margin: float
    fights_with: int
    fights_without: int


@dataclass(frozen=True)
class Practice:
    """One practice. The last one's policies take the place of the nodes' own.

    Attributes:
        skills: names, in the order of the policies in its file; nodes, then what was refused before.
        nodes: how many nodes the graph had when it began.
        env_steps: trained.
        wall_s: seconds it took.
        provenance: free-form: device, sizes, seed, versions, ``created`` (ISO 8601, UTC).
        spared: by tool, such as ``inventory:iron_sword``, what fights have shown of it.
        folder: relative to the graph path; filled by the store.
        files: relative path in its folder -> sha256; filled by the store.
    """

    skills: tuple[str, ...]
    nodes: int
    env_steps: int
    wall_s: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    spared: Mapping[str, Spared] = field(default_factory=dict)
    folder: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    name: ClassVar[str] = "practice"

    def __post_init__(self) -> None:
        if self.env_steps < 0:
            raise ValueError(f"env steps are never negative, but {self.env_steps} is")
        if len(set(self.skills)) < len(self.skills):
            raise ValueError("two policies of a practice have the same name")

    def summary(self) -> dict[str, Any]:
        """The practice as ``status --json`` shows it."""
        return {
            "skills": list(self.skills),
            "nodes": self.nodes,
            "env_steps": self.env_steps,
            "wall_s": self.wall_s,
        }
