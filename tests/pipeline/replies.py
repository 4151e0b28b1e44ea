"""What a model would write for the toy world, right and wrong, and a source that serves it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowrl.errors import ProposalRefused
from flowrl.llm.errors import NothingToPropose
from flowrl.llm.proposer import Chosen, ProposalContext, ProposedReply


def reply(name: str, done: str, reward: str, **keys: Any) -> str:
    """A reply in the asked format, from two expressions."""
    operator = {"name": name, "description": "Toy.", "requires": {}, "consumes": {}, "max_steps": 40} | keys
    return (
        f"Here is a skill.\n\n```json\n{json.dumps(operator)}\n```\n\n```python\n"
        f"def is_done(start, prev, now, n):\n    return {done}\n\n\n"
        f"def reward(start, prev, now, n):\n    return {reward}\n```\n"
    )


WOOD = reply(
    "collect_wood",
    "now.inventory.wood >= jnp.minimum(start.inventory.wood + n, 9)",
    "1.0 * (now.inventory.wood - prev.inventory.wood) + 0.1 * (prev.tree.distance - now.tree.distance)",
    gains={"inventory:wood": "1*n", "achievement:gather": 1},
)
TABLE = reply(
    "place_table",
    "now.near.table & (now.inventory.wood < start.inventory.wood)",
    "1.0 * (now.near.table & (now.inventory.wood < start.inventory.wood))",
    consumes={"inventory:wood": 1},
    gains={"near:table": 1, "achievement:build": 1},
)
PICKAXE = reply(
    "make_pickaxe",
    "now.inventory.pickaxe >= start.inventory.pickaxe + n",
    "1.0 * (now.inventory.pickaxe - prev.inventory.pickaxe)",
    requires={"near:table": 1},
    consumes={"inventory:wood": "1*n"},
    gains={"inventory:pickaxe": "1*n", "achievement:craft": 1},
)
GOOD = (WOOD, TABLE, PICKAXE)

NO_BLOCKS = "I would collect wood first."
UNKNOWN_FACT = WOOD.replace("inventory:wood", "inventory:wod")
FORBIDDEN = WOOD.replace(
    "    return now.inventory.wood >=", "    import os\n    return now.inventory.wood >="
)
NO_SUCH_FIELD = WOOD.replace("now.inventory.wood - prev", "now.inventory.gold - prev")
UNTRACEABLE = WOOD.replace("1.0 * (now", "jnp.stack([0.0, 1.0]) * (now")
DONE_AT_START = reply(
    "collect_wood",
    "now.inventory.wood >= 0",
    "1.0 * (now.inventory.wood - prev.inventory.wood)",
    gains={"inventory:wood": 1},
)
DIAMOND = reply(
    "collect_diamond",
    "now.inventory.diamond > start.inventory.diamond",
    "1.0 * (now.inventory.diamond - prev.inventory.diamond)",
    gains={"inventory:diamond": 1},
)
"""Honest, and impossible to learn: there is none."""

LIE = reply(
    "claim_diamond",
    "(now.inventory.wood > start.inventory.wood) | (now.inventory.diamond > start.inventory.diamond)",
    "1.0 * (now.inventory.wood - prev.inventory.wood + now.inventory.diamond - prev.inventory.diamond)",
    gains={"inventory:diamond": 1},
)
"""Its ``is_done`` is true of wood; the declared diamond never comes."""

WINDOW = reply(
    "make_window",
    "now.inventory.diamond > start.inventory.diamond",
    "1.0 * (now.inventory.diamond - prev.inventory.diamond)",
    requires={"inventory:glass": 1},
    consumes={"inventory:wood": 1},
    gains={"inventory:diamond": 1},
)
"""Plans say that wood and glass can be had together; in the world gathering wood breaks the glass."""

MORE_WOOD = reply(
    "gather_more",
    "now.inventory.wood >= start.inventory.wood + 1",
    "1.0 * (now.inventory.wood - prev.inventory.wood)",
    gains={"inventory:wood": 1},
)
"""Right in itself, and nothing new next to ``collect_wood``."""


FLAG_ONLY = reply(
    "gather_once",
    "now.achievements.gather",
    "1.0 * (now.inventory.wood - prev.inventory.wood) + 0.1 * (prev.tree.distance - now.tree.distance)",
    gains={"achievement:gather": 1},
)
WOOD_ONLY = WOOD.replace(', "achievement:gather": 1', "")
"""With ``FLAG_ONLY``: two skills that need nothing and gain different things."""


def name_of(text: str) -> str:
    """The skill's name, or the text itself where a reply holds none."""
    try:
        return str(_operator(text)["name"])
    except (IndexError, ValueError):
        return text


