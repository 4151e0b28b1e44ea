"""From names to providers, before any network: registry, keys, roles, the user's own module."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from loopback import KEY, WORLD, LoopbackServer

from flowrl.errors import FatalProviderError, GraphError, UserError
from flowrl.llm import environment
from flowrl.llm.config import LlmConfig
from flowrl.llm.interface import CompletionSettings, Message
from flowrl.llm.providers.openai_api import is_reasoning
from flowrl.llm.registry import ModelEntry, load_registry
from flowrl.llm.resolve import model_id, needed_key, parse_roles, provider_of, resolve
from flowrl.llm.session import ModelSession

NAMED_IN_DOCS = ("gpt-5", "gpt-4o", "gpt-4o-mini", "gpt-4-turbo", "o1-preview", "o1-mini")


@pytest.mark.parametrize(
    ("name", "provider", "model", "key"),
    [
        ("playbook", "playbook", "playbook", None),
        ("playbook_my/proposals", "playbook", "my/proposals", None),
        ("gpt-5", "openai", "gpt-5", "OPENAI_API_KEY"),
        ("some-new-model", "openai", "some-new-model", "OPENAI_API_KEY"),
        ("litellm_groq/llama3-8b-8192", "litellm", "groq/llama3-8b-8192", "GROQ_API_KEY"),
        ("litellm_gpt-4-turbo", "litellm", "gpt-4-turbo", "OPENAI_API_KEY"),
        ("litellm_together_ai/x", "litellm", "together_ai/x", "TOGETHERAI_API_KEY"),
        ("litellm_ollama/llama3", "litellm", "ollama/llama3", None),
        ("openrouter_meta/llama-3", "openrouter", "meta/llama-3", "OPENROUTER_API_KEY"),
        ("vllm_Qwen2-7B-Instruct", "vllm", "Qwen2-7B-Instruct", None),
        ("hf_Qwen/Qwen2-0.5B", "hf", "Qwen/Qwen2-0.5B", None),
        ("replay_exp/run", "replay", "exp/run", None),
    ],
)
def test_names_choose_the_provider(name: str, provider: str, model: str, key: str | None) -> None:
    entry = load_registry().entry(name)
    assert (provider_of(name, entry), model_id(name, entry), needed_key(name, entry)) == (
        provider,
        model,
        key,
    )


@pytest.mark.parametrize("name", [*NAMED_IN_DOCS, "openrouter_x/y", "litellm_groq/llama3-8b-8192"])
def test_a_missing_key_is_one_line_that_says_which_and_what_needs_none(name: str) -> None:
    variable = needed_key(name, load_registry().entry(name))
    assert variable is not None
    with pytest.raises(FatalProviderError) as missing:
        ModelSession(LlmConfig(llm_name=name), WORLD)
    message = str(missing.value)
    assert message.startswith(variable)
    assert "--llm_name playbook needs none" in message
    assert "\n" not in message


def test_an_empty_variable_counts_as_unset_and_aliases_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHERAI_API_KEY", "  ")
    with pytest.raises(FatalProviderError, match=r"^TOGETHERAI_API_KEY \(or TOGETHER_API_KEY or"):
        resolve("litellm_together_ai/x", LlmConfig())
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    # litellm is an extra: what is shown here is which key serves, not that it is installed.
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if name == "litellm" else find_spec(name)
    )
    assert resolve("litellm_together_ai/x", LlmConfig()).name == "litellm_together_ai/x"


def test_a_key_that_cannot_be_one_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel")
    with pytest.raises(FatalProviderError, match="characters that no key has") as refused:
        resolve("gpt-5", LlmConfig())
    assert "schl" not in str(refused.value)


def test_a_slip_of_the_finger_is_offered_the_nearest_name() -> None:
    with pytest.raises(FatalProviderError, match="Did you mean 'playbook'"):
        resolve("playbok", LlmConfig())


def test_dotenv_is_read_once_and_fills_only_what_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\nFLOWRL_A=file\nFLOWRL_B=file\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setattr(environment, "_loaded", [])
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("FLOWRL_A", "mine")
    monkeypatch.setenv("FLOWRL_B", " ")
    assert environment.load_environment() == tmp_path / ".env"
    assert (os.environ["FLOWRL_A"], os.environ["FLOWRL_B"]) == ("mine", "file")
    assert environment.read_key("OPENAI_API_KEY") == "from-file"
    (tmp_path / ".env").unlink()
    assert environment.load_environment() == tmp_path / ".env"


def test_children_get_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    child = environment.child_environment()
    assert KEY not in child.values()
    assert child["CUDA_VISIBLE_DEVICES"] == "0"


def test_roles() -> None:
    assert parse_roles(("coder=vllm_Qwen2-7B-Instruct", "analyst=hf_a=b")) == {
        "coder": "vllm_Qwen2-7B-Instruct",
        "analyst": "hf_a=b",
    }
    for wrong, words in [
        (("coder",), "ROLE=NAME"),
        (("coder=",), "ROLE=NAME"),
        (("codr=x",), "Did you mean 'coder'"),
        (("coder=a", "coder=b"), "twice"),
    ]:
        with pytest.raises(UserError, match=words):
            parse_roles(wrong)


@pytest.mark.parametrize(
    ("model", "reasoning"),
    [("gpt-5", True), ("gpt-5-mini", True), ("gpt-5-chat-latest", False), ("o1-preview", True), ("o3", True),
     ("openai/o4-mini", True), ("gpt-4o", False), ("gpt-4-turbo", False), ("openchat", False)],
)  # fmt: skip
def test_families(model: str, reasoning: bool) -> None:
    assert is_reasoning(model, ModelEntry()) is reasoning
    assert is_reasoning(model, ModelEntry(reasoning=not reasoning)) is not reasoning


@pytest.mark.parametrize("name", ["gpt-5", "gpt-4o-mini", "o1-mini"])
def test_each_family_gets_the_parameters_that_it_takes(server: LoopbackServer, name: str) -> None:
    config = LlmConfig(llm_name=name, temperature=0.5, max_new_tokens=77)
    resolved = resolve(name, config)
    messages = [Message("system", "Be brief."), Message("user", "hello")]

    async def ask() -> None:
        await resolved.client.complete(messages, CompletionSettings(), [])
        await resolved.client.close()

    asyncio.run(ask())
    body = server.requests[0].body
    if name == "gpt-4o-mini":
        assert (body["temperature"], body["max_tokens"]) == (0.5, 77)
        assert "max_completion_tokens" not in body
    else:
        assert body["max_completion_tokens"] == 77
        assert not {"temperature", "max_tokens"} & set(body)
    if name == "o1-mini":
        assert body["messages"] == [{"role": "user", "content": "Be brief.\n\nhello"}]
    else:
        assert [turn["role"] for turn in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize("name", NAMED_IN_DOCS)
def test_documented_models_have_prices(name: str) -> None:
    assert load_registry().entry(name).price is not None


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("models: {m: {price: {prompt: -1, completion: 1}}}", "entry 'm', field 'price.prompt'"),
        ("models: {m: {timeout: soon}}", "entry 'm', field 'timeout'"),
        ("models: {m: {base_url: localhost}}", "field 'base_url'"),
        ("models: {m: {max_new_token: 5}}", "Did you mean 'max_new_tokens'"),
        ("models: {m: {provider: opnai}}", "field 'provider'"),
        ("models: {vllm_m: {engine: {tensor_parallel_size: 2}}}", "engine.model_path"),
        ("models: {vllm_m: {engine: {model_path: rel/m}}}", "not an absolute path"),
        ("models: {vllm_m: {engine: {model_path: /m, tensor_paralel_size: 2}}}", "'tensor_parallel_size'"),
        ("models: [a]", "no 'models:' section"),
        ("modles: {}", "no 'models:' section"),
        ("models: {}\nkeys: {}", "unknown section 'keys'"),
        ("models: {a: [", "not valid YAML"),
    ],
)
def test_registry_errors_name_file_entry_and_field(tmp_path: Path, yaml: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml)
    with pytest.raises(UserError) as wrong:
        load_registry(str(path))
    assert words in str(wrong.value)
    assert str(path) in str(wrong.value)


def test_a_key_pasted_into_the_registry_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"models: {{m: {{key_env: {KEY}}}}}")
    with pytest.raises(UserError, match="field 'key_env'") as wrong:
        load_registry(str(path))
    assert KEY not in str(wrong.value)


def test_the_users_entries_come_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models:\n  my-model: {base_url: 'http://127.0.0.1:9/v1', key_env: MY_KEY}\n  gpt-5: {timeout: 7}\n"
    )
    monkeypatch.setenv("FLOWRL_MODELS", str(path))
    monkeypatch.setenv("MY_KEY", KEY)
    registry = load_registry()
    assert registry.entry("gpt-5").timeout == 7
    assert registry.entry("gpt-4o").price is not None
    assert resolve("my-model", LlmConfig()).client.limits.timeout_s == 300
    assert resolve("my-model", LlmConfig(timeout=9)).client.limits.timeout_s == 9
    with pytest.raises(UserError, match="cannot be read"):
        load_registry(str(tmp_path / "none.yaml"))


def test_flags_out_of_range_name_the_flag() -> None:
    for wrong in (
        LlmConfig(llm_name="playbook", timeout=0),
        LlmConfig(llm_name="playbook", max_requests_per_minute=-1),
        LlmConfig(llm_name="playbook", max_llm_usd=-1),
        LlmConfig(llm_name="playbook", max_repairs=-1),
        LlmConfig(llm_name="playbook", timeout=float("nan")),
    ):
        with pytest.raises(UserError, match=r"^--(timeout|max_)"):
            ModelSession(wrong, WORLD)
    with pytest.raises(UserError, match="is empty"):
        ModelSession(LlmConfig(llm_name=" "), WORLD)


def test_a_dollar_budget_needs_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(UserError, match="no price is known for 'brand-new'"):
        ModelSession(LlmConfig(llm_name="brand-new", max_llm_usd=1.0), WORLD)
    ModelSession(LlmConfig(llm_name="gpt-5", max_llm_usd=1.0), WORLD)


def test_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(FatalProviderError, match="no recorded replies"):
        resolve(f"replay_{tmp_path}", LlmConfig())
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "000000_skill.json").write_text("{")
    with pytest.raises(GraphError, match=r"000000_skill\.json"):
        resolve(f"replay_{tmp_path}", LlmConfig())


OWN_MODULE = """
def chat(messages, shrink_idx, max_gen=10):
    assert messages[0] == {"role": "system", "content": "Be brief."} and shrink_idx == 1
    return f"chat {max_gen}", {"prompt": 5, "completion": 3}

