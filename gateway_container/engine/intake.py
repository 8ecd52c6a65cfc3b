"""The intake: every door ends here with the same Signal.

`accept` runs in one turn of the loop: validity, decision, append, preparation of the bytes. Nothing leaves before
the append's future says durable; then the fan-out runs in the turn in which the commit is known.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.recovery import SIGNALS_MAX
from gateway_container.engine.state import State
from gateway_container.engine.turns import Turns
from gateway_container.engine.turnstile import Turnstile
from kopitra.domain.book import Book
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.errors import QueueFull, SignalRefused, Unavailable
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import SignalPlanned
from kopitra.domain.overtaking import goes_ahead, is_overtaken
from kopitra.domain.plan import no_news, plan
from kopitra.domain.reducing import OVERTAKEN, reducing
from kopitra.domain.signals import Signal, check_signal
from kopitra.store.drafts import Committed, Duplicate, IdempotencyDraft, IdempotencyRecord, SignalRef
from kopitra.store.idempotency import CACHED_RECORDS_MAX
from kopitra.store.shelf import Shelf

#: plans of failed commits that are remembered; nobody asks for them once the book was read again
UNCLEAR_MAX: Final = 1_000

#: the first answer to a request, made of the plan that its signal got
Answering = Callable[[FanoutPlan], IdempotencyDraft]


class Pending(NamedTuple):
    """An accepted signal whose commit is in flight."""

    plan: FanoutPlan
    committed: asyncio.Future[Committed]


class AnswerKey(NamedTuple):
    """Scope of an idempotency key (R-023)."""

    workspace: str
    principal: str
    endpoint: str
    key: str


@dataclass(slots=True, eq=False)
class _Outside:
    """A signal that waits for room."""

    signal: Signal
    #: its leader's exit was accepted meanwhile
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the composition root wants to hear; called on the loop, must be quick."""

    planned: Callable[[Signal, FanoutPlan, Stamp], None]
    dispatched: Callable[[FanoutPlan, Stamp, int], None]


