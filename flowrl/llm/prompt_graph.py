"""The prompt graph: agentkit's ``Graph`` and ``SimpleDBNode``, asynchronous, strict, and loud when it fails.

Three things differ from agentkit's own evaluation: nodes are awaited, so that one event loop serves all;
a prompt with a missing or unused variable raises; and a node whose answers stay invalid raises
:class:`NodeFailed` (agentkit answers "N/A" then and goes on). Importing this module imports agentkit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agentkit import AfterQueryError, Graph, SimpleDBNode
from agentkit.after_query import BaseAfterQuery
from agentkit.compose_prompt import ComposePromptDB

from flowrl.llm.fitting import fit
from flowrl.llm.interface import Message
from flowrl.llm.prompts import fill, load_prompt
from flowrl.llm.session import Answer

ATTEMPTS = 3
_SHOWN = 2000

Ask = Callable[["PromptNode", Sequence[Message], Sequence[str]], Awaitable[Answer]]
"""Sends a node's conversation to the model of its role; the last argument says what was cut from it."""

Database = Callable[[int], tuple[str, Mapping[str, Mapping[str, str]], tuple[str, ...]]]
"""Level of shortening -> the system prompt, the variables of each node, and what was cut."""


class NodeFailed(Exception):
    """A node's answers stayed invalid. ``error`` is what the model was told last."""

    def __init__(self, node: str, error: str) -> None:
        self.node = node
        self.error = error
        super().__init__(f"{node}: {error}")


class StrictPrompt(ComposePromptDB):
    """Composes a node's conversation: system prompt, the dependencies' questions and answers, the question.

    Question and answer alternate and only the first message is a system message: many chat templates take
    nothing else.
    """

    def compose_at(self, level: int) -> tuple[list[Message], tuple[str, ...]]:
        """The conversation after that many cuts, and what was cut."""
        system, variables, cuts = self.node.db(level)
        messages = [Message("system", system)]
        for dependency in self.node.get_dependencies():
            messages += [
                Message("user", fill(dependency.prompt, variables[dependency.key], dependency.key)),
                Message("assistant", dependency.result),
            ]
        messages.append(Message("user", fill(self.node.prompt, variables[self.node.key], self.node.key)))
        return messages, cuts


class PromptNode(SimpleDBNode):
    """One question to one role, whose answer an after-query must accept.

    Args:
        key: name of the node and of its prompt file.
        role: whose model answers.
        graph: the graph it belongs to.
        ask: sends a conversation.
        database: what prompts are filled with.
        after_query: accepts an answer, or says what is wrong with it.
        limit: tokens that the conversation may have; None when unknown.
    """

    def __init__(
        self,
        key: str,
        role: str,
        graph: Graph,
        ask: Ask,
        database: Database,
        after_query: BaseAfterQuery,
        limit: int | None,
    ) -> None:
        super().__init__(key, load_prompt(key), graph, ask, StrictPrompt(), database, after_query, _feedback)
        self.role = role
        self.answers: list[Answer] = []
        self._limit = limit

    async def evaluate(self) -> str:
        """Asks until the after-query accepts the answer, at most :data:`ATTEMPTS` times.

        Raises:
            NodeFailed: it never did.
        """
        conversation, cuts = fit(self._compose_prompt.compose_at, self._limit)
        messages = conversation
        for _ in range(ATTEMPTS):
            answer = await self.query_llm(self, messages, cuts)
            self.answers.append(answer)
            self.result = answer.reply.text
            try:
                self._after_query()
            except AfterQueryError as error:
                messages = self._add_error_msg(conversation, self.result, _explain(error.error, answer))
            else:
                return str(self.result)
        raise NodeFailed(self.key, messages[-1].content)


class PromptGraph(Graph):
    """A graph whose nodes are awaited in topological order."""

    async def evaluate(self) -> dict[str, Any]:
        """Evaluates every node after those that it depends on; returns node -> answer."""
        self.history: dict[str, Any] = {}
        waiting = list(self.nodes)
        while waiting:
            ready = [
                key
                for key in waiting
                if all(node.key in self.history for node in self.nodes[key].get_dependencies_inc_order())
            ]
            if not ready:
                raise ValueError(f"the prompt graph has a cycle among {waiting}")
            self.history[ready[0]] = await self.nodes[ready[0]].evaluate()
            waiting.remove(ready[0])
        return dict(self.history)


def _feedback(conversation: list[Message], answer: str, error: str) -> list[Message]:
    """The conversation, the refused answer and what is wrong with it. Earlier refusals are not piled up."""
    shown = answer if len(answer) <= _SHOWN else answer[:_SHOWN] + "\n[...]"
    return [*conversation, Message("assistant", shown or "(nothing)"), Message("user", error)]


def _explain(error: str, answer: Answer) -> str:
    if answer.reply.finish_reason != "length":
        return f"{error} Answer again, in the form that was asked for."
    tokens = answer.reply.usage.completion_tokens
    after = f" after {tokens} tokens" if tokens else ""
    return (
        f"Your answer was cut off{after}: {error} Answer again, in the form that was asked for, and briefly."
    )
