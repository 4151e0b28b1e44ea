"""What holds for every test: no network, no wandb account, a compilation cache that outlives the run."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

_LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "")


def pytest_configure(config: pytest.Config) -> None:
    """Set before any test module imports JAX; processes that tests start inherit it."""
    cache = _cache_folder(config) / "jax_compilation"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ["WANDB_MODE"] = "offline"
    os.environ["WANDB_SILENT"] = "true"
    # How long an example takes is the machine's business: a busy one fails no test.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


def _cache_folder(config: pytest.Config) -> Path:
    """Next to pytest's own cache, which xdist's workers share."""
    return Path(config.rootpath, str(config.getini("cache_dir")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine raises; loopback servers are fine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refuse_remote(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOCAL:
            raise RuntimeError(f"a test tried to reach {address!r}; tests have no network")

    def guarded(self: socket.socket, address: Any) -> None:
        refuse_remote(self, address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        refuse_remote(self, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the person who runs the tests are not for tests."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_TOKEN")) or name in ("HF_TOKEN", "FLOWRL_MODELS"):
            monkeypatch.delenv(name)