class Intake:
    """Takes signals."""

    def __init__(self, state: State, log: Log, fanout: Fanout, hooks: Hooks, shelf: Shelf) -> None:
        self._state = state
        self._shelf = shelf
        self._log = log
        self._fanout = fanout
        self._hooks = hooks
        self._answers: OrderedDict[AnswerKey, IdempotencyRecord] = OrderedDict()
        self._running: set[AnswerKey] = set()
        self._turns = Turns(state)
        self._turnstile = Turnstile()
        #: who waits for room (bounded: WAITING_MAX of the turnstile)
        self._outside: list[_Outside] = []
        #: the last one that waited and came in
        self._came_in: Signal | None = None
        #: plans whose commit failed, with the book that holds them
        #: (bounded: UNCLEAR_MAX in _committed)
        self._unclear: dict[tuple[str, str], tuple[FanoutPlan, Book]] = {}
        #: set when the process is told to stop: no new signal is taken from then on
        self.closed = False
        #: signals that were planned, with their number (0 while the commit is in flight); oldest leave first
        self._planned: OrderedDict[tuple[str, str], int] = OrderedDict()

    def accept(
        self,
        signal: Signal,
        answer: Answering | None,
        received_ns: int | None = None,
        *,
        exits_only: bool = False,
        superseded: bool = False,
    ) -> Pending:
        """Decide and append. Raises SignalRefused (nothing changed), Unavailable, QueueFull or LeaseLost.

        `answer` makes the answer of the plan, to be journalled with it; None for signals that nobody waits for.
        `received_ns`: monotonic time at which the bytes were read, for the hop times.
        `exits_only`: it came too late to open anything. `superseded`: it came too late to mean anything at all.
        """
        if self.closed:
            raise Unavailable("The gateway is stopping: send the same again, another process takes it.")
        check_signal(signal)
        name = (signal.workspace, signal.signal_id)
        if name in self._planned:
            raise Duplicate("This signal was accepted before.", self._first(name))
        clock = self._state.clock
        started_ns = received_ns if received_ns is not None else clock.monotonic_ns()
        made = self.plan(signal, superseded=superseded)
        if exits_only:
            made = reducing(made, self._state.book, OVERTAKEN)
        stamp = Stamp(started_ns, clock.monotonic_ns(), 0)
        record = answer(made) if answer is not None else None
        future = self._log.decide(
            signal.workspace, SignalPlanned(signal, made), signal_id=signal.signal_id, record=record
        )
        self.planned(*name, 0)
        if signal.sequence is not None:
            self._turns.wake(signal.leader)
        if record is not None:
            self.remember(signal.workspace, record, future)
        places = self._fanout.prepare(made, stamp)
        self._turnstile.entered(len(made.legs))  # and out again by `_committed`, whatever becomes of it
        future.add_done_callback(lambda done: self._committed(done, name, made, places, stamp))
        self._hooks.planned(signal, made, stamp)
        if self._outside and signal is not self._came_in:  # else all of them came behind it
            for one in self._outside:
                one.overtaken = one.overtaken or is_overtaken(one.signal, signal, made)
        return Pending(made, future)

    def plan(self, signal: Signal, *, superseded: bool = False) -> FanoutPlan:
        """What every follower would do because of it, from the book as it is. Raises SignalRefused."""
        rules = self._rules(signal)
        now = self._state.clock.now()
        if signal.occurred_at > now:
            self._state.senders.from_the_future(signal.leader, signal.occurred_at - now)
        inputs = self._state.plan_inputs(signal.leader, rules, now)
        if superseded:
            return no_news(signal, rules, inputs, "superseded")
        return plan(signal, self._state.book, rules, inputs)

    def unclear(self, signal: Signal) -> FanoutPlan | None:
        """The plan of a signal whose commit failed, while the book still holds it (it is read again afterwards)."""
        made, book = self._unclear.get((signal.workspace, signal.signal_id), (None, None))
        return made if book is self._state.book else None

    async def turn(self, signal: Signal) -> None:
        """Wait for the signals that its sender numbered before it; half a second at most, exits never."""
        await self._turns.wait(signal)

    def must_wait(self, signal: Signal) -> bool:
        """It waits for `room` before it comes in: too much is being decided, and it closes nothing."""
        if not self._turnstile.crowded:
            return False
        return not goes_ahead(signal, self._state.book, [one.signal for one in self._outside])

    async def room(self, signal: Signal) -> None:
        """Wait until fewer signals are being decided, half a second at most. Raises QueueFull, or SignalRefused when
        its leader left meanwhile."""
        here = _Outside(signal)
        self._outside.append(here)
        try:
            await self._turnstile.wait()
        except QueueFull:
            if not here.overtaken:
                raise
        finally:
            self._outside.remove(here)
        if here.overtaken:
            raise SignalRefused(
                "The leader's exit came before this could be copied: nothing was opened.", code="superseded"
            )
        self._came_in = signal

    def _rules(self, signal: Signal) -> Sequence[CopyRule]:
        leader = self._state.config.leaders.get(signal.leader)
        if leader is None or leader.workspace != signal.workspace:
            raise SignalRefused(
                "This key's leader is not known here: create it with `kopitra leader create`.",
                code="unknown-leader",
            )
        return self._state.config.rules_for(signal.leader)

    def _committed(
        self,
        done: asyncio.Future[Committed],
        name: tuple[str, str],
        made: FanoutPlan,
        places: list[Place],
        stamp: Stamp,
    ) -> None:
        self._turnstile.left(len(made.legs))  # whoever waits is woken behind this turn of the loop
        if done.cancelled() or done.exception() is not None:
            self._planned.pop(name, None)
            if len(self._unclear) >= UNCLEAR_MAX:
                self._unclear.clear()
            self._unclear[name] = (made, self._state.book)
            return  # the log has asked for the book to be read again; nothing was and nothing will be sent
        durable_ns = self._state.clock.monotonic_ns()
        self._fanout.dispatch(places, durable_ns)
        book = self._state.book
        for leg in made.legs:
            for request in (*leg.cancels, *leg.replaces):
                self._fanout.requests.send(book.orders.get(request.orig_cl_ord_id))
        self._hooks.dispatched(made, stamp, durable_ns)
        if name in self._planned:
            self._planned[name] = done.result().seq

    def _first(self, name: tuple[str, str]) -> SignalRef:
        return SignalRef(*name, "", self._planned[name])

    def planned(self, workspace: str, signal_id: str, seq: int) -> None:
        """Remember a signal, so that its repetition costs nothing (the journal's own index is behind this)."""
        self._planned[workspace, signal_id] = seq
        if len(self._planned) > SIGNALS_MAX:
            self._planned.popitem(last=False)

    # idempotency -------------------------------------------------------------------------------------------

    def remember(self, workspace: str, record: IdempotencyDraft, future: asyncio.Future[Committed]) -> None:
        """The call is running; its answer is known from memory once it is durable."""
        key = AnswerKey(workspace, record.principal, record.endpoint, record.key)
        self._running.add(key)
        future.add_done_callback(lambda done: self._answered(key, record, done))

    def _answered(self, key: AnswerKey, record: IdempotencyDraft, done: asyncio.Future[Committed]) -> None:
        self._running.discard(key)
        if done.cancelled() or done.exception() is not None:
            return  # only what is durable is remembered
        committed = done.result()
        body = committed.answers[0]
        if body is not None:
            self.learn(IdempotencyRecord(*key, record.fingerprint, record.status, body, committed.rows[0].at))

    def learn(self, record: IdempotencyRecord) -> None:
        """Remember a first answer (also those read from the database at start)."""
        self._answers[AnswerKey(record.workspace, record.principal, record.endpoint, record.key)] = record
        if len(self._answers) > CACHED_RECORDS_MAX:
            self._answers.popitem(last=False)

    def first_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """The first answer to this key, from memory."""
        return self._answers.get(AnswerKey(workspace, principal, endpoint, key))

    async def stored_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """The first answer to this key, from the database. Raises Unavailable."""
        return await self._shelf.find_answer(workspace, principal, endpoint, key)

    def running(self, workspace: str, principal: str, endpoint: str, key: str) -> bool:
        """The first call with this key has not been answered yet."""
        return AnswerKey(workspace, principal, endpoint, key) in self._running
