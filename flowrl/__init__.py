"""flowrl: a language model proposes skills, JAX PPO learns them, a skill graph keeps what was proved."""

__version__ = "0.1.0"
