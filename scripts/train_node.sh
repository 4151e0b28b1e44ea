#!/bin/sh
# Learns a skill graph on all GPUs of one machine: Ray runs one worker a GPU, each with several slots.
#
#   sh scripts/train_node.sh --llm_name gpt-5 --graph-path exp/gpt5/
#   CUDA_VISIBLE_DEVICES=0,1 SLOTS=8 sh scripts/train_node.sh --llm_name playbook --graph-path exp/playbook/
#
# All arguments go to `flowrl bottomup-parallel`. Run it again with the same ones to go on where it stopped.
#
# Needs: flowrl with the extras `cuda` and `cluster` (README.md, "Install without make"), nvidia-smi, and the
#        model's key in the environment or in .env.
# Takes: SLOTS, skills in training at a time on each GPU (default 4); PYTHON (default .venv/bin/python).
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
slots=${SLOTS:-4}

fail() {
    echo "error: $*" >&2
    exit 2
}

count_gpus() {
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c .
    else
        nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU'
    fi
}

command -v "$python" >/dev/null ||
    fail "there is no $python. Install flowrl (make setup), or name a Python: PYTHON=python3"
"$python" -c 'import ray' 2>/dev/null ||
    fail "Ray is not installed. Install the extra: $python -m pip install -e '.[cuda,cluster]'"
gpus=$(count_gpus) || fail "there is no GPU in CUDA_VISIBLE_DEVICES, or in nvidia-smi where that is not set"

# One core is left to the process that proposes, checks and commits.
cpus=$((($(getconf _NPROCESSORS_ONLN) - 1) / gpus))
[ "$cpus" -ge 1 ] || cpus=1

exec "$python" -m flowrl.bottomup_parallel --executor ray --max_parallel_skills $((gpus * slots)) \
    --slots_per_worker "$slots" --worker_gpus 1 --worker_cpus "$cpus" "$@"
