"""``--llm_name replay_<graph path>``: the recorded replies of an earlier run, matched by request.

A reply is found by what was asked, word for word. Where the words differ (a success rate that training
measured otherwise on another machine), the reply to the same node of the same index, attempt and turn serves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowrl.errors import FatalProviderError
from flowrl.llm.errors import NothingToPropose
from flowrl.llm.interface import CompletionSettings, Message, Reply, Task, Usage
from flowrl.llm.recorder import read_records, request_hash


class ReplayModel:
    """Serves recorded replies; each once, in the order in which they were given.

    Args:
        name: as the user typed it.
        graph_path: of the recorded run.

    Raises:
        FatalProviderError: nothing is recorded there.
        GraphError: a recorded call does not parse.
    """

    def __init__(self, name: str, graph_path: Path) -> None:
        self.name = name
        self._folder = graph_path / "llm"
        records = [record for record in read_records(self._folder) if record.get("reply")]
        if not records:
            raise FatalProviderError(f"There are no recorded replies in {str(self._folder)!r} to replay.")
        self._by_hash: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._by_place: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
        for record in records:
            task = record["task"]
            self._by_hash[record["request_hash"]].append(record)
            place = (task["node"], task["index"], task["attempt"], _turn(record["messages"]))
            self._by_place[place].append(record)
        self._served: set[str] = set()

    async def start(self) -> None:
        """Nothing to start."""

    async def complete(self, messages: Sequence[Message], settings: CompletionSettings) -> Reply:
        """The recorded reply to this request."""
        task = settings.task or Task("", "")
        same_words = self._by_hash.get(request_hash(task.node, messages), [])
        same_place = self._by_place.get((task.node, task.index, task.attempt, _turn(messages)), [])
        # A request that comes again after all its replies were served gets its last one again.
        candidates = [*self._unserved(same_words), *same_words[-1:], *self._unserved(same_place)]
        if not candidates:
            message = f"{str(self._folder)!r} holds no reply for node {task.node!r} of index {task.index}"
            if task.node == "skill":
                raise NothingToPropose(
                    f"{message}: the recording ends here. Go on with a model: --llm_name NAME."
                )
            raise FatalProviderError(
                f"{message}, attempt {task.attempt}: this run went another way than the recorded one."
            )
        record = candidates[0]
        self._served.add(record["id"])
        reply = record["reply"]
        # Nothing was generated, so nothing was used.
        return Reply(reply["text"], Usage(0, 0), reply["model"], reply["finish_reason"], 0.0)

    async def close(self) -> None:
        """Nothing to end."""

    def _unserved(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [record for record in records if record["id"] not in self._served]


def _turn(messages: Sequence[Any]) -> int:
    """How many messages there are: tells a first question from one asked again."""
    return len(messages)
