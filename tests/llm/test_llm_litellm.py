"""litellm's real client against the loopback server."""

from __future__ import annotations

from pathlib import Path

import pytest
from loopback import KEY, WORLD, LoopbackServer, echoes_the_key, status

from flowrl.errors import FatalProviderError
from flowrl.llm.client import RetryPolicy
from flowrl.llm.config import LlmConfig
from flowrl.llm.context import ProposalContext
from flowrl.llm.errors import RetriesExhausted
from flowrl.llm.proposer import open_proposer
from flowrl.llm.resolve import resolve

pytest.importorskip("litellm", reason="the extra litellm is not installed")

# Of litellm's own types.
pytestmark = pytest.mark.filterwarnings("ignore:Item 'summary' on TypedDict class:UserWarning")

NAME = "litellm_openai/gpt-4-turbo"


@pytest.fixture
def config(server: LoopbackServer, tmp_path: Path) -> LlmConfig:
    """litellm's OpenAI provider, led to the loopback server."""
    models = tmp_path / "models.yaml"
    models.write_text(f"models:\n  {NAME}: {{base_url: '{server.url}'}}\n")
    return LlmConfig(llm_name=NAME, models_file=str(models), temperature=0.2)


def test_it_proposes(server: LoopbackServer, config: LlmConfig, context: ProposalContext) -> None:
    with open_proposer(config, WORLD) as proposer:
        reply = proposer.propose(context)
        total = proposer.ledger.total()
    assert reply.roles == {"proposer": NAME, "coder": NAME}
    assert "def reward" in reply.text
    assert {request.model for request in server.requests} == {"gpt-4-turbo"}
    assert server.requests[0].body["temperature"] == 0.2
    assert {request.authorization for request in server.requests} == {f"Bearer {KEY}"}
    # The price comes from litellm's own table.
    assert total.usd == pytest.approx(3 * (100 * 10 + 20 * 30) / 1e6)


def test_its_failures_are_of_the_same_kinds(
    server: LoopbackServer, config: LlmConfig, context: ProposalContext, fast: RetryPolicy, tmp_path: Path
) -> None:
    with open_proposer(config, WORLD, tmp_path, policy=fast) as proposer:
        server.misbehave(status(500), status(429, retry_after="1"))
        assert proposer.propose(context).calls[0].requests == 3
        assert server.requests[2].time - server.requests[1].time >= 1.0
        server.misbehave(*(status(503) for _ in range(3)))
        with pytest.raises(RetriesExhausted, match="after 3 attempts"):
            proposer.propose(context)
        server.misbehave(echoes_the_key)
        with pytest.raises(FatalProviderError, match="Check OPENAI_API_KEY") as refused:
            proposer.propose(context)
        assert refused.value.__cause__ is None
        server.misbehave(status(404, "no such model", "model_not_found"))
        with pytest.raises(FatalProviderError, match="does not know this model"):
            proposer.propose(context)
    assert KEY not in "".join(path.read_text() for path in (tmp_path / "llm").iterdir())


def test_an_unknown_price_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    assert resolve("litellm_groq/no-such-model", LlmConfig()).price is None
