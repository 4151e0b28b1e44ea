#!/bin/sh
# Learns a skill graph on one GPU, several skills at a time in one process.
#
#   sh scripts/train_gpu.sh --llm_name gpt-5 --graph-path exp/gpt5/
#   CUDA_VISIBLE_DEVICES=1 SLOTS=4 sh scripts/train_gpu.sh --llm_name playbook --graph-path exp/playbook/
#
# All arguments go to `flowrl bottomup-parallel`. Run it again with the same ones to go on where it stopped.
#
# Needs: flowrl with the extra `cuda` (README.md, "Install without make"), and the model's key in the environment
#        or in .env.
# Takes: SLOTS, skills in training at a time (default 8); PYTHON (default .venv/bin/python).
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}

fail() {
    echo "error: $*" >&2
    exit 2
}

command -v "$python" >/dev/null ||
    fail "there is no $python. Install flowrl (make setup), or name a Python: PYTHON=python3"
"$python" -c 'import sys, jax; sys.exit(jax.default_backend() != "gpu")' ||
    fail "JAX sees no GPU. Install the extra: $python -m pip install -e '.[cuda]', and look at nvidia-smi"

exec "$python" -m flowrl.bottomup_parallel --max_parallel_skills "${SLOTS:-8}" "$@"
