"""The skill graph as data: accepted skills, what they build on, what failed and why. Pure Python.

Everything here is immutable and survives a round trip through JSON; where it lies on disk is the store's
business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from flowrl.errors import GraphError, UserError, nearest
from flowrl.skills.evidence import Z_95, EnvSteps, Evidence, wilson_interval
from flowrl.skills.operator import Operator
from flowrl.skills.practice import Practice
from flowrl.skills.strict_json import decode, encode

__all__ = [
    "SCHEMA_VERSION", "Z_95", "EnvSteps", "Evidence", "Failure", "Practice", "SkillGraph", "SkillNode",
    "wilson_interval",
]  # fmt: skip

SCHEMA_VERSION = 1
"""Of ``graph.json``. Raise it whenever a graph written by the new code would mislead the old code."""


@dataclass(frozen=True)
class SkillNode:
    """One accepted skill.

    Attributes:
        index: its place in the graph, from 0.
        name: unique in the graph.
        description: one line from the proposal.
        operator: as refined from what trajectories really did.
        max_steps: env steps that one episode may take at n = 1.
        max_repeat: the largest ``n`` it was trained for.
        plan: ``(skill, n)`` steps that prepare its start states; empty when it starts from fresh worlds.
        evidence: its validation.
        env_steps: what it cost.
        wall_s: seconds from its proposal to its acceptance.
        llm: role -> name of the model that answered last; ``wrote``: part of the proposal -> model;
            ``total``: calls, tokens and dollars, null where unknown.
        provenance: free-form: executor, device, versions, seed, ``created`` (ISO 8601, UTC).
        files: relative path in the node's folder -> sha256; filled by the store.
        status: always ``accepted``.
    """

    index: int
    name: str
    description: str
    operator: Operator
    max_steps: int
    max_repeat: int
    plan: tuple[tuple[str, int], ...]
    evidence: Evidence
    env_steps: EnvSteps
    wall_s: float
    llm: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    status: str = "accepted"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")
        if self.status != "accepted":
            raise ValueError(f"status is {self.status!r}, not 'accepted'")
        for what, value in (("max_steps", self.max_steps), ("max_repeat", self.max_repeat)):
            if value < 1:
                raise ValueError(f"{what} is {value!r}, not at least 1")
        for skill, n in self.plan:
            if n < 1:
                raise ValueError(f"plan repeats {skill!r} {n} times")

    def summary(self) -> dict[str, Any]:
        """The node as ``status --json`` shows it."""
        return {
            "index": self.index,
            "name": self.name,
            "status": self.status,
            "description": self.description,
            "success": self.evidence.success,
            "success_low": self.evidence.success_low,
            "success_high": self.evidence.success_high,
            "episodes": self.evidence.episodes,
            "env_steps": self.env_steps.total,
            "env_steps_by_stage": encode(self.env_steps),
            "wall_s": self.wall_s,
            **self.operator.to_json(),
            "plan": encode(self.plan),
            "max_steps": self.max_steps,
            "max_repeat": self.max_repeat,
            "llm": encode(self.llm),
        }


@dataclass(frozen=True)
class Failure:
    """A proposal or a trained skill that was refused; later proposals see it.

    Attributes:
        name: the skill's name, or what stands for it when the reply had none.
        stage: where it was refused, as in ``ProposalRefused``.
        reason: what was wrong.
        fix: what to do instead; may be empty.
        operator: its claim, when it could be read.
        folder: where its reply and curves lie, relative to the graph path; filled by the store.
        env_steps: what it cost.
        wall_s: seconds from its proposal to its refusal.
        llm: as of a node.
        time: ISO 8601, UTC.
        index: how many nodes the graph had then; filled when it is added.
    """

    name: str
    stage: str
    reason: str
    fix: str = ""
    operator: Operator | None = None
    folder: str | None = None
    env_steps: EnvSteps = field(default_factory=EnvSteps)
    wall_s: float = 0.0
    llm: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""
    index: int | None = None

    def summary(self) -> dict[str, Any]:
        """The failure as ``status --json`` shows it."""
        shown = encode(self)
        shown["env_steps"] = self.env_steps.total
        shown["operator"] = self.operator.to_json() if self.operator else None
        return shown


Record = TypeVar("Record", SkillNode, Failure, Practice)


@dataclass(frozen=True)
class SkillGraph:
    """Accepted skills in the order in which they were learned, and what failed on the way.

    Attributes:
        env_name: the world.
        nodes: node ``i`` has index ``i`` and builds on earlier nodes only.
        failures: in order of time.
        practices: likewise; the last one's policies count.
        provenance: free-form: ``created`` (ISO 8601, UTC) and what else the run knows.
        schema_version: of the form on disk.
    """

    env_name: str
    nodes: tuple[SkillNode, ...] = ()
    failures: tuple[Failure, ...] = ()
    practices: tuple[Practice, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    DERIVED: ClassVar[tuple[str, ...]] = ("edges",)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for position, node in enumerate(self.nodes):
            if node.index != position:
                raise ValueError(f"node {node.name!r} has index {node.index} at place {position}")
            if node.name in seen:
                raise ValueError(f"two nodes are named {node.name!r}")
            for skill, _ in node.plan:
                if skill not in seen:
                    raise ValueError(f"the plan of {node.name!r} uses {skill!r}, which is no earlier node")
            seen.add(node.name)

    @property
    def operators(self) -> dict[str, Operator]:
        """Skill name -> operator, in order: what plans are made of."""
        return {node.name: node.operator for node in self.nodes}

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """``(skill, a skill in its plan)``, each pair once, in order of first use."""
        pairs = ((node.name, skill) for node in self.nodes for skill, _ in node.plan)
        return tuple(dict.fromkeys(pairs))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the accepted skills, in order."""
        return tuple(node.name for node in self.nodes)

    @property
    def env_steps(self) -> int:
        """All env steps spent: on what was accepted, on what was refused, and in practice."""
        return (
            sum(node.env_steps.total for node in self.nodes)
            + sum(failure.env_steps.total for failure in self.failures)
            + sum(practice.env_steps for practice in self.practices)
        )

    @property
    def wall_s(self) -> float:
        """All seconds spent, likewise; skills that were learned side by side count one by one."""
        return (
            sum(node.wall_s for node in self.nodes)
            + sum(failure.wall_s for failure in self.failures)
            + sum(practice.wall_s for practice in self.practices)
        )

    def node(self, name: str) -> SkillNode:
        """The node of that name; ``KeyError`` when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"no node is named {name!r}. {nearest(name, self.names)}")

    def with_node(self, node: SkillNode) -> SkillGraph:
        """This graph and one more accepted skill.

        Raises:
            ValueError: wrong index, doubled name, a plan of unknown skills, or a value that JSON cannot hold.
        """
        return replace(self, nodes=(*self.nodes, _as_stored(node)))

    def with_failure(self, failure: Failure) -> SkillGraph:
        """This graph and one more failure, marked with the number of nodes at this moment.

        Raises:
            ValueError: when it holds a value that JSON cannot hold.
        """
        if failure.index is None:
            failure = replace(failure, index=len(self.nodes))
        return replace(self, failures=(*self.failures, _as_stored(failure)))

    def with_practice(self, practice: Practice, instead_of_last: bool = False) -> SkillGraph:
        """This graph and one more practice, or with another last one.

        Raises:
            ValueError: when it holds a value that JSON cannot hold.
        """
        kept = self.practices[:-1] if instead_of_last else self.practices
        return replace(self, practices=(*kept, _as_stored(practice)))

    def without_last_practice(self) -> SkillGraph:
        """This graph as it was before its last practice; skills that were accepted in it stay."""
        return replace(self, practices=self.practices[:-1])

    def truncated(self, k: int) -> SkillGraph:
        """The graph as it was when it last had ``k`` nodes, with the failures and practices up to then.

        Raises:
            ValueError: when it has fewer nodes.
        """
        if not 0 <= k <= len(self.nodes):
            raise ValueError(f"cannot keep {k} of {len(self.nodes)} nodes")
        kept = tuple(f for f in self.failures if f.index is None or f.index <= k)
        practices = tuple(practice for practice in self.practices if practice.nodes <= k)
        return replace(self, nodes=self.nodes[:k], failures=kept, practices=practices)

    def to_json(self) -> dict[str, Any]:
        """JSON data that :meth:`from_json` reads back to an equal graph."""
        data: dict[str, Any] = encode(self)
        # What is empty is left out, so that a flowrl that does not know of it can read the graph.
        if not self.practices:
            del data["practices"]
        for practice in data.get("practices", ()):
            if not practice["spared"]:
                del practice["spared"]
        return {"schema_version": data.pop("schema_version"), **data}

    @staticmethod
    def from_json(data: Any) -> SkillGraph:
        """Reads what :meth:`to_json` gave.

        Raises:
            GraphError: naming the field.
            UserError: when it was written by a newer or older flowrl; says which schema this one reads.
        """
        if not isinstance(data, dict):
            raise GraphError("it holds no object, so it is no skill graph")
        version = data.get("schema_version")
        if isinstance(version, bool) or not isinstance(version, int):
            raise GraphError(f"schema_version is {version!r}, not a whole number, so it is no skill graph")
        if version != SCHEMA_VERSION:
            age, fix = (
                ("newer", "Update flowrl") if version > SCHEMA_VERSION else ("older", "Use an older flowrl")
            )
            raise UserError(
                f"it has the {age} schema version {version}; this flowrl reads version {SCHEMA_VERSION}. "
                f"{fix}, or choose another --graph-path."
            )
        graph: SkillGraph = decode(SkillGraph, data, "graph")
        return graph

    def summary(self) -> dict[str, Any]:
        """Exactly what ``flowrl status --json`` prints."""
        return {
            "env_name": self.env_name,
            "schema_version": self.schema_version,
            "nodes": [node.summary() for node in self.nodes],
            "edges": encode(self.edges),
            "failures": [failure.summary() for failure in self.failures],
            "practices": [practice.summary() for practice in self.practices],
            "env_steps": self.env_steps,
            "wall_s": self.wall_s,
        }


def _as_stored(record: Record) -> Record:
    """The record as it will be read back from disk; refused before anything is written when it cannot be."""
    try:
        stored: Record = decode(type(record), encode(record), type(record).__name__)
    except (GraphError, TypeError) as error:
        raise ValueError(f"{record.name!r} cannot be stored: {error}") from error
    return stored
