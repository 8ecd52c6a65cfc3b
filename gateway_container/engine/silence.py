"""Streams that are connected and silent: heartbeats alone do not prove that nothing is missing (R-057).

An order that works at the broker and of which nothing was heard for five seconds is asked for: one read of its account,
and the next one only after it was quiet for much longer, because the login's budget is for orders.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import AccountSnapshot
from kopitra.domain.orders import ChildOrder
from kopitra.domain.orders import State as OrderState
from kopitra.ports import BrokerSession

#: seconds of silence about a working order after which its account is read; the last one repeats
ASK_AFTER_S: Final = (5.0, 30.0, 120.0)
#: seconds between two looks
LOOK_EVERY_S: Final = 1.0
#: requests of the polls' share that must be left for a read
POLL_REQUESTS: Final = 6
#: how far back a read asks for executions
LOOK_BACK: Final = timedelta(hours=1)
_NS: Final = 1_000_000_000
_AT_BROKER: Final[frozenset[OrderState]] = frozenset({"acked", "working", "partial"})


@dataclass(slots=True)
class _Heard:
    """What was last known of an order, since when, and how often it was asked for meanwhile."""

    state: OrderState
    cum_qty: Decimal
    since_ns: int
    asked: int = 0


class Silence:
    """Keeps one note per working order: bounded by the open orders."""

    def __init__(self) -> None:
        self._notes: dict[str, _Heard] = {}

    def due(self, children: Iterable[ChildOrder], now_ns: int) -> list[str]:
        """Accounts to read now, in the order in which they were met."""
        notes: dict[str, _Heard] = {}
        accounts: dict[str, None] = {}
        for child in children:
            if child.state not in _AT_BROKER:
                continue
            name = child.intent.cl_ord_id
            note = self._notes.get(name)
            if note is None or (note.state, note.cum_qty) != (child.state, child.cum_qty):
                note = _Heard(child.state, child.cum_qty, now_ns)
            notes[name] = note
            wait_s = ASK_AFTER_S[min(note.asked, len(ASK_AFTER_S) - 1)]
            if now_ns - note.since_ns >= wait_s * _NS:
                accounts[child.intent.account_id] = None
        self._notes = notes
        return list(accounts)

    def asked(self, children: Iterable[ChildOrder], account_id: str, now_ns: int) -> None:
        """The account is being read: all its orders are asked for with it."""
        for child in children:
            note = self._notes.get(child.intent.cl_ord_id)
            if note is not None and child.intent.account_id == account_id:
                note.asked += 1
                note.since_ns = now_ns


class SilenceWatch:
    """`run` is the task's body."""

    def __init__(self, state: State, sessions: Sessions, sink: Callable[[AccountSnapshot], None]) -> None:
        self._state = state
        self._sessions = sessions
        self._sink = sink
        self._silence = Silence()
        #: takes the failure of one account
        self.failed: Failed = uncontained
        self._reads: dict[str, asyncio.Task[None]] = {}  # bounded: one per account

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                self._round()
        finally:
            for task in self._reads.values():
                task.cancel()

    def _round(self) -> None:
        now_ns = self._state.clock.monotonic_ns()
        children = [c for found in self._state.book.open.values() for c in found.values()]
        for account_id in self._silence.due(children, now_ns):
            session = self._sessions.of(account_id)
            if account_id in self._reads or session is None or not _has_room(session):
                continue  # it stays due
            self._silence.asked(children, account_id, now_ns)
            task = asyncio.get_running_loop().create_task(self._read(account_id, session))
            self._reads[account_id] = task
            task.add_done_callback(lambda _done, name=account_id: self._reads.pop(name, None))

    async def _read(self, account_id: str, session: BrokerSession) -> None:
        since = self._state.clock.now() - LOOK_BACK
        try:
            snapshot = await session.snapshot(account_id, since, lane="status")
        except (KopitraError, OSError, TimeoutError, KeyError):
            return  # a failed read is no evidence; the next round asks again
        try:
            self._sink(snapshot)
        except Exception as error:  # noqa: BLE001 - one account's answer
            self.failed(account_id, "taking what its silent broker showed", error)


def _has_room(session: BrokerSession) -> bool:
    return session.state == "live" and session.forecast().polls >= POLL_REQUESTS
