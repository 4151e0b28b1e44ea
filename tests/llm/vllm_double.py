"""Stands in for the command ``vllm``: takes the arguments of ``vllm serve``, starts a worker process, serves.

Writes the pids of itself and its worker, its arguments and the keys in its environment into
``$DOUBLE_NOTES``. The served model's name decides how it behaves: ``deaf`` ignores polite signals, ``broken``
ends at once, ``slow`` never gets healthy.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model_path")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--tokenizer")
    parser.add_argument("--tensor-parallel-size", type=int)
    parser.add_argument("--pipeline-parallel-size", type=int)
    parser.add_argument("--data-parallel-size", type=int)
    parser.add_argument("--gpu-memory-utilization", type=float)
    parser.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction)
    parser.add_argument("--hf-overrides", type=json.loads)
    arguments = parser.parse_args()
    if arguments.served_model_name == "broken":
        sys.exit("ValueError: no GPU was found")
    if arguments.served_model_name == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    notes = {
        "pids": [os.getpid(), worker.pid],
        "arguments": vars(arguments),
        "keys": [name for name in os.environ if name.endswith("_API_KEY")],
    }
    Path(os.environ["DOUBLE_NOTES"]).write_text(json.dumps(notes))
    if arguments.served_model_name == "slow":
        threading.Event().wait()
    from loopback import LoopbackServer

    with LoopbackServer(port=arguments.port):
        threading.Event().wait()


if __name__ == "__main__":
    main()
