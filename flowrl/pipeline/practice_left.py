"""What is left of a practice that was cut off: the same command goes on with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from flowrl.config import PPOConfig
from flowrl.pipeline.events import PRACTICE, Practised, RunFinished, RunStarted
from flowrl.store.journal import read_journal
from flowrl.store.layout import GraphLayout
from flowrl.store.manifest import read_graph


@dataclass(frozen=True)
class PracticeLeft:
    """What is still to be done of a practice.

    Attributes:
        before: env steps of its budget that were trained already.
        train: False where all of them were, and only what was refused is still to be validated.
    """

    before: int = 0
    train: bool = True


ALL_OF_IT = PracticeLeft()
"""A practice that begins."""


def what_is_left(graph_path: Path, ppo: PPOConfig, seed: int) -> PracticeLeft:
    """Of a practice with these settings: the rest, if the last one had them too and was cut off; else all.

    Args:
        ppo: as the user gave it; sizes that are None stand for what they were then.

    Raises:
        GraphError: there is no graph, or it is damaged.
    """
    graph = read_graph(graph_path)
    if not graph.practices:
        return ALL_OF_IT
    last = graph.practices[-1]
    had = {**last.provenance.get("ppo", {}), "seed": last.provenance.get("seed")}
    asked = {**dataclasses.asdict(ppo), "seed": seed}
    if any(value not in (None, had.get(name)) for name, value in asked.items()):
        return ALL_OF_IT
    before = last.provenance.get("before", 0) + last.env_steps
    if before < ppo.total_timesteps:
        # Who learned another skill since then wants to practise it from the start.
        return PracticeLeft(before) if last.nodes == len(graph.nodes) else ALL_OF_IT
    return PracticeLeft(before, train=False) if cut_off_in(graph_path) == "validate" else ALL_OF_IT


def cut_off_in(graph_path: Path) -> str | None:
    """The stage in which the last practice was cut off, ``train`` or ``validate``; None where it was not.

    A run that was killed says nothing of its end in the journal, an interrupted one gives the reason.
    """
    journal = GraphLayout(graph_path).journal
    stage, practising = None, False
    for event in read_journal(journal) if journal.exists() else ():
        if event["kind"] == RunStarted.__name__:
            practising = event["llm_name"] == PRACTICE
            stage = "train" if practising else stage
        elif practising and event["kind"] == Practised.__name__:
            stage = "validate"
        elif practising and event["kind"] == RunFinished.__name__ and not event["reason"]:
            stage = None
    return stage
