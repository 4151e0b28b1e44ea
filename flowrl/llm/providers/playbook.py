"""``--llm_name playbook``: answers with the proposals that ship with flowrl. Needs no key and no network.

``--llm_name playbook_<folder>`` takes the user's own files instead. A proposal is one file
``flowrl/llm/playbook/<env_name>/NN_name.md`` in the very format that a model must use; files serve in the
order of their names. It goes through the same prompts, parser and checks as any model: every node of the
prompt graph is answered with its part of the file. What it leads to is never a model's result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from flowrl.errors import FatalProviderError, nearest
from flowrl.llm.errors import NothingToPropose
from flowrl.llm.interface import CompletionSettings, Message, Reply, Task, Usage
from flowrl.llm.reply_text import code_part, find_json, find_python, operator_part, skill_part, whole_reply


@dataclass(frozen=True)
class ShippedProposal:
    """One file of a playbook."""

    file_name: str
    operator: dict[str, Any]
    source: str

    @property
    def name(self) -> str:
        """The skill's name."""
        return str(self.operator["name"])

    @property
    def needs(self) -> frozenset[str]:
        """The facts that must be reachable before this skill can be learned."""
        return frozenset(self.operator.get("requires", {})) | frozenset(self.operator.get("consumes", {}))


def shipped_worlds() -> list[str]:
    """Names of the worlds that have a playbook."""
    root = _root()
    return sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []


def load_playbook(env_name: str, folder: Path | None = None) -> list[ShippedProposal]:
    """The proposals for one world, in order. ``folder`` replaces the shipped one.

    Raises:
        FatalProviderError: there is none for that world or in that folder, a file is not in the reply
            format, or two propose the same name.
    """
    root: Traversable = folder if folder is not None else _root() / env_name
    files = (
        sorted((f for f in root.iterdir() if f.name.endswith(".md")), key=lambda f: f.name)
        if root.is_dir()
        else []
    )
    if not files and folder is not None:
        found = "has none" if folder.is_dir() else "is no folder"
        raise FatalProviderError(
            f"A playbook is a folder of proposals, one NN_name.md each, and {str(folder)!r} {found}. "
            "The shipped one: --llm_name playbook."
        )
    if not files:
        worlds = shipped_worlds()
        hint = nearest(env_name, worlds) if worlds else ""
        raise FatalProviderError(f"There is no playbook for {env_name!r}. {hint}".rstrip())
    proposals = [_parse(file.name, file.read_text(encoding="utf-8")) for file in files]
    by_name: dict[str, str] = {}
    for proposal in proposals:
        first = by_name.setdefault(proposal.name, proposal.file_name)
        if first != proposal.file_name:
            raise FatalProviderError(
                f"The playbook's {first} and {proposal.file_name} both propose {proposal.name!r}. Rename one."
            )
    return proposals


def _root() -> Traversable:
    return resources.files("flowrl.llm") / "playbook"


def _parse(file_name: str, text: str) -> ShippedProposal:
    try:
        operator, source = find_json(text), find_python(text)
        if not isinstance(operator.get("name"), str):
            raise ValueError("The json block has no name.")
    except ValueError as error:
        raise FatalProviderError(f"The playbook's {file_name} is not a proposal: {error}") from None
    return ShippedProposal(file_name, operator, source)


class PlaybookModel:
    """Serves a world's shipped proposals, or those in ``folder``, one node's part at a time."""

    def __init__(self, env_name: str, folder: Path | None = None) -> None:
        self.name = "playbook" if folder is None else f"playbook_{folder}"
        self._env_name = env_name
        self._proposals = load_playbook(env_name, folder)

    async def start(self) -> None:
        """Nothing to start."""

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:  # noqa: ARG002
        """The part of a shipped proposal that ``settings.task`` asks for."""
        task = settings.task
        if task is None:
            raise FatalProviderError("The playbook answers only flowrl's own prompts, not free text.")
        if task.node == "skill":
            text = skill_part(self._next(task).operator)
        elif task.node == "trajectory":
            raise FatalProviderError(
                "The playbook reads no trajectories. Name a model: --llm_role analyst=NAME."
            )
        else:
            proposal = self._by_name(task.skill)
            text = {
                "operator": operator_part(proposal.operator),
                "code": code_part(proposal.source),
                "repair": whole_reply(proposal.operator, proposal.source),
            }[task.node]
        return Reply(text, Usage(0, 0), self.name, "stop", 0.0)

    async def close(self) -> None:
        """Nothing to end."""

    def _next(self, task: Task) -> ShippedProposal:
        """The first proposal that is not taken and can be learned from the frontier.

        Where none can and nothing is in training, the first that is not taken: the plan stage then says
        which fact it misses, which helps more than silence.
        """
        left = [proposal for proposal in self._proposals if proposal.name not in task.taken]
        if not left:
            raise NothingToPropose(
                f"The playbook for {self._env_name} has nothing left: its {len(self._proposals)} skills are "
                "all learned, given up or in training. Go on with a model: --llm_name NAME.",
                waiting=bool(task.in_training),
            )
        feasible = [proposal for proposal in left if not task.reachable or proposal.needs <= task.reachable]
        if not feasible and task.in_training:
            raise NothingToPropose(
                f"What the playbook has left waits for skills in training: {', '.join(task.in_training)}.",
                waiting=True,
            )
        return (feasible or left)[0]

    def _by_name(self, name: str) -> ShippedProposal:
        for proposal in self._proposals:
            if proposal.name == name:
                return proposal
        raise FatalProviderError(
            f"The playbook has no skill {name!r}. {nearest(name, [p.name for p in self._proposals])}"
        )
