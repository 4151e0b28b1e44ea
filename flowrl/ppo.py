"""``python -m flowrl.ppo``: flat PPO on the game's own reward."""

import sys

from flowrl.cli import run_command


def main() -> int:
    """Runs ``flowrl ppo`` with this process's arguments."""
    return run_command("ppo", sys.argv[1:], "python -m flowrl.ppo")


if __name__ == "__main__":
    sys.exit(main())
