"""Hugging Face models that the test makes on disk: tiny, randomly initialised, and really loaded and run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from loopback import WORLD

from flowrl.errors import FatalProviderError
from flowrl.llm.client import RetryPolicy
from flowrl.llm.config import LlmConfig
from flowrl.llm.context import ProposalContext
from flowrl.llm.interface import CompletionSettings, Message
from flowrl.llm.proposer import ProposalUnusable, open_proposer
from flowrl.llm.resolve import resolve

torch = pytest.importorskip("torch", reason="the extra hf is not installed")
transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
)


def tokenizer(template: str | None) -> Any:
    """Bytes as tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "</s>", "<unk>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = template
    return fast


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model with a chat template that takes no system role."""
    folder = tmp_path_factory.mktemp("causal")
    words = tokenizer(NO_SYSTEM)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32768, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seq2seq model without a chat template."""
    folder = tmp_path_factory.mktemp("seq2seq")
    words = tokenizer(None)
    config = transformers.T5Config(
        vocab_size=len(words), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_it_loads_generates_and_is_refused_as_it_should_be(
    kind: str, request: pytest.FixtureRequest, context: ProposalContext
) -> None:
    folder: Path = request.getfixturevalue(kind)
    config = LlmConfig(llm_name=f"hf_{folder}", max_new_tokens=24, timeout=30.0)
    started = time.monotonic()
    with open_proposer(config, WORLD) as proposer, pytest.raises(ProposalUnusable) as refused:
        proposer.propose(context)
    assert refused.value.stage == "parse"
    assert len(refused.value.reply.calls) == 3
    call = refused.value.reply.calls[0]
    assert call.usage.prompt_tokens is not None
    assert call.usage.prompt_tokens > 1000
    assert call.usage.completion_tokens is not None
    assert 1 <= call.usage.completion_tokens <= 24
    assert call.usd == 0.0
    assert time.monotonic() - started < 60


def test_a_generation_ends_when_its_time_is_over(causal: Path) -> None:
    resolved = resolve(
        f"hf_{causal}", LlmConfig(timeout=0.3, max_new_tokens=30000), policy=RetryPolicy(attempts=1)
    )
    started = time.monotonic()

    async def ask() -> None:
        with pytest.raises(Exception, match=r"no answer within 0\.3 s"):
            await resolved.client.complete([Message("user", "hello")], CompletionSettings(), [])
        await resolved.client.close()

    asyncio.run(ask())
    assert time.monotonic() - started < 20


def test_a_prompt_beyond_the_context_is_fatal(causal: Path) -> None:
    resolved = resolve(f"hf_{causal}", LlmConfig(max_new_tokens=4))
    with pytest.raises(FatalProviderError, match="40013 tokens, more than it takes"):
        asyncio.run(resolved.client.complete([Message("user", "x" * 39996)], CompletionSettings(), []))


def test_a_folder_without_a_model_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FatalProviderError, match=r"holds no model \(there is no config.json"):
        resolve(f"hf_{tmp_path}", LlmConfig())
    (tmp_path / "config.json").write_text("{}")
    resolved = resolve(f"hf_{tmp_path}", LlmConfig())
    with pytest.raises(FatalProviderError, match="cannot be loaded"):
        asyncio.run(resolved.client.complete([Message("user", "x")], CompletionSettings(), []))
