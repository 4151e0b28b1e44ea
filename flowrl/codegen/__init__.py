"""Model-written code: parse, static check, tracing in a locked-down child, artifact, probes.

The way in is :func:`flowrl.codegen.check.check_reply`. What is contained and what is not is listed, each
with its test, in ``docs/decisions/0002-model-written-code.md``.
"""
