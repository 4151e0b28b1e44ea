"""``python -m flowrl.bottomup_parallel``: learn a skill graph, several skills at a time."""

import sys

from flowrl.cli import run_command


def main() -> int:
    """Runs ``flowrl bottomup-parallel`` with this process's arguments."""
    return run_command("bottomup-parallel", sys.argv[1:], "python -m flowrl.bottomup_parallel")


if __name__ == "__main__":
    sys.exit(main())
