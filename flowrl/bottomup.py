"""``python -m flowrl.bottomup``: learn a skill graph, one skill after another."""

import sys

from flowrl.cli import run_command


def main() -> int:
    """Runs ``flowrl bottomup`` with this process's arguments."""
    return run_command("bottomup", sys.argv[1:], "python -m flowrl.bottomup")


if __name__ == "__main__":
    sys.exit(main())