def _operator(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.split("```json")[1].split("```")[0])
    return found


class ScriptedSource:
    """Serves replies in order, as the playbook does: what is taken is passed over, what needs more waits.

    Args:
        script: proposals; each one reply, or a reply and its repairs (the last is served over again).
        asks: raised in place of the proposal with this number, counted from 0.
        patient: whether what needs more than can be reached lets the others go first.
    """

    def __init__(
        self,
        script: Sequence[str | Sequence[str]],
        asks: Mapping[int, BaseException] | None = None,
        patient: bool = True,
    ) -> None:
        self._patient = patient
        self._script = [[entry] if isinstance(entry, str) else list(entry) for entry in script]
        self._asks = dict(asks or {})
        self._served: set[int] = set()
        self._current: list[str] = []
        self.contexts: list[ProposalContext] = []
        self.refusals: list[tuple[str, ProposalRefused, int]] = []

    def __enter__(self) -> ScriptedSource:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    answers_at_once = True
    reads_trajectories = False

    def propose(self, context: ProposalContext, chosen: Chosen = lambda _: None) -> ProposedReply:  # noqa: ARG002
        """The first entry that is neither served, taken nor out of reach."""
        number = len(self.contexts)
        self.contexts.append(context)
        if number in self._asks:
            raise self._asks[number]
        left = [
            (index, replies)
            for index, replies in enumerate(self._script)
            if index not in self._served and name_of(replies[0]) not in context.taken
        ]
        reach = set(context.frontier)
        near = [
            (index, replies) for index, replies in left if not self._patient or _needs(replies[0]) <= reach
        ]
        if not left or (not near and context.in_training):
            raise NothingToPropose("The script has nothing left.", waiting=bool(context.in_training))
        index, self._current = (near or left)[0]
        self._served.add(index)
        return _proposed(self._current[0], "proposer")

    def repair(
        self, context: ProposalContext, reply_text: str, refusal: ProposalRefused, attempt: int
    ) -> ProposedReply:
        """The entry's next reply."""
        assert context is self.contexts[-1]
        self.refusals.append((reply_text, refusal, attempt))
        return _proposed(self._current[min(attempt, len(self._current) - 1)], "repairer")


class ThinkingSource:
    """A model that takes its time: it says at once what it chose, and is asked by several at a time.

    Args:
        script: replies, in the order in which they are asked for. Repairs change nothing.
        think: is called with the number of the proposal, counted from 0, before its reply is given.
    """

    answers_at_once = False
    reads_trajectories = False

    def __init__(self, script: Sequence[str], think: Callable[[int], object] = lambda _: None) -> None:
        self._script = script
        self._think = think
        self._lock = threading.Lock()
        self.contexts: list[ProposalContext] = []
        self.refusals: list[tuple[str, ProposalRefused, int]] = []

    def __enter__(self) -> ThinkingSource:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def propose(self, context: ProposalContext, chosen: Chosen) -> ProposedReply:
        """The next of the script."""
        with self._lock:
            number = len(self.contexts)
            self.contexts.append(context)
        if number >= len(self._script):
            raise NothingToPropose("The script has nothing left.", waiting=bool(context.in_training))
        text = self._script[number]
        chosen(name_of(text))
        self._think(number)
        return _proposed(text, "proposer")

    def repair(
        self, context: ProposalContext, reply_text: str, refusal: ProposalRefused, attempt: int
    ) -> ProposedReply:
        """The same again."""
        assert context in self.contexts
        self.refusals.append((reply_text, refusal, attempt))
        return _proposed(reply_text, "repairer")


def _proposed(text: str, role: str) -> ProposedReply:
    return ProposedReply(text, (), {role: "script"})


def _needs(text: str) -> set[str]:
    try:
        operator = _operator(text)
    except (IndexError, ValueError):
        return set()
    return {*operator["requires"], *operator["consumes"]}