def text(prompt, max_gen):
    assert prompt.startswith("Be brief.")
    return f"text {max_gen}"

async def later(prompt, max_gen):
    return "later"

def get_query(model_name):
    if model_name == "mine-broken":
        raise RuntimeError("no disk")
    if model_name == "mine-wrong":
        return lambda prompt, max_gen: missing_name
    known = {"mine-chat": chat, "mine-text": text, "mine-later": later}
    if model_name not in known:
        raise NotImplementedError(model_name)
    return known[model_name]
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module ``llm_api`` on the path, for one test."""
    path = tmp_path / "llm_api.py"
    path.write_text(textwrap.dedent(OWN_MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "llm_api", raising=False)
    return path


@pytest.mark.parametrize(
    ("name", "text", "prompt_tokens"),
    [("mine-chat", "chat 9", 5), ("mine-text", "text 9", None), ("mine-later", "later", None)],
)
def test_the_users_own_module_serves_in_every_shape(
    own_module: Path, name: str, text: str, prompt_tokens: int | None
) -> None:
    announced: list[str] = []
    resolved = resolve(name, LlmConfig(max_new_tokens=9), announce=announced.append)
    assert announced == [f"{name}: answered by your own module {own_module}."]
    messages = [Message("system", "Be brief."), Message("user", "hello")]
    reply = asyncio.run(resolved.client.complete(messages, CompletionSettings(), []))
    assert (reply.text, reply.usage.prompt_tokens) == (text, prompt_tokens)


@pytest.mark.usefixtures("own_module")
def test_the_users_own_module_may_not_know_or_be_broken() -> None:
    assert resolve("playbook", LlmConfig(), WORLD).provider == "playbook"
    with pytest.raises(FatalProviderError, match="OPENAI_API_KEY"):
        resolve("gpt-5", LlmConfig())
    with pytest.raises(FatalProviderError, match="no disk"):
        resolve("mine-broken", LlmConfig())
    wrong = resolve("mine-wrong", LlmConfig(), announce=lambda _: None)
    with pytest.raises(FatalProviderError, match="missing_name"):
        asyncio.run(wrong.client.complete([Message("user", "hello")], CompletionSettings(), []))


def test_names_resolve_without_heavy_imports() -> None:
    script = (
        "import sys, flowrl.llm.config, flowrl.llm.resolve; "
        "heavy = {'openai', 'agentkit', 'litellm', 'torch', 'transformers', 'jax'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
