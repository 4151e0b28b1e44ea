"""The command ``flowrl``: finds the command, runs it, and turns errors into one line and an exit code.

Exit codes: 0 success, 1 the answer is no, 2 bad input, 3 stopped early and resumable, 130 interrupted
(by Ctrl-C or SIGTERM).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flowrl.errors import FlowrlError, UserError, nearest

CommandBody = Callable[[Sequence[str], str], int]
"""``(args, prog) -> exit code``."""

_EXIT_BAD_INPUT = 2
_EXIT_INTERRUPTED = 130
_EXIT_PIPE_CLOSED = 141
_LAST_SKILL = " The same command goes on from the last accepted skill."
_LAST_KEPT = " The same command goes on from what was kept last."
_GOES_ON = {
    "bottomup": _LAST_SKILL,
    "bottomup-parallel": _LAST_SKILL,
    "ppo": _LAST_KEPT,
    "practice": _LAST_KEPT,
}
_THE_DISK_S_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Command:
    """One command: where its body is, imported only when it is called, and what it does in one line."""

    body: str
    summary: str

    def load(self) -> CommandBody:
        """The function that runs it."""
        module, _, function = self.body.partition(":")
        found: CommandBody = getattr(importlib.import_module(f"flowrl.report.commands.{module}"), function)
        return found


COMMANDS = {
    "bottomup": Command("learn:bottomup", "learn a skill graph, one skill after another"),
    "bottomup-parallel": Command("learn:bottomup_parallel", "learn a skill graph, several skills at a time"),
    "practice": Command("practice:practice", "train all skills of a graph together, in whole episodes"),
    "ppo": Command("ppo:ppo", "flat PPO on the game's own reward: the control of every claim"),
    "check-skill": Command("check_skill:check_skill", "check a model's reply in a file, as a run would"),
    "plan": Command("plan:plan", "plan how to reach a fact or a skill, with proof"),
    "evaluate": Command("evaluate:evaluate", "play whole episodes with a graph's skills, and score them"),
    "status": Command("status:status", "show a skill graph: skills, evidence, failures"),
    "world": Command("world:world", "show what a skill may be made of: rules, facts, fields of a world"),
    "models list": Command("models:models_list", "list the language models that can be named"),
    "models check": Command("models:models_check", "ask one model for a word, to see that it answers"),
    "bench startup": Command("bench:startup", "time from a checked skill to its first PPO update"),
    "bench throughput": Command(
        "bench:throughput", "env steps per second of PPO training, and where they go"
    ),
    "bench llm": Command("bench:llm", "how many of a model's proposals hold up, and what they cost"),
    "bench parallel": Command("bench:parallel", "several skills in slots, in processes, one after another"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that ``argv`` (without the program's name) begins with."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if args else _EXIT_BAD_INPUT
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"flowrl {version('flowrl')}")
        return 0
    try:
        name, rest = _find(args)
    except UserError as error:
        return _fail(str(error), error.exit_code)
    if name not in COMMANDS:
        print(overview(name))
        return 0
    return run_command(name, rest, f"flowrl {name}")


def run_command(name: str, args: Sequence[str], prog: str) -> int:
    """Runs one command, as :func:`guarded` does."""
    return guarded(lambda: COMMANDS[name].load()(args, prog), _GOES_ON.get(name, ""))


def guarded(body: Callable[[], int], goes_on: str = "") -> int:
    """Calls ``body``; every error that is not a bug ends as a line on stderr and an exit code.

    Args:
        goes_on: what to say to those who interrupt it.
    """
    try:
        with _interrupted_by_sigterm():
            return body()
    except SystemExit as ended:  # tyro's --help
        return ended.code if isinstance(ended.code, int) else 0
    except FlowrlError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(f"interrupted.{goes_on}", _EXIT_INTERRUPTED, label="")
    except BrokenPipeError:
        # The reader (head, a pager) has gone; Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_PIPE_CLOSED
    except OSError as error:
        if error.errno not in _THE_DISK_S_FAULT:
            raise
        return _fail(f"{error.strerror}: {error.filename or 'while writing'}.", _EXIT_BAD_INPUT)
    finally:
        # Most commands never load JAX, and this must not either.
        if (compiled := sys.modules.get("flowrl.rl.compiled")) is not None:
            compiled.finish_threads()


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM, as of ``kill``, Slurm and containers, ends a command as Ctrl-C does: all is put away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def overview(group: str = "") -> str:
    """What ``flowrl --help`` (or ``flowrl GROUP --help``) prints."""
    shown = {name: command for name, command in COMMANDS.items() if name.startswith(group)}
    width = max(len(name) for name in shown)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in shown.items()]
    usage = f"usage: flowrl {f'{group} ' if group else ''}COMMAND [OPTIONS]"
    about = "A language model proposes skills, PPO learns them, a skill graph keeps what was proved."
    foot = f"flowrl {f'{group} ' if group else ''}COMMAND --help shows a command's options."
    return "\n".join([usage, "", *([] if group else [about, ""]), *lines, "", foot])


def _find(args: Sequence[str]) -> tuple[str, list[str]]:
    """The command that ``args`` begin with and what is left; a group's name when only that is there."""
    first = args[0].replace("_", "-")
    if first in COMMANDS:
        return first, list(args[1:])
    members = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{first} ")]
    if not members:
        known = {name.partition(" ")[0] for name in COMMANDS}
        raise UserError(f"there is no command {args[0]!r}. {nearest(first, known)}")
    if len(args) > 1 and args[1] in members:
        return f"{first} {args[1]}", list(args[2:])
    if len(args) > 1 and args[1] in ("-h", "--help"):
        return first, []
    if len(args) == 1:
        raise UserError(f"{first!r} needs one of its commands after it: {', '.join(members)}.")
    raise UserError(f"there is no command '{first} {args[1]}'. {nearest(args[1], members)}")


def _fail(text: str, exit_code: int, label: str = "error: ") -> int:
    """Says on stderr, in one line, what went wrong."""
    print(label + " ".join(text.split()), file=sys.stderr)
    return exit_code
