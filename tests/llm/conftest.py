"""What the tests of the language models share. ``tests/conftest.py`` forbids the network beyond here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from loopback import KEY, WORLD, LoopbackServer

from flowrl.llm.client import RetryPolicy
from flowrl.llm.context import AcceptedSkill, Failure, ProposalContext


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests reaches a provider."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "OPENROUTER_", "VLLM_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def playbook_folder() -> Path:
    """The shipped proposals for Craftax-Classic."""
    return Path(str(resources.files("flowrl.llm") / "playbook" / WORLD))


@pytest.fixture
def server(playbook_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """A server that answers from the playbook; ``OPENAI_BASE_URL`` and a key lead to it."""
    with LoopbackServer(playbook_folder) as loopback:
        monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield loopback


@pytest.fixture
def fast() -> RetryPolicy:
    """Retries without long pauses."""
    return RetryPolicy(attempts=3, first_pause_s=0.01, longest_pause_s=2.0)


@pytest.fixture
def context() -> ProposalContext:
    """A context with something of everything."""
    return ProposalContext(
        env_name=WORLD,
        world="Chop trees for wood.\n\nA table costs wood.",
        field_table="| field | type |\n|---|---|\n| `inventory.wood` | int32 |",
        fact_table="| fact | kind |\n|---|---|\n| `inventory:wood` | count |",
        enum_table="BlockType.TREE = 5",
        accepted=(
            AcceptedSkill(
                "collect_wood",
                "Chop a tree.",
                {"requires": {}, "gains": {"inventory:wood": "1*n"}},
                0.97,
                0.91,
            ),
        ),
        frontier={"inventory:wood": "up to 9", "floor": 0},
        failures=(Failure("collect_diamond", "plan", "it needs an iron pickaxe, which nothing reaches."),),
        in_training=("collect_sapling",),
        index=1,
        seed=7,
    )
