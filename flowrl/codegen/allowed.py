"""What skill code may name. The static check refuses the rest; the tracing child offers nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PLATFORMS = ("cpu", "cuda")
"""Where exported skill programs run."""

SNAPSHOTS = ("start", "prev", "now")
"""The three snapshot parameters, in order."""

PARAMETERS = (*SNAPSHOTS, "n")
"""The exact parameters of ``is_done`` and ``reward``."""

FUNCTIONS = ("is_done", "reward")
"""The two functions that a skill consists of."""

BUILTINS = frozenset({"abs", "min", "max", "float", "int", "bool"})
"""Builtins in scope. The child replaces all but ``abs`` with versions that work on traced numbers."""

_JNP = """
    abs absolute fabs negative positive sign square sqrt cbrt exp exp2 expm1 log log1p log2 log10 power
    sin cos tan arctan arctan2 tanh hypot reciprocal
    floor ceil round rint trunc mod remainder fmod floor_divide divide true_divide
    add subtract multiply minimum maximum fmin fmax clip where nan_to_num heaviside
    logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert bitwise_not
    equal not_equal greater greater_equal less less_equal isfinite isinf isnan
    array asarray stack zeros_like ones_like full_like
    sum prod mean max min amax amin any all argmax argmin
"""

JNP_FUNCTIONS = frozenset(_JNP.split())
"""``jnp`` functions: elementwise arithmetic, and reductions over the few numbers that a skill can stack."""

JNP_DTYPES = frozenset({"float32", "int32", "bool_", "bool"})
"""``jnp`` names that serve both as a cast, ``jnp.float32(x)``, and as a dtype argument."""

JNP_CONSTANTS = frozenset({"pi", "e", "inf"})

NN_FUNCTIONS = frozenset({"relu", "sigmoid", "tanh", "softplus", "silu", "leaky_relu", "elu", "gelu"})
"""``jax.nn`` functions: elementwise ones."""

KEYWORDS = frozenset({"axis", "dtype", "min", "max", "a_min", "a_max", "keepdims", "decimals"})
"""Keyword arguments of calls."""

REPLACEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "zeros": "Write 0.0: a skill works on single numbers.",
        "ones": "Write 1.0: a skill works on single numbers.",
        "full": "Write the number itself: a skill works on single numbers.",
        "arange": "Name the fields that you need one by one.",
        "linspace": "Write the numbers that you need.",
        "select": "Nest jnp.where(cond, a, b).",
        "piecewise": "Nest jnp.where(cond, a, b).",
        "cond": "Use jnp.where(cond, a, b).",
        "switch": "Nest jnp.where(cond, a, b).",
        "norm": "Use jnp.sqrt(dx**2 + dy**2).",
        "float64": "Use jnp.float32.",
        "float16": "Use jnp.float32.",
        "int64": "Use jnp.int32.",
        "int8": "Use jnp.int32.",
        "int16": "Use jnp.int32.",
        "uint8": "Use jnp.int32.",
        "nan": "Rewards must be finite; use a number.",
        "array_equal": "Use == on single fields, joined with &.",
    }
)
"""Advice for names that models reach for and that are not offered."""
