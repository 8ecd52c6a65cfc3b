"""Carrying out what follows from a report: first durable, then sent; where the journal is away, by the exit file.

What could not be made durable at all is worked out anew once the journal takes decisions again.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.state import State
from kopitra.domain.errors import QueueFull, StoreError
from kopitra.domain.journal import FollowUp, OrderNotSent
from kopitra.domain.lateness import is_stale
from kopitra.domain.react import overdue, react
from kopitra.store.drafts import Committed

#: children whose follow-up waits for the journal
UNFOLLOWED_MAX: Final = 10_000
#: seconds between looks whether the journal takes decisions again
RETRY_S: Final = 0.25


class Alert(Protocol):
    """Tells people."""

    def __call__(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None: ...


class Following:
    """Owns what waits for the journal."""

    def __init__(self, state: State, log: Log, fanout: Fanout, alert: Alert) -> None:
        self._state = state
        self._log = log
        self._fanout = fanout
        self._alert = alert
        #: children whose follow-up is not durable yet
        self._unfollowed: dict[str, None] = {}
        self._again: asyncio.TimerHandle | None = None

    def follow(self, follow: FollowUp, received_ns: int = 0) -> None:
        """Make durable what follows, then send it."""
        now_ns = decided_ns = self._state.clock.monotonic_ns()
        if not follow.only_shrinks:
            follow, received_ns = self._in_time(follow, received_ns)
            decided_ns = (
                received_ns or now_ns
            )  # its signal decided it: what stopped it since still does (I-06)
        if follow.is_empty:
            return
        stamp = Stamp(received_ns or now_ns, decided_ns, 0)
        try:
            future = self._log.decide(self._state.workspace_of(follow.account_id), follow)
        except (StoreError, QueueFull):
            self._follow_locally(follow, stamp, folded=False)
            return
        places = self._fanout.encode(follow.released, stamp)

        def committed(done: asyncio.Future[Committed]) -> None:
            if done.cancelled():
                return
            if done.exception() is not None:
                self._follow_locally(follow, stamp, folded=True)
                return
            self._leave(follow, places)

        future.add_done_callback(committed)

    def _in_time(self, follow: FollowUp, received_ns: int) -> tuple[FollowUp, int]:
        """An entry that a close lets go is judged once more: one that is too old is told so and does not leave (R-068).
        Another has what is left of its time since its signal was accepted, not since the report (R-048, R-049)."""
        state, late = self._state, set[str]()
        now = state.clock.now()
        for intent in follow.released:
            held = state.book.orders.get(intent.cl_ord_id)
            if intent.role != "entry" or held is None or held.state != "planned":
                continue
            rules, ahead_ms = state.config.rules_for(intent.leader), state.senders.ahead_ms(intent.leader)
            if is_stale(held, rules, now, ahead_ms):
                late.add(intent.cl_ord_id)
                detail = "it waited for a close, and is too old now"
                entry = OrderNotSent(intent.cl_ord_id, intent.account_id, "too_old", detail)
                self._log.note(state.workspace_of(intent.account_id), entry)
            elif held.accepted_at is not None:
                waited_ns = (now - held.accepted_at) // timedelta(microseconds=1) * 1_000
                received_ns = max(1, state.clock.monotonic_ns() - max(0, waited_ns))
        if late:
            follow = replace(follow, released=tuple(i for i in follow.released if i.cl_ord_id not in late))
        return follow, received_ns

    def _leave(self, follow: FollowUp, places: list[Place]) -> None:
        if any(intent.cl_ord_id == follow.renewed for intent in follow.released):
            self._fanout.once_more(follow.renewed)
        self._fanout.dispatch(places, self._state.clock.monotonic_ns())
        for request in (*follow.cancels, *follow.replaces):
            self._fanout.requests.send(self._state.book.orders.get(request.orig_cl_ord_id))

    def _follow_locally(self, follow: FollowUp, stamp: Stamp, *, folded: bool) -> None:
        """The journal is away: the local exit file makes durable what follows (R-072), or it waits."""
        account_id = follow.account_id
        if not follow.only_shrinks or not self._fanout.look.may_exit(account_id):
            self._react_later(follow.cause)
            return
        try:
            written = self._log.locally(self._state.workspace_of(account_id), follow, folded=folded)
        except (StoreError, QueueFull) as error:
            self._alert("follow-up-not-durable", f"{error.message} {follow.cause} waits.", account_id)
            self._react_later(follow.cause)
            return
        places = self._fanout.encode(follow.released, stamp)

        def kept(done: asyncio.Future[bool]) -> None:
            if done.cancelled():
                return
            if done.result():
                self._leave(follow, places)
                return
            self._alert("exit-file-failed", f"the disk refused; {follow.cause} waits", account_id)
            for intent in follow.released:
                detail = "neither the database nor the local exit file could take it"
                entry = OrderNotSent(intent.cl_ord_id, account_id, "not_durable", detail)
                self._log.note(self._state.workspace_of(account_id), entry)
            self._react_later(follow.cause)

        written.add_done_callback(kept)

    def _react_later(self, cause: str) -> None:
        """What follows could not be made durable: worked out anew once the journal takes decisions."""
        if len(self._unfollowed) < UNFOLLOWED_MAX:
            self._unfollowed[cause] = None
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._react_again)

    def _react_again(self) -> None:
        self._again = None
        if not self._log.takes_decisions:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._react_again)
            return
        waiting, self._unfollowed = self._unfollowed, {}
        for cause in waiting:
            order = self._state.book.orders.get(cause)
            if order is not None:
                held = order.state == "planned"
                self.follow((overdue if held else react)(self._state.book, order), 0)

    def stop(self) -> None:
        """Forget the timer."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
