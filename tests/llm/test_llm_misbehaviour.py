"""A real HTTP server misbehaves; the real openai client talks to it. Each case ends as it should, in time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from loopback import KEY, WORLD, Act, LoopbackServer, echoes_the_key, resets, says, sends, stalls, status

from flowrl.errors import FatalProviderError, FlowrlError
from flowrl.llm.client import RetryPolicy
from flowrl.llm.config import LlmConfig
from flowrl.llm.context import ProposalContext
from flowrl.llm.errors import RetriesExhausted
from flowrl.llm.interface import Message, Reply, Task
from flowrl.llm.proposer import ProposalUnusable, open_proposer
from flowrl.llm.session import ModelSession

CONFIG = LlmConfig(llm_name="gpt-4o-mini", timeout=5.0)
TASK = Task("proposer", "skill", WORLD)


@dataclass
class Outcome:
    """What came of one call."""

    reply: Reply | None = None
    error: FlowrlError | None = None
    seconds: float = 0.0
    requests: int = 0
    announced: list[str] = field(default_factory=list)


def call(policy: RetryPolicy, config: LlmConfig = CONFIG, graph_path: Path | None = None) -> Outcome:
    """One call of the proposer's model."""
    outcome = Outcome()

    async def run() -> None:
        session = ModelSession(config, WORLD, graph_path, outcome.announced.append, policy)
        try:
            answer = await session.complete(TASK, [Message("user", "hello")])
            outcome.reply = answer.reply
        except FlowrlError as error:
            outcome.error = error
        finally:
            outcome.requests = session.ledger.total().requests
            await session.close()

    started = time.monotonic()
    asyncio.run(run())
    outcome.seconds = time.monotonic() - started
    return outcome


HTML = sends(b"<!doctype html><html><body>Bad gateway</body></html>", "text/html")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        pytest.param(status(500), "500", id="500"),
        pytest.param(status(503), "503", id="503"),
        pytest.param(status(429), "429", id="429"),
        pytest.param(resets, "connection failed", id="reset"),
        pytest.param(says(""), "empty", id="empty"),
        pytest.param(says(None), "empty", id="null"),
        pytest.param(sends(b'{"id": "chatcmpl-1", "choices": [{'), "JSON", id="invalid json"),
        pytest.param(sends(b'{"object": "chat.completion"}'), "no choice", id="no choices"),
        pytest.param(sends(b"[]"), "no choice", id="a list"),
        pytest.param(HTML, "web page", id="html"),
    ],
)
def test_what_may_pass_is_retried_and_then_exhausted(
    server: LoopbackServer, fast: RetryPolicy, act: Act, words: str
) -> None:
    server.misbehave(act, act)
    served = call(fast)
    assert served.reply is not None
    assert served.reply.text == "ready"
    assert served.requests == 3

    server.misbehave(act, act, act)
    exhausted = call(fast)
    assert isinstance(exhausted.error, RetriesExhausted)
    assert words in str(exhausted.error)
    assert "gave up after 3 attempts" in str(exhausted.error)
    assert exhausted.seconds < 10


@pytest.mark.parametrize(
    ("act", "words"),
    [
        pytest.param(status(401, "bad key", "invalid_api_key"), "Check OPENAI_API_KEY", id="401"),
        pytest.param(status(403), "refused the key", id="403"),
        pytest.param(
            status(404, "no such model", "model_not_found"), "Did you mean 'gpt-4o-mini'?", id="404"
        ),
        pytest.param(
            status(400, "too long", "context_length_exceeded"), "longer than the model's context", id="long"
        ),
        pytest.param(status(400, "flagged", "content_policy_violation"), "refused the content", id="flagged"),
        pytest.param(status(429, "pay", "insufficient_quota"), "no quota left", id="quota"),
        pytest.param(says(None, message={"refusal": "I can't help."}), "refused to answer", id="refusal"),
        pytest.param(says("", finish_reason="content_filter"), "refused to answer", id="filter"),
    ],
)
def test_what_cannot_pass_is_fatal_at_once(
    server: LoopbackServer, fast: RetryPolicy, act: Act, words: str
) -> None:
    server.misbehave(act)
    outcome = call(fast, replace(CONFIG, llm_name="gpt-4o-mimi"))
    assert isinstance(outcome.error, FatalProviderError)
    assert words in str(outcome.error)
    assert "\n" not in str(outcome.error)
    assert outcome.requests == 1


