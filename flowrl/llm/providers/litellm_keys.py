"""Which variable holds the key for a litellm model, known without importing litellm (which takes seconds)."""

from __future__ import annotations

_BY_PROVIDER = {
    "ai21": "AI21_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "azure": "AZURE_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
    "codestral": "CODESTRAL_API_KEY",
    "cohere": "COHERE_API_KEY",
    "cohere_chat": "COHERE_API_KEY",
    "dashscope": "DASHSCOPE_API_KEY",
    "databricks": "DATABRICKS_API_KEY",
    "deepinfra": "DEEPINFRA_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "fireworks_ai": "FIREWORKS_AI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "huggingface": "HUGGINGFACE_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "moonshot": "MOONSHOT_API_KEY",
    "nvidia_nim": "NVIDIA_NIM_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "perplexity": "PERPLEXITYAI_API_KEY",
    "replicate": "REPLICATE_API_KEY",
    "sambanova": "SAMBANOVA_API_KEY",
    "together_ai": "TOGETHERAI_API_KEY",
    "xai": "XAI_API_KEY",
}
_BY_FAMILY = {
    "gpt-": "OPENAI_API_KEY",
    "chatgpt-": "OPENAI_API_KEY",
    "o1": "OPENAI_API_KEY",
    "o3": "OPENAI_API_KEY",
    "o4": "OPENAI_API_KEY",
    "claude-": "ANTHROPIC_API_KEY",
    "gemini-": "GEMINI_API_KEY",
    "command-": "COHERE_API_KEY",
}


def key_variable(model: str) -> str | None:
    """The variable for ``<provider>/<model>`` or a bare name; None when it needs none or is not known."""
    provider, slash, _ = model.partition("/")
    if slash:
        return _BY_PROVIDER.get(provider)
    return next((variable for family, variable in _BY_FAMILY.items() if model.startswith(family)), None)
