"""Code that got past the static check, on purpose: what it can and cannot do in the tracing child.

Each test corresponds to a line of docs/decisions/0002-model-written-code.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flowrl.codegen.artifact import seal
from flowrl.codegen.tracer import Containment, Tracer
from flowrl.errors import FlowrlError, ProposalRefused
from flowrl.worlds.snapshot import SnapshotSpec

ESCAPE = """
def is_done(start, prev, now, n):
    for kind in ().__class__.__base__.__subclasses__():
        if kind.__name__ == "_wrap_close":
            inside = kind.__init__.__globals__
            break
    builtins, sys = inside["__builtins__"], inside["sys"]
    os, resource, socket, ctypes = [sys.modules[m] for m in ("os", "resource", "socket", "ctypes")]
    open, RuntimeError, repr, dict, sorted = [
        builtins[name] for name in ("open", "RuntimeError", "repr", "dict", "sorted")
    ]
    bytes, range, OSError = [builtins[name] for name in ("bytes", "range", "OSError")]
    {body}
    raise RuntimeError("result: " + repr({expression}))

def reward(start, prev, now, n):
    return 1.0
"""


def escape(expression: str, body: str = "pass") -> str:
    return ESCAPE.format(expression=expression, body=textwrap.indent(body, "    ").strip())


@pytest.fixture(scope="module")
def attacked() -> Tracer:
    """A tracer of its own: what escapes may spoil it for others."""
    with Tracer(timeout_s=3.0) as tracer:
        yield tracer


@pytest.fixture
def refusal(attacked: Tracer, spec: SnapshotSpec) -> Callable[[str], str]:
    """What the parent gets to read after the child ran a source."""

    def run(source: str) -> str:
        with pytest.raises(ProposalRefused) as refused:
            attacked.trace(source, spec, {})
        assert refused.value.stage == "trace"
        return str(refused.value)

    return run


def test_the_escape_works_at_all(refusal: Callable[[str], str]) -> None:
    assert "result: 42" in refusal(escape("6 * 7"))


def test_the_environment_holds_no_keys(monkeypatch: pytest.MonkeyPatch, spec: SnapshotSpec) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with Tracer() as fresh, pytest.raises(ProposalRefused, match="result") as refused:
        fresh.trace(escape("sorted(os.environ)"), spec, {})
    assert "PATH" in str(refused.value)
    assert "API_KEY" not in str(refused.value)


DENIED = {
    "read a file": "open('/etc/passwd').read()",
    "read the parent's environment": "open('/proc/%d/environ' % os.getppid(), 'rb').read()",
    "read its own memory map": "open('/proc/self/maps').read()",
    "write a file": "open('stolen.txt', 'w')",
    "list a folder": "os.listdir('/')",
    "remove a file": "os.unlink('/nonexistent')",
    "rename a file": "os.rename('/nonexistent', '/tmp/x')",
    "make a folder": "os.mkdir('folder')",
    "change a mode": "os.chmod('.', 511)",
    "file in memory": "os.memfd_create('x')",
    "open a socket": "socket.socket()",
    "a pair of sockets": "socket.socketpair()",
    "fork": "os.fork()",
    "run a program": "os.execv('/bin/sh', ['sh', '-c', 'id'])",
    "spawn a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "signal the parent": "os.kill(os.getppid(), 0)",
    "signal everybody": "os.kill(-1, 0)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "become root": "os.setresuid(0, 0, 0)",
}


@pytest.mark.parametrize("attempt", DENIED)
def test_is_denied(attempt: str, attacked: Tracer, refusal: Callable[[str], str]) -> None:
    held = attacked.containment
    if not (held.files and held.processes and held.network):
        pytest.skip(f"this kernel contains less: {held}")
    answer = refusal(escape(DENIED[attempt]))
    assert "result" not in answer
    assert any(word in answer for word in ("PermissionError", "BlockingIOError", "not allowed"))


def test_everything_holds_where_the_kernel_can(attacked: Tracer) -> None:
    if not Path("/proc/sys/kernel/seccomp").exists():
        pytest.skip("this kernel has no seccomp filters")
    assert attacked.containment == Containment(*[True] * 6)


def test_no_debugger_can_attach(refusal: Callable[[str], str]) -> None:
    # PTRACE_ATTACH to the parent.
    assert "result: -1" in refusal(escape("ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)"))


def test_nothing_of_the_parent_is_loaded(refusal: Callable[[str], str]) -> None:
    answer = refusal(escape("sorted(m for m in sys.modules if m.startswith(('flowrl.', 'craftax')))"))
    assert "flowrl.codegen.worker" in answer
    for module in ("llm", "store", "pipeline", "craftax"):
        assert module not in answer


def test_what_it_prints_reaches_nobody(
    refusal: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    refusal(escape("os.write(1, b'HELLO'), os.write(2, b'HELLO')"))
    captured = capfd.readouterr()
    assert "HELLO" not in captured.out + captured.err


def test_its_words_are_made_harmless(refusal: Callable[[str], str]) -> None:
    body = "raise RuntimeError('\\x1b[31m /home/somebody/.ssh/id_rsa \\u202e' + 'x' * 100000)"
    answer = refusal(escape("1", body))
    assert answer.isprintable()
    assert "somebody" not in answer
    assert len(answer) < 600


@pytest.mark.parametrize("body", ["while True: pass", "x = 9 ** 9 ** 9"])
def test_an_endless_computation_is_killed_and_the_next_request_works(
    body: str,
    attacked: Tracer,
    refusal: Callable[[str], str],
    spec: SnapshotSpec,
    write_source: Callable[..., str],
) -> None:
    attacked.start()
    assert attacked.containment
    before = time.monotonic()
    assert "more than 3 s" in refusal(escape("1", body))
    assert time.monotonic() - before < 10
    assert seal(attacked.trace(write_source(), spec, {}), len(spec)).operations


@pytest.mark.parametrize(
    "body",
    [
        "x = bytes(10 ** 11)",
        "x = [0] * 10 ** 10",
        "x = []\nwhile True: x.append(bytes(10 ** 8))",
        "x = jnp.ones(10 ** 10) + 1; x.block_until_ready()",
    ],
)
def test_memory_is_bounded(
    body: str,
    attacked: Tracer,
    refusal: Callable[[str], str],
    spec: SnapshotSpec,
    write_source: Callable[..., str],
) -> None:
    assert attacked.containment.memory
    assert "result" not in refusal(escape("1", body))
    assert attacked.trace(write_source(), spec, {})


WRITE_EVERYWHERE = """
for fd in range(3, 1024):
    try: os.write(fd, {data})
    except OSError: pass
