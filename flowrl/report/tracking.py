"""Weights & Biases as a listener: one wandb run a trained skill, grouped by graph path.

A tracker is a spectator. Nothing that wandb does may stop, block or prompt a run: where nobody is logged in
it logs offline and says so; where wandb fails it says so once and goes quiet.
"""

from __future__ import annotations

import configparser
import netrc
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from flowrl.pipeline.events import (
    Event,
    RunFinished,
    SkillAccepted,
    SkillRefused,
    StageStarted,
    TrainingProgress,
)

_PROJECT = "flowrl"
_LOGIN_TIMEOUT_S = 20
_GROUP_LIMIT = 128  # wandb refuses longer group names


Mode = Literal["online", "offline", "disabled"]


def _notify_on_stderr(text: str) -> None:
    print(text, file=sys.stderr)


class WandbTracker:
    """Opens a wandb run when a skill starts to train, logs its curves, closes it with the verdict.

    Args:
        group: the graph path; runs of one graph stand together.
        config: what to show as the run's configuration. Pass no secrets: it is uploaded as it is.
        folder: where wandb keeps its files.
        notify: shows one line to the person at the terminal.
    """

    def __init__(
        self,
        group: str,
        config: Mapping[str, Any],
        folder: Path,
        notify: Callable[[str], None] = _notify_on_stderr,
    ) -> None:
        self._group = group[-_GROUP_LIMIT:]
        self._config = {name: _plain(value) for name, value in config.items()}
        self._folder = folder
        self._notify = notify
        self._mode: Mode | None = None
        self._broken = False
        self._runs: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Follows the run; see :data:`flowrl.pipeline.events.Listener`."""
        if self._broken:
            return
        try:
            self._follow(event)
        except Exception as error:  # wandb raises many kinds, and none of them may end a run
            self._broken = True
            self._runs.clear()
            self._notify(
                f"wandb: {_first_line(error)} Curves are no longer logged there; the run goes on. "
                "--no-use_wandb turns wandb off."
            )

    def close(self) -> None:
        """Ends what is open, as after an interrupt. Calling it twice does no harm."""
        if self._runs:
            self(RunFinished(accepted=0, env_steps=0, wall_s=0.0, reason="interrupted"))

    def _follow(self, event: Event) -> None:
        match event:
            case StageStarted(stage="train") if event.skill not in self._runs:
                self._open(event.skill)
            case TrainingProgress():
                self._log(event)
            case SkillAccepted():
                numbers = {
                    key: value for key, value in event.summary.items() if isinstance(value, int | float)
                }
                spent = _llm_summary(event.summary.get("llm", {}))
                self._finish(event.skill, {**numbers, **spent, "accepted": True}, exit_code=0)
            case SkillRefused():
                verdict = {
                    "accepted": False,
                    "refused_at": event.stage,
                    "reason": event.reason,
                    **_llm_summary(event.llm),
                }
                self._finish(event.skill, verdict, exit_code=1)
            case RunFinished():
                for skill in list(self._runs):
                    self._finish(skill, {"accepted": False, "reason": event.reason}, exit_code=1)
            case _:
                pass

    def _open(self, skill: str) -> None:
        import wandb

        if self._mode is None:
            self._mode, notice = choose_mode(os.environ, wandb.Settings().base_url)
            if notice:
                self._notify(notice)
        if self._mode == "disabled":
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # console="off": wandb must not wrap the stdout that the live view draws on.
        settings = wandb.Settings(
            console="off", silent=True, login_timeout=_LOGIN_TIMEOUT_S, init_timeout=_LOGIN_TIMEOUT_S
        )
        described: dict[str, Any] = {
            "project": _PROJECT,
            "group": self._group,
            "name": skill,
            "config": self._config,
            "dir": str(self._folder),
            "reinit": "create_new",
            "settings": settings,
        }
        try:
            run = wandb.init(mode=self._mode, **described)
        except Exception as error:
            if self._mode != "online":
                raise
            self._notify(f"wandb: {_first_line(error)} Logging offline instead; wandb sync uploads it later.")
            self._mode = "offline"
            run = wandb.init(mode=self._mode, **described)
        run.define_metric("*", step_metric="env_steps")
        self._runs[skill] = run

    def _log(self, event: TrainingProgress) -> None:
        run = self._runs.get(event.skill)
        if run is None:
            return
        measured: dict[str, float | None] = {
            "env_steps": event.env_steps,
            "steps_per_s": event.steps_per_s,
            "success": event.success,
            "success_low": event.success_low,
            **event.metrics,
        }
        run.log({name: value for name, value in measured.items() if value is not None})

    def _finish(self, skill: str, verdict: Mapping[str, Any], exit_code: int) -> None:
        run = self._runs.pop(skill, None)
        if run is not None:
            run.summary.update(dict(verdict))
            run.finish(exit_code=exit_code)


def choose_mode(environment: Mapping[str, str], default_host: str) -> tuple[Mode, str]:
    """``(mode, notice)``: how to log without asking anybody, and what to tell the person about it.

    Looks at ``WANDB_MODE``, ``WANDB_API_KEY``, wandb's settings file and ``.netrc``; never at the network.

    Args:
        environment: variables by name.
        default_host: the server's URL where neither a variable nor a settings file names one.

    Returns:
        The notice is empty when the person already decided.
    """
    settings = _settings_file(environment)
    chosen = (environment.get("WANDB_MODE") or settings.get("mode", "")).strip().lower()
    if chosen == "disabled":
        return "disabled", ""
    if chosen in ("offline", "dryrun"):
        return "offline", ""
    host = environment.get("WANDB_BASE_URL") or settings.get("base_url") or default_host
    has_key = environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE")
    if has_key or _in_netrc(host, environment):
        return "online", ""
    return "offline", (
        "wandb: nobody is logged in, so curves are logged offline. "
        "Log in with `wandb login`, or turn wandb off with --no-use_wandb."
    )


def _settings_file(environment: Mapping[str, str]) -> dict[str, str]:
    """The default section of wandb's own settings file; empty when there is none that parses."""
    home = Path(environment.get("HOME", "~")).expanduser()
    folder = Path(environment.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb")
    parser = configparser.ConfigParser()
    try:
        parser.read(folder / "settings")
        return dict(parser["default"]) if parser.has_section("default") else {}
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}


def _in_netrc(host: str, environment: Mapping[str, str]) -> bool:
    home = Path(environment.get("HOME", "~")).expanduser()
    named = environment.get("NETRC")
    files = [Path(named).expanduser()] if named else [home / ".netrc", home / "_netrc"]
    for file in files:
        try:
            logins = netrc.netrc(str(file)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if (urlparse(host).hostname or host) in logins:
            return True
    return False


def _llm_summary(llm: Mapping[str, Any]) -> dict[str, Any]:
    """Who wrote a skill and what that cost, as wandb's summary takes it. What is unknown is left out."""
    shown = {f"llm/{role}": model for role, model in llm.items() if isinstance(model, str)}
    total = llm.get("total")
    if isinstance(total, Mapping):
        names = ("calls", "requests", "failed_requests", "prompt_tokens", "completion_tokens", "usd", "cost")
        shown |= {f"llm/{name}": total[name] for name in names if total.get(name) is not None}
    return shown


def _plain(value: Any) -> Any:
    """What wandb can show: scalars as they are, a path or anything else as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if line.endswith(".") else f"{line}."
