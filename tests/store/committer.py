"""A run in miniature, to be killed: opens a graph and commits, journals, fails and rewinds without end.

Before each change it says what it will be, after it what it was, so that the test knows what the disk may
hold. Usage: ``python committer.py GRAPH_PATH``.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from samples import WORLD, commit

from flowrl.skills.graph import Failure
from flowrl.store.graph_store import GraphStore


def say(word: str, names: tuple[str, ...]) -> None:
    print(word, ",".join(names), flush=True)


def main(path: Path) -> None:
    print("opening", flush=True)
    with GraphStore.open(path, WORLD) as store:
        say("is", store.graph.names)
        for serial in itertools.count():
            names = store.graph.names
            if len(names) >= 8:
                say("will", names[:2])
                store.rewind(2)
            elif serial % 3 == 0:
                say("will", names)
                store.record_failure(Failure("refused", "train", "weak"), "reply", [{"x": 1}])
            else:
                name = f"skill_{time.time_ns()}"
                say("will", (*names, name))
                commit(store, name, states=bool(serial % 2))
            say("is", store.graph.names)
            store.journal.append("committed", {"names": store.graph.names, "padding": "x" * 2000})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
