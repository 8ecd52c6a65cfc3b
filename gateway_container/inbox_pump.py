"""The holder's side of the inbox: what other replicas took in is planned here, in order, each row once (R-027).

A row is acted upon before it is marked. Whoever crashes between the two leaves a row whose signal the journal knows:
its second plan is refused by the journal, and the row is marked then.
"""

import asyncio
from typing import Final, NamedTuple

import structlog

from gateway_container.engine.callbacks import Callbacks
from gateway_container.engine.intake import Intake, Pending
from gateway_container.engine.machine import Machine
from kopitra.domain.errors import KopitraError, LeaseLost, QueueFull, Unavailable
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.overtaking import is_late
from kopitra.domain.signals import Signal
from kopitra.store.drafts import Committed, Duplicate, SignalRef
from kopitra.store.encoding import Decoder
from kopitra.store.inbox import InboxRow, Outcome, answers, purge_inbox, settle, waiting
from kopitra.store.pool import Database
from kopitra.store.wakes import INBOX, Wakes

#: seconds between two looks while other replicas live, and while there are none who could fill the inbox
POLL_S: Final = 0.05
ALONE_S: Final = 1.0
#: seconds between two purges
PURGE_EVERY_S: Final = 600.0

_log = structlog.get_logger("kopitra.inbox")
_signal: Final = Decoder(Signal)
_report: Final = Decoder(ExecutionReport)


class _Taken(NamedTuple):
    row: InboxRow
    committed: asyncio.Future[Committed]
    done: str


class Pump:
    """`run` is the task's body."""

    def __init__(self, machine: Machine, db: Database) -> None:
        self._intake: Intake = machine.intake
        self._state = machine.state
        self._callbacks: Callbacks = machine.callbacks
        self._alert = machine.reports.alert
        self._clock = machine.supplies.clock
        self._shard = machine.identity.shard
        self._db = db
        self._wakes = Wakes(db.dsn, (INBOX,))
        self._purge_at_s = 0.0
        #: other replicas live, so there may be rows at any time
        self.in_company = True

    async def run(self) -> None:
        """Look until cancelled or until the shard is another's; an outage is waited out."""
        try:
            while True:
                await self._wakes.wait(POLL_S if self.in_company else ALONE_S)
                try:
                    await self.drain()
                    await self._purge()
                except LeaseLost:
                    return
                except (Unavailable, QueueFull) as error:
                    _log.warning("inbox_waits", error=error.message)
        finally:
            await self._wakes.close()

    async def drain(self) -> int:
        """Act on everything that waits; how many rows. Raises Unavailable, QueueFull or LeaseLost with rows left."""
        count = 0
        while rows := await waiting(self._db, self._shard):
            for record in await answers(self._db, [row.inbox_id for row in rows]):
                self._intake.learn(record)
            count += len(rows)
            await self._batch(rows)
        return count

    async def _batch(self, rows: list[InboxRow]) -> None:
        outcomes: list[Outcome] = []
        taken: list[_Taken] = []
        stopped: KopitraError | None = None
        for row in rows:
            try:
                taken.append(await self._take(row))
            except (Unavailable, LeaseLost, QueueFull) as error:
                stopped = error  # the others keep their place behind it
                break
            except Exception as error:  # noqa: BLE001 - one row must not stop those behind it
                outcomes.append(self._refused(row, error))
        stopped = await self._ends(taken, outcomes) or stopped
        if outcomes:
            await settle(self._db, outcomes)
        if stopped is not None:
            raise stopped

    async def _ends(self, taken: list[_Taken], outcomes: list[Outcome]) -> KopitraError | None:
        """Add how the commits ended; returns why some of them must be tried again."""
        if taken:
            await asyncio.wait([one.committed for one in taken])
        again: KopitraError | None = None
        for one in taken:
            error = one.committed.exception()
            if error is None:
                outcomes.append(Outcome(one.row.inbox_id, one.done))
            elif isinstance(error, Unavailable | LeaseLost):
                again = error
            else:
                outcomes.append(self._refused(one.row, error))
        return again

    async def _take(self, row: InboxRow) -> _Taken:
        if row.kind == "signal":
            signal = _signal(row.payload)
            if signal.sequence is not None:
                await self._intake.turn(signal)
            return _Taken(row, self._accept(signal).committed, "planned")
        report = _report(row.payload)._replace(received_ns=self._clock.monotonic_ns())
        recorded = self._callbacks.record(row.workspace, report.account_id, report, None)
        return _Taken(row, recorded.committed, "recorded")

    def _accept(self, signal: Signal) -> Pending:
        """What its leader's newer word has overtaken means nothing any more (I-10, R-031): the holder took that word
        itself while this one waited here.

        Raises Unavailable while a commit of the same signal is on its way: where the row holds the first answer to
        its call, that commit is refused, and the row is all that is left of the signal."""
        try:
            return self._intake.accept(signal, None, superseded=is_late(signal, self._state.book))
        except Duplicate as error:
            if isinstance(error.existing, SignalRef) and not error.existing.seq:
                raise Unavailable("The same signal is on its way into the journal: look again.") from error
            raise

    def _refused(self, row: InboxRow, error: BaseException) -> Outcome:
        """What its sender was not told any more becomes an alert; what is known already is no news."""
        if isinstance(error, Duplicate):
            return Outcome(row.inbox_id, "known")
        code, text = "internal-error", repr(error)
        if isinstance(error, KopitraError):
            code, text = error.code, error.message
        else:
            _log.error("inbox_row_failed", inbox_id=row.inbox_id, error=text)
        self._alert("queued-refused", f"{row.kind} {row.name}, taken by another replica: {text}", "")
        return Outcome(row.inbox_id, code)

    async def _purge(self) -> None:
        now_s = self._clock.monotonic_ns() / 1e9
        if now_s < self._purge_at_s:
            return
        async with self._db.session() as session:
            if await purge_inbox(session) == 0:
                self._purge_at_s = now_s + PURGE_EVERY_S