"""
SABOTAGE = {
    "exits": "os._exit(0)",
    "crashes": "ctypes.string_at(0)",
    "noise": WRITE_EVERYWHERE.format(data="b'\\xff' * 64"),
    "a reply of four gigabytes": WRITE_EVERYWHERE.format(data="b'\\xff' * 4"),
    "a reply that is no object": WRITE_EVERYWHERE.format(data="b'\\x02\\0\\0\\0[]'"),
    "a forged reply": WRITE_EVERYWHERE.format(
        data='bytes([35, 0, 0, 0]) + b\'{"id": "0", "artifact": "AAAA"}   \''
    ),
    "closed pipes": WRITE_EVERYWHERE.replace("write(fd, {data})", "close(fd)"),
}


@pytest.mark.parametrize("case", SABOTAGE)
def test_a_sabotaged_worker_is_replaced(
    case: str,
    attacked: Tracer,
    refusal: Callable[[str], str],
    spec: SnapshotSpec,
    write_source: Callable[..., str],
) -> None:
    assert "died" in refusal(escape("1", SABOTAGE[case]))
    assert seal(attacked.trace(write_source(), spec, {}), len(spec)).operations


def test_a_worker_that_died_while_idle_is_replaced(
    tracer: Tracer, spec: SnapshotSpec, write_source: Callable[..., str]
) -> None:
    assert tracer.containment
    assert tracer.pid is not None
    os.kill(tracer.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert tracer.trace(write_source(), spec, {})


def test_a_worker_outlives_the_thread_that_started_it(
    spec: SnapshotSpec, write_source: Callable[..., str]
) -> None:
    with Tracer() as tracer:
        thread = threading.Thread(target=lambda: tracer.containment)
        thread.start()
        thread.join()
        pid = tracer.pid
        assert tracer.trace(write_source(), spec, {})
        assert tracer.pid == pid
    assert tracer.pid is None


def test_a_worker_that_cannot_start_is_our_problem_not_the_models(
    monkeypatch: pytest.MonkeyPatch, spec: SnapshotSpec
) -> None:
    monkeypatch.setattr("flowrl.codegen.tracer._BOOT", "raise SystemExit('no luck')  # {roots} {fds}")
    with Tracer() as tracer, pytest.raises(FlowrlError, match=r"did not start .*no luck") as error:
        tracer.trace("", spec, {})
    assert not isinstance(error.value, ProposalRefused)


ORPHAN = """
import sys
from flowrl.codegen.tracer import Tracer
from flowrl.worlds.snapshot import Field, SnapshotSpec

tracer = Tracer(timeout_s=60)
assert tracer.containment
print(tracer.pid, flush=True)
tracer.trace({source!r}, SnapshotSpec((Field("a.b", "int32", "", ""),)), {{}})
sys.stdin.read()
"""

IDLE = "def is_done(start, prev, now, n): return n > 1\ndef reward(start, prev, now, n): return 1.0"
BUSY = IDLE.replace("return n > 1", "\n  while True: pass")


@pytest.mark.parametrize("source", [IDLE, BUSY], ids=["idle", "busy"])
def test_no_worker_outlives_a_killed_parent(source: str) -> None:
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN.format(source=source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(os.environ) | {"PYTHONPATH": str(root)},
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        assert _is_running(child)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 5
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(child)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
