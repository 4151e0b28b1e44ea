"""``models check``: one small request, and what it took; ``models list``: what can be named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loopback import KEY, LoopbackServer, echoes_the_key, says, stalls, status

from flowrl import cli


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """``(exit code, stdout, stderr)``; the key is in neither."""
    code = cli.main(["models", *args])
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err
    return code, captured.out, captured.err


def test_it_says_how_long_it_took_and_what_it_cost(
    server: LoopbackServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "check", "gpt-4o-mini", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert 0 < answer.pop("latency_s") < 30
    # (100 * 0.15 + 20 * 0.6) / 1e6
    assert answer.pop("usd") == pytest.approx(27e-6)
    assert answer == {
        "name": "gpt-4o-mini",
        "answered": True,
        "provider": "openai",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "reply": "ready",
    }
    code, out, _ = run(capsys, "check", "gpt-4o-mini")
    assert code == 0
    assert "100 + 20 tokens, US$ 0.000027" in out
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("name", "limit"), [("gpt-4o-mini", "max_tokens"), ("gpt-5", "max_completion_tokens")]
)
def test_the_one_answer_is_short(
    server: LoopbackServer, capsys: pytest.CaptureFixture[str], name: str, limit: str
) -> None:
    # A reasoning model may think for all of it: that is an answer too.
    server.by_model["gpt-5"] = says("", finish_reason="length")
    assert run(capsys, "check", name)[0] == 0
    [request] = server.requests
    assert request.body[limit] == 64


def test_what_is_unknown_is_said_to_be(server: LoopbackServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "brand-new")
    assert (code, "cost unknown" in out) == (0, True)
    assert json.loads(run(capsys, "check", "brand-new", "--json")[1])["usd"] is None
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (status(404, "no such model", "model_not_found"), "Did you mean 'gpt-4o-mini'?"),
        (echoes_the_key, "refused the key (401). Check OPENAI_API_KEY."),
        (status(500), "gave up after 1 attempt"),
        (stalls, "no answer within 0.5 s"),
    ],
)
def test_no_answer_is_one_line_and_exit_1(
    server: LoopbackServer, capsys: pytest.CaptureFixture[str], act: object, words: str
) -> None:
    server.by_model["gpt-4o-mimi"] = act  # type: ignore[assignment]
    code, out, err = run(capsys, "check", "gpt-4o-mimi", "--timeout", "0.5")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    code, out, _ = run(capsys, "check", "gpt-4o-mimi", "--timeout", "0.5", "--json")
    assert code == 1
    assert json.loads(out)["answered"] is False
    assert len(server.requests) == 2


def test_a_missing_key_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "gpt-5")
    assert code == 1
    assert err.startswith("error: OPENAI_API_KEY")
    assert "--llm_name playbook needs none" in err
    assert err.count("\n") == 1


def test_what_answers_from_files_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", "playbook")[1] == "playbook answers from files: there is nothing to ask.\n"
    code, _, err = run(capsys, "check", "replay_nowhere")
    assert (code, "no recorded replies" in err) == (1, True)


def test_bad_input_is_exit_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wrong = tmp_path / "mine.yaml"
    wrong.write_text("models: {m: {timeout: soon}}")
    for args in (["gpt-5", "--timeout", "0"], ["gpt-5", "--models_file", str(wrong)]):
        code, _, err = run(capsys, "check", *args)
        assert (code, err.count("\n")) == (2, 1)


def test_the_list_shows_every_name_whole_and_which_key_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = {row["name"]: row for row in json.loads(run(capsys, "list", "--json")[1])}
    assert rows["gpt-5"]["key_is_set"] is True
    assert rows["openrouter_openai/gpt-4o-mini"]["key_is_set"] is False
    assert rows["openrouter_openai/gpt-4o-mini"]["usd_per_million_tokens"] is None
    assert rows["playbook"]["key_variable"] is None
    table = run(capsys, "list")[1]
    assert "\N{HORIZONTAL ELLIPSIS}" not in table
    assert "OPENAI_API_KEY is set" in table
