"""From a reply to a :class:`CheckedSkill`: parse, static check, trace, probe. The only way to one."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowrl.codegen.artifact import SkillProgram, load, seal
from flowrl.codegen.parse import parse_reply
from flowrl.codegen.probes import ProbeReport, probe
from flowrl.codegen.static import check_source
from flowrl.codegen.tracer import Tracer
from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import GraphError, ProposalRefused
from flowrl.skills.proposal import SkillProposal
from flowrl.worlds.base import World
from flowrl.worlds.snapshot import SnapshotSpec

STAGES = ("parse", "static", "trace", "probe")
"""Where :func:`check_reply` can refuse, in order."""

_CHECKED = object()


@dataclass(frozen=True)
class CheckedSkill:
    """A proposal whose code passed every check. Only this module builds one.

    Attributes:
        proposal: what the model wrote, as data.
        program: its code as arrays in, arrays out; ``program.artifact`` is what goes to disk.
        report: what the probes saw, or None for a skill that was read back from disk.
    """

    proposal: SkillProposal
    program: SkillProgram
    report: ProbeReport | None
    _token: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._token is not _CHECKED:
            raise TypeError("a CheckedSkill comes from check_reply, check_proposal or restore only")

    @property
    def artifact(self) -> bytes:
        """The bytes to store; :func:`restore` reads them back."""
        return self.program.artifact


def check_reply(text: str, world: World, tracer: Tracer, bank: ProbeBank) -> CheckedSkill:
    """Everything between a model's reply and a skill that can be trained.

    Args:
        text: the reply: prose, one ```json and one ```python block.
        world: whose facts, snapshot fields and enums the reply may use.
        tracer: where the code is traced.
        bank: real play of ``world``.

    Raises:
        ProposalRefused: with one of :data:`STAGES`, the reason and the fix, fit to go back to the model.
        FlowrlError: when the tracing process cannot run.
    """
    return check_proposal(parse_reply(text, world.vocabulary), world, tracer, bank)


def check_proposal(proposal: SkillProposal, world: World, tracer: Tracer, bank: ProbeBank) -> CheckedSkill:
    """The stages after ``parse``. Arguments and errors as for :func:`check_reply`."""
    spec = world.snapshot_spec
    check_source(proposal.source, spec, world.enums)
    program = seal(tracer.trace(proposal.source, spec, world.enums), len(spec))
    report = probe(program, proposal.operator, spec, world.vocabulary, bank)
    return CheckedSkill(proposal, program, report, _CHECKED)


def restore(proposal: SkillProposal, artifact: bytes, spec: SnapshotSpec, origin: str) -> CheckedSkill:
    """An accepted skill read back from disk: the artifact is read and checked again, not traced again.

    Args:
        proposal: the stored proposal.
        artifact: the stored bytes.
        spec: the snapshot fields of the world that it was traced for.
        origin: the artifact's file, for the error.

    Raises:
        GraphError: when the bytes are damaged, forged, or made for another world.
    """
    try:
        program = load(artifact, len(spec))
    except ProposalRefused as refusal:
        raise GraphError(
            f"{origin}: {refusal.reason} Restore the file, or rewind the graph to before this skill with "
            "--current_i."
        ) from None
    return CheckedSkill(proposal, program, None, _CHECKED)
