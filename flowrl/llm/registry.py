"""The registry of models: ``models.yaml`` of the package, then the user's own file on top, validated.

An entry says what the name alone cannot: endpoint, key variable, limits, prices, capabilities, engine
arguments. A model without an entry works too, with defaults.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flowrl.errors import UserError, nearest
from flowrl.llm.vllm_arguments import VLLM_ARGUMENTS

ProviderName = Literal["openai", "openrouter", "litellm", "vllm", "hf"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(_Strict):
    """US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Engine(_Strict):
    """A vLLM server that flowrl starts. ``arguments`` are passed on to ``vllm serve``."""

    model_path: str
    tokenizer_path: str | None = None
    start_timeout: float = Field(default=600.0, gt=0)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect_arguments(cls, data: Any) -> Any:
        """Every key that is not a field is an engine argument; an unknown one is an error."""
        if not isinstance(data, Mapping):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields and key != "arguments"}
        rest = {key.replace("-", "_"): value for key, value in data.items() if key not in own}
        for key in rest:
            if key not in VLLM_ARGUMENTS:
                raise ValueError(f"{key!r} is no engine argument of vLLM. {nearest(key, VLLM_ARGUMENTS)}")
        return {**own, "arguments": rest}

    @field_validator("model_path", "tokenizer_path")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not os.path.isabs(value):
            raise ValueError(f"{value!r} is not an absolute path")
        return value


class ModelEntry(_Strict):
    """What is known about one model.

    Attributes:
        provider: who serves it; the name's prefix decides where this is left out.
        model: the model's id at the provider; the name without its prefix where this is left out.
        base_url: endpoint, for OpenAI-compatible servers.
        key_env: name of the variable that holds the key; never the key itself.
        context_tokens: the longest prompt and answer together.
        max_new_tokens: the longest answer asked for.
        max_requests_per_minute: at most this many in any 60 seconds.
        max_concurrency: at most this many at once.
        timeout: seconds that one request may take.
        temperature: sampling temperature.
        price: unknown where left out, which is not the same as nothing.
        reasoning: takes no temperature, and ``max_completion_tokens`` in place of ``max_tokens``.
        system_role: whether it takes system messages; else they are put before the first user message.
        engine: how flowrl starts a vLLM server for it.
    """

    provider: ProviderName | None = None
    model: str | None = None
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    context_tokens: int | None = Field(default=None, gt=0)
    max_new_tokens: int | None = Field(default=None, gt=0)
    max_requests_per_minute: int | None = Field(default=None, gt=0)
    max_concurrency: int | None = Field(default=None, gt=0)
    timeout: float | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    price: Price | None = None
    reasoning: bool | None = None
    system_role: bool = True
    engine: Engine | None = None


class Registry(_Strict):
    """All entries, by the name that a user types."""

    models: dict[str, ModelEntry] = Field(default_factory=dict)

    def entry(self, name: str) -> ModelEntry:
        """The entry for ``name``, or one with defaults only."""
        return self.models.get(name) or ModelEntry()


def load_registry(models_file: str | None = None) -> Registry:
    """The package's registry, with the entries of ``models_file`` (or ``FLOWRL_MODELS``) in place of its own.

    Raises:
        UserError: a file is missing or wrong; names the file, the entry and the field.
    """
    shipped = _shipped()
    chosen = models_file or os.environ.get("FLOWRL_MODELS", "").strip()
    if not chosen:
        return shipped
    path = Path(chosen).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The models file {str(path)!r} cannot be read: {error}.") from None
    return Registry(models={**shipped.models, **_parse(text, str(path)).models})


@cache
def _shipped() -> Registry:
    text = (resources.files("flowrl.llm") / "models.yaml").read_text(encoding="utf-8")
    return _parse(text, "flowrl/llm/models.yaml")


def _parse(text: str, file_name: str) -> Registry:
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise UserError(f"The models file {file_name!r} is not valid YAML: {where}") from None
    if not isinstance(data, Mapping) or not isinstance(data.get("models"), Mapping):
        raise UserError(f"The models file {file_name!r} has no 'models:' section that maps names to entries.")
    extra = [str(key) for key in data if key != "models"]
    if extra:
        raise UserError(
            f"The models file {file_name!r} has an unknown section {extra[0]!r}; it takes only 'models'."
        )
    return Registry(
        models={str(name): _parse_entry(str(name), raw, file_name) for name, raw in data["models"].items()}
    )


def _parse_entry(name: str, raw: Any, file_name: str) -> ModelEntry:
    try:
        return ModelEntry.model_validate(raw if raw is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"there is no such field. {nearest(str(first['loc'][-1]), ModelEntry.model_fields)}"
        # 'key_env' holds a name; a key that was pasted there must not be shown.
        shown = "" if path == "key_env" else f" (it is {first['input']!r})"
        where = f"field {path!r}" if path else "the entry"
        raise UserError(f"The models file {file_name!r}, entry {name!r}, {where}: {message}{shown}") from None
