"""Several proposals at a time: who is being asked, who waits for a skill in training, and what came of whom.

A model may think for minutes; training goes on meanwhile. So conversations run in threads of their own, and
what comes of them is handed over in the thread that asks :meth:`ProposalDesk.take`. A source that answers out
of files is asked in the caller's own thread: the same seed then gives the same proposals in the same order.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flowrl.codegen.transitions import ProbeBank
from flowrl.errors import ProviderError
from flowrl.pipeline.conversation import (
    Abandoned,
    Conversation,
    FeasibleSkill,
    GivenUp,
    Surroundings,
    Waiting,
)
from flowrl.pipeline.novelty import check_new
from flowrl.pipeline.prepare import plan_for
from flowrl.pipeline.proposal_context import context_of
from flowrl.pipeline.refine import Refined, heard
from flowrl.skills.operator import Operator
from flowrl.skills.plan import Plan

CLOSE_S = 5.0
"""Seconds that ending a run waits for checks under way; models are not waited for."""

Proposed = FeasibleSkill | GivenUp | ProviderError
"""What can come of asking for a proposal."""


@dataclass(frozen=True)
class Analysed:
    """What came of showing a trained skill to the analyst.

    Attributes:
        id: of the conversation that proposed the skill.
        refined: with what was believed of the answer.
        error: what went wrong in this program, to be raised.
    """

    id: int
    refined: Refined
    error: BaseException | None = None


@dataclass(frozen=True)
class _Analysis:
    """An analyst at work; has what :class:`Conversation` has for the desk."""

    id: int
    with_model: bool = True


class ProposalDesk:
    """Asks for proposals and keeps those that wait. All methods belong to one thread.

    The analyst, where there is one, is asked in the same way.

    A conversation is *asked* while it runs, *waiting* while its plan needs a skill that others are at, and
    over once :meth:`take` has returned what came of it. A feasible skill stays claimed until :meth:`settled`.

    Args:
        around: what the conversations share.
        seed: of the run.
    """

    def __init__(self, around: Surroundings, seed: int) -> None:
        self._around = around
        self._seed = seed
        self._ids = itertools.count()
        self._asked: dict[int, tuple[Conversation, int]] = {}
        self._waiting: dict[int, tuple[Conversation, int, Waiting]] = {}
        self._analysing: set[int] = set()
        self._changes = 0
        self._threads: list[tuple[threading.Thread, Conversation | _Analysis]] = []
        self._news: queue.SimpleQueue[tuple[Conversation, object] | Analysed | None] = queue.SimpleQueue()

    @property
    def asked(self) -> int:
        """Proposals that are being asked for or checked."""
        return len(self._asked)

    @property
    def analysing(self) -> int:
        """Trained skills that the analyst is at."""
        return len(self._analysing)

    @property
    def waiting(self) -> int:
        """Proposals that wait for skills in training."""
        return len(self._waiting)

    @property
    def may_ask(self) -> bool:
        """Whether it is known what everybody is at, so that the next can be told."""
        return all(conversation.chose for conversation, _ in self._asked.values())

    def ask(self, bank: ProbeBank) -> None:
        """Asks for another proposal; :meth:`take` returns what comes of it.

        Args:
            bank: what it is probed with.
        """
        around = self._around
        context = context_of(around.graph(), around.claims.names, around.world, self._seed)
        self._run(Conversation(next(self._ids), around, context, bank, lambda: self._news.put(None)))

    @property
    def has_analyst(self) -> bool:
        """Whether there is a model to show trajectories to."""
        return self._around.source.reads_trajectories

    def analyse(self, id: int, skill: str, refined: Refined) -> None:
        """Shows the analyst a trained skill; :meth:`take` returns what comes of it."""
        around = self._around
        context = context_of(around.graph(), around.claims.names, around.world, self._seed)
        self._analysing.add(id)

        def work() -> None:
            try:
                ask = partial(around.source.analyse, context, skill)
                result = Analysed(id, heard(refined, ask, around.world))
            except BaseException as error:  # raised again where the result is taken
                result = Analysed(id, refined, error)
            self._news.put(result)

        self._begin(work, _Analysis(id))

    def correct(self, id: int, name: str, operator: Operator) -> Plan:
        """Claims a skill anew with its corrected operator, and plans anew.

        Raises:
            ProposalRefused: stage ``novelty`` or ``plan``; corrected, it is nothing new, or out of reach.
        """
        around = self._around
        around.claims.claim(
            id, name, operator,
            lambda others: check_new(name, operator, around.graph(), others, around.world),
        )  # fmt: skip
        self._changes += 1
        return plan_for(name, operator, around.graph().operators, around.world)

    def settled(self, id: int) -> None:
        """A skill has joined the graph, or never will: its claim ends, and who waits may plan anew."""
        self._around.claims.release(id)
        self._changes += 1

    def resume(self) -> bool:
        """Lets those plan anew that have waited since before something became known or settled.

        Returns:
            Whether there were any.
        """
        since = [id for id, (_, changes, _) in self._waiting.items() if changes != self._changes]
        for id in since:
            self._run(self._waiting.pop(id)[0])
        return bool(since)

    def take(self, wait: bool = False) -> list[Proposed | Analysed]:
        """What has come of conversations and of analyses since.

        Args:
            wait: whether to wait for the next news, of which nothing may have come yet.
        """
        results: list[Proposed | Analysed] = []
        while wait or not self._news.empty():
            wait = False
            news = self._news.get()
            if news is None:
                continue
            if isinstance(news, Analysed):
                self._analysing.discard(news.id)
                if news.error is not None:
                    raise news.error
                results.append(news)
                continue
            conversation, result = news
            _, changes = self._asked.pop(conversation.id)
            if isinstance(result, Waiting):
                self._waiting[conversation.id] = (conversation, changes, result)
                # What it does is known from now on: others may have waited for that.
                self._changes += not result.again
                continue
            if isinstance(result, FeasibleSkill):
                self._changes += 1
            else:
                self.settled(conversation.id)
            if isinstance(result, FeasibleSkill | GivenUp | ProviderError):
                results.append(result)
            elif isinstance(result, BaseException):
                raise result
        return results

    def give_up_waiting(self) -> GivenUp:
        """Ends the oldest of those that wait, when there is nothing left to wait for."""
        id, (conversation, _, waiting) = next(iter(self._waiting.items()))
        del self._waiting[id]
        self.settled(id)
        return conversation.give_up(waiting)

    def close(self) -> None:
        """Abandons every conversation. Checks are waited for, models are not. Harmless when called twice."""
        self._around.closed.set()
        for thread, conversation in self._threads:
            if not conversation.with_model:
                thread.join(CLOSE_S)

    def _run(self, conversation: Conversation) -> None:
        self._asked[conversation.id] = (conversation, self._changes)
        self._begin(partial(self._converse, conversation), conversation)

    def _begin(self, work: Callable[[], None], whose: Conversation | _Analysis) -> None:
        if self._around.source.answers_at_once:
            work()
            return
        # Daemons: an interrupted program never waits for a model.
        thread = threading.Thread(target=work, name=f"flowrl-proposal-{whose.id}", daemon=True)
        self._threads = [(t, c) for t, c in self._threads if t.is_alive()]
        self._threads.append((thread, whose))
        thread.start()

    def _converse(self, conversation: Conversation) -> None:
        try:
            result: object = conversation.run()
        except Abandoned:
            return
        except BaseException as error:  # raised again where the result is taken
            result = error
        self._news.put((conversation, result))