def test_a_stalled_reply_ends_within_the_timeout(server: LoopbackServer, fast: RetryPolicy) -> None:
    server.misbehave(stalls, stalls)
    outcome = call(replace(fast, attempts=2), replace(CONFIG, timeout=0.4))
    assert isinstance(outcome.error, RetriesExhausted)
    assert "no answer within 0.4 s" in str(outcome.error)
    assert outcome.seconds < 5


def test_retry_after_is_honoured(server: LoopbackServer, fast: RetryPolicy) -> None:
    server.misbehave(status(429, retry_after="1"))
    outcome = call(fast)
    assert outcome.reply is not None
    first, second = server.requests
    assert second.time - first.time >= 1.0


def test_retry_after_beyond_patience_ends_at_once(server: LoopbackServer, fast: RetryPolicy) -> None:
    server.misbehave(status(429, retry_after="3600"))
    outcome = call(fast)
    assert isinstance(outcome.error, RetriesExhausted)
    assert "asks to wait 3600 s" in str(outcome.error)
    assert outcome.requests == 1
    assert outcome.seconds < 3


def test_truncated_output_is_asked_for_again_and_bounded(
    server: LoopbackServer, fast: RetryPolicy, context: ProposalContext
) -> None:
    cut = says('```json\n{"name": "make_', finish_reason="length")
    with open_proposer(CONFIG, WORLD, policy=fast) as proposer:
        server.misbehave(cut)
        assert '"name": "place_table"' in proposer.propose(context).text
        assert "cut off after 20 tokens" in server.requests[1].body["messages"][-1]["content"]

        server.misbehave(cut, cut, cut)
        before = len(server.requests)
        with pytest.raises(ProposalUnusable, match="cut off"):
            proposer.propose(context)
        assert len(server.requests) - before == 3


def test_the_key_is_nowhere_on_disk_or_screen(
    server: LoopbackServer, fast: RetryPolicy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for act in (
        echoes_the_key,
        status(400, f"header Bearer {KEY} is odd"),
        says(f"your key is {KEY}"),
        resets,
    ):
        server.misbehave(act)
        outcome = call(fast, graph_path=tmp_path)
        assert KEY not in str(outcome.error)
        # What was said goes on to the graph, the journal and the screen.
        assert outcome.reply is None or outcome.reply.text in ("your key is [key]", "ready")
        error: BaseException | None = outcome.error
        while error is not None:
            assert KEY not in repr(error)
            error = error.__cause__
    assert all(request.authorization == f"Bearer {KEY}" for request in server.requests)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in written
    assert "[key]" in written
    out, err = capfd.readouterr()
    assert KEY not in out + err


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch, fast: RetryPolicy) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackServer() as gone:
        monkeypatch.setenv("OPENAI_BASE_URL", gone.url)
    outcome = call(fast)
    assert isinstance(outcome.error, RetriesExhausted)
    assert outcome.seconds < 5


def test_every_call_is_on_disk_with_what_went_wrong(
    server: LoopbackServer, fast: RetryPolicy, tmp_path: Path
) -> None:
    server.misbehave(status(500, "boom"))
    call(fast, graph_path=tmp_path)
    server.misbehave(status(401))
    call(fast, graph_path=tmp_path)
    good, bad = (json.loads(path.read_text()) for path in sorted((tmp_path / "llm").glob("*.json")))
    assert good["reply"]["text"] == "ready"
    assert good["messages"] == [{"role": "user", "content": "hello"}]
    assert good["requests"] == 2
    assert "boom" in good["failed_attempts"][0]["error"]
    assert good["usage"] == {"prompt_tokens": 100, "completion_tokens": 20}
    assert good["usd"] == pytest.approx((100 * 0.15 + 20 * 0.6) / 1e6)
    assert bad["reply"] is None
    assert bad["error"]["kind"] == "fatal"
    assert bad["usd"] is None


def test_the_server_runs_as_a_script(
    playbook_folder: Path, fast: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(__file__).with_name("loopback.py")
    with subprocess.Popen(
        [sys.executable, str(script), "--port", "0", "--replies", str(playbook_folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            monkeypatch.setenv("OPENAI_BASE_URL", process.stdout.readline().strip())
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            outcome = call(fast)
        finally:
            process.terminate()
    assert outcome.reply is not None
    assert outcome.reply.text == "ready"
