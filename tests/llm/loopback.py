"""A real HTTP server that speaks OpenAI's API on this machine, well or badly, as a script says.

In tests: ``with LoopbackServer(folder_of_replies) as server: server.misbehave(status(500), ...)``.
As a script: ``python tests/llm/loopback.py --port 0 --replies FOLDER`` prints its base URL and answers
flowrl's prompts from the proposals in that folder until it is ended.

It goes by the words of the prompts alone, as a hosted model does.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flowrl.llm.providers.playbook import ShippedProposal, load_playbook
from flowrl.llm.reply_text import code_part, find_json, operator_part, skill_part, whole_reply

WORLD = "Craftax-Classic-Symbolic-v1"
KEY = "sk-test-0123456789abcdef"

Act = Callable[["Handler", dict[str, Any]], None]
"""Answers one request; gets its parsed body."""

_TITLES = {
    "# Task: choose the next skill": "skill",
    "# Task: write the operator of this skill": "operator",
    "# Task: write the two functions of this skill": "code",
    "# Task: mend this proposal": "repair",
    "# Task: say what this skill really does": "trajectory",
}


@dataclass
class Request:
    """One request as the server saw it."""

    path: str
    body: dict[str, Any]
    authorization: str
    time: float = field(default_factory=time.monotonic)

    @property
    def model(self) -> str:
        """The model that it asks for."""
        return str(self.body.get("model"))


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Health."""
        self.send_json(200, {"status": "ok", "data": []})

    def do_POST(self) -> None:
        """A chat completion, or the next scripted act."""
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        owner: LoopbackServer = self.server.owner
        with owner.lock:
            owner.requests.append(Request(self.path, body, self.headers.get("Authorization", "")))
            act = owner.script.popleft() if owner.script else owner.by_model.get(str(body.get("model")))
        try:
            (act or owner.answer)(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send_json(self, status_code: int, data: Any, headers: dict[str, str] | None = None) -> None:
        """A JSON answer."""
        self.send_bytes(status_code, json.dumps(data).encode(), "application/json", headers)

    def send_bytes(
        self, status_code: int, data: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        """Any answer."""
        self.send_response(status_code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class LoopbackServer:
    """The server, in a thread of its own, on a free port.

    Args:
        replies: folder of proposals in the reply format; none for a server that only says "ready".
        port: 0 for any free one.
    """

    def __init__(self, replies: Path | None = None, port: int = 0) -> None:
        self.proposals = load_playbook("", replies) if replies is not None else []
        self.requests: list[Request] = []
        self.script: deque[Act] = deque()
        self.by_model: dict[str, Act] = {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self._http.owner = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """What ``OPENAI_BASE_URL`` must be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def misbehave(self, *acts: Act) -> None:
        """The next requests are answered so, one after the other; then it behaves again."""
        self.script.extend(acts)

    def answer(self, handler: Handler, body: dict[str, Any]) -> None:
        """Behaves: a completion."""
        text = self.text_for([(turn["role"], str(turn["content"])) for turn in body["messages"]])
        handler.send_json(200, completion(text, str(body["model"])))

    def text_for(self, turns: list[tuple[str, str]]) -> str:
        """What the prompts ask for, from the files."""
        asked = [text for role, text in turns if role == "user"]
        titles = [node for text in asked for title, node in _TITLES.items() if title in text]
        if not titles:
            return "ready"
        if titles[-1] == "skill":
            return "I choose this one.\n\n" + skill_part(self._next(asked[0]).operator)
        if titles[-1] == "trajectory":
            claim = asked[-1].partition("Its operator claims:")[2].lstrip()
            return "Nothing differs.\n\n" + operator_part(json.JSONDecoder().raw_decode(claim)[0])
        if titles[-1] == "repair":
            proposal = self._by_name(str(find_json(asked[-1]).get("name")))
            return whole_reply(proposal.operator, proposal.source)
        chosen = next(text for role, text in turns if role == "assistant")
        proposal = self._by_name(str(find_json(chosen)["name"]))
        if titles[-1] == "operator":
            return operator_part(proposal.operator)
        return "Here are the functions.\n\n" + code_part(proposal.source)

    def _next(self, prompt: str) -> ShippedProposal:
        line = re.search(r"^Names that are taken: (.*)$", prompt, re.MULTILINE)
        taken = line[1].split(", ") if line else []
        return next((p for p in self.proposals if p.name not in taken), self.proposals[-1])

    def _by_name(self, name: str) -> ShippedProposal:
        return next((p for p in self.proposals if p.name == name), self.proposals[0])

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()


def completion(text: str | None, model: str, **choice: Any) -> dict[str, Any]:
    """A chat completion as OpenAI sends it; ``choice`` overrides parts of its one choice."""
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": f"{model}-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def status(code: int, message: str = "it went wrong", error: str = "", **headers: str) -> Act:
    """An error of that status, in OpenAI's form. ``retry_after="1"`` sets ``Retry-After``."""

    def act(handler: Handler, _: dict[str, Any]) -> None:
        body = {"error": {"message": message, "type": error or "server_error", "code": error or None}}
        names = {name.replace("_", "-").title(): value for name, value in headers.items()}
        handler.send_json(code, body, names)

    return act


def says(text: str | None, **choice: Any) -> Act:
    """A completion with that text."""

    def act(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_json(200, completion(text, str(body["model"]), **choice))

    return act


def sends(data: bytes, kind: str = "application/json") -> Act:
    """Status 200 with that body."""

    def act(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_bytes(200, data, kind)

    return act


def resets(handler: Handler, _: dict[str, Any]) -> None:
    """The connection is reset before any answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def stalls(handler: Handler, _: dict[str, Any]) -> None:
    """Headers come, then one byte now and then: no read ever times out, and no answer ever ends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    owner: LoopbackServer = handler.server.owner
    while not owner.stopping.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def echoes_the_key(handler: Handler, _: dict[str, Any]) -> None:
    """A 401 whose message holds the key that was sent."""
    key = handler.headers.get("Authorization", "").removeprefix("Bearer ")
    handler.send_json(
        401, {"error": {"message": f"Incorrect API key provided: {key}", "code": "invalid_api_key"}}
    )


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(
        description="An OpenAI-compatible server that answers from proposal files."
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--replies", type=Path, required=True, help="folder of NN_name.md files")
    arguments = parser.parse_args()
    with LoopbackServer(arguments.replies, arguments.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
