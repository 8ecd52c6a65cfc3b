"""The journal's single writer: group commit, hash chain, fence.

`append` does not wait: it enqueues and returns a future. One statement is in flight at a time; whatever is
enqueued meanwhile shares the next one. What a failure means to the caller:

    LeaseLost     another process owns the shard; this writer never writes again
    Duplicate     the signal or the idempotency key exists; carries the first record; neighbours are not harmed
    Unavailable   not durable within COMMIT_WAIT_S. With code "commit-unknown" the facts may yet turn out to be
                  durable: then `on_orphaned` is told, and nobody else
    StoreError    PostgreSQL cannot hold this fact (NUL in a text, payload that is not JSON)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import psycopg

from kopitra.domain.errors import LeaseLost, StoreError, Unavailable
from kopitra.store.append_queue import AppendQueue, Fate, Pending
from kopitra.store.append_sql import Batch, number
from kopitra.store.drafts import Committed, Draft, Duplicate, Head, JournalRow
from kopitra.store.ending import ended
from kopitra.store.shelf import JournalLine, Reply, RowHash, Shelf, SqlError

#: seconds after which an append is told that the store is not there
COMMIT_WAIT_S: Final = 1.0
#: seconds before each attempt to reach the server again; the last one repeats
RECONNECT_S: Final = (0.0, 0.1, 0.25, 0.5, 1.0)
#: seconds that one attempt may take
_ATTEMPT_S: Final = 3.0

#: called on the event loop; must be quick and must not raise
OnRows = Callable[[Sequence[JournalRow]], None]


class _Flight(NamedTuple):
    """A batch on its way: for whom, and what was sent."""

    pendings: list[Pending]
    batch: Batch


def _place(row: JournalRow) -> RowHash:
    return RowHash(row.seq, row.hash)


def _ignore(_rows: Sequence[JournalRow]) -> None:
    """No listener."""


class JournalWriter:
    """Writes one shard's journal under one lease epoch. Made by `JournalWriter.open`."""

    def __init__(
        self, shelf: Shelf, shard: str, epoch: int, on_committed: OnRows, on_orphaned: OnRows
    ) -> None:
        self.shard = shard
        self.epoch = epoch
        self._shelf = shelf
        self._on_committed = on_committed
        self._on_orphaned = on_orphaned
        self._loop = asyncio.get_running_loop()
        self._queue = AppendQueue()
        self._head = Head()
        self._link: JournalLine | None = None
        self._flight: _Flight | None = None
        self._kicked = False
        self._refusal: StoreError | None = None  # why appends are refused now
        self._patience: asyncio.TimerHandle | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._explaining: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        shelf: Shelf,
        *,
        shard: str,
        epoch: int,
        on_committed: OnRows = _ignore,
        on_orphaned: OnRows = _ignore,
    ) -> "JournalWriter":
        """Connect straight to the server and find the head. Raises Unavailable, or LeaseLost for a stale
        epoch.

        `on_committed(rows)` sees every row in order, as soon as it is durable. `on_orphaned(rows)` sees those
        again whose owner was told otherwise: durable decisions that nobody acts upon.
        """
        writer = cls(shelf, shard, epoch, on_committed, on_orphaned)
        link = await writer._connect()
        try:
            await writer._check_epoch(link)
            writer._head = await link.head(shard)
        except BaseException:
            link.abandon()
            raise
        writer._link = link
        return writer

    @property
    def head(self) -> Head:
        """The last durable row."""
        return self._head

    @property
    def available(self) -> bool:
        """True while `append` takes facts."""
        return self._refusal is None

    @property
    def waiting_rows(self) -> int:
        """Facts that wait for the next commit."""
        return self._queue.rows

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[Committed]:
        """Enqueue facts that become durable together, in this order; never blocks.

        Raises LeaseLost, Unavailable (at once, while either is known) or QueueFull; else the future tells.
        The future cannot be cancelled: the facts are written all the same.
        """
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        if not drafts:
            raise ValueError("An append needs at least one draft.")
        future = Fate(loop=self._loop)
        self._queue.put(drafts, future)
        if self._flight is None and not self._kicked:
            # At the end of this turn of the loop, so that everything that arrived in it shares one commit.
            self._kicked = True
            self._loop.call_soon(self._send)
        return future

    def flush(self) -> None:
        """Send what waits at once if nothing is in flight: for callers that have work to do meanwhile."""
        if self._queue and self._flight is None:
            self._send()

    def fence(self, reason: str) -> None:
        """The lease is lost: refuse everything from now on. Safe to repeat."""
        if isinstance(self._refusal, LeaseLost):
            return
        self._refusal = LeaseLost(
            f"Shard {self.shard} is not ours any more ({reason}): stop sending and close the sessions."
        )
        self._fail_all(self._refusal, self._refusal)
        self._drop_link()

    async def close(self) -> None:
        """Wait for what is enqueued, COMMIT_WAIT_S at most, then close the connection."""
        futures = [pending.future for pending in self._in_flight()] + self._queue.futures()
        if futures:
            await asyncio.wait(futures, timeout=COMMIT_WAIT_S)
        if self._refusal is None:
            self._refusal = Unavailable("The journal is closed because the process stops. Try another one.")
        self._fail_all(self._refusal, self._refusal)
        for task in (self._recovery, self._explaining):
            if task is not None:
                await ended([task])
        self._drop_link()

    # the way of a batch ------------------------------------------------------------------------------------

    def _send(self) -> None:
        self._kicked = False
        if self._flight is not None or self._link is None or self._explaining is not None:
            return
        while self._queue:
            pendings = self._queue.take()
            try:
                self._fly(self._link, pendings)
            except Exception as error:  # noqa: BLE001 - one fact that has no bytes must not stop the journal
                if len(pendings) > 1:
                    self._queue.put_back(pendings, alone=True)
                else:
                    pendings[0].fail(StoreError(f"The fact has no bytes: {error!r}. Nothing was written."))
            else:
                self._watch()
                return

    def _fly(self, link: JournalLine, pendings: list[Pending]) -> None:
        """Number and chain a batch, send it and make it the flight. Raises if a fact in it has no bytes."""
        drafts = [draft for pending in pendings for draft in pending.drafts]
        batch = number(drafts, self.shard, self.epoch, self._head)
        link.send(batch)
        self._flight = _Flight(pendings, batch)

    def _on_reply(self, reply: Reply) -> None:
        flight = self._flight
        if flight is None:
            return
        if reply.error is None and reply.inserted != len(flight.batch.rows):
            self.fence("the lease row has another epoch")
            return
        self._land()
        try:
            if reply.error is None:
                self._durable(flight)
            else:
                self._on_error(flight, reply.error)
        finally:
            self._send()

    def _durable(self, flight: _Flight) -> None:
        """Wake the owners, then tell the listeners."""
        rows, _, _, answers = flight.batch
        self._head = Head(rows[-1].seq, rows[-1].hash)
        orphans: list[JournalRow] = []
        start = 0
        for pending in flight.pendings:
            end = start + len(pending.drafts)
            if pending.future.done():
                orphans += rows[start:end]
            else:
                committed = Committed(tuple(rows[start:end]), tuple(answers[start:end]))
                pending.future.set_result(committed)
            start = end
        self._on_committed(rows)
        if orphans:
            self._on_orphaned(orphans)

    def _on_error(self, flight: _Flight, error: SqlError) -> None:
        """The statement was refused, so nothing of it is durable."""
        if error.constraint == "journal_pkey":
            self._queue.put_back(flight.pendings)
            self.fence("another writer took our sequence number")
        elif error.sqlstate[:2] not in ("22", "23"):  # a lock or a disk, not one of the facts
            late = Unavailable(
                f"PostgreSQL could not commit: {error.message}. Nothing was written; try again."
            )
            for pending in flight.pendings:
                pending.fail(late)
        elif len(flight.pendings) > 1:  # one of them is at fault: sent one by one, it fails alone
            self._queue.put_back(flight.pendings, alone=True)
        elif error.sqlstate == "23505":
            self._explaining = self._loop.create_task(self._explain(flight.pendings[0], error))
        else:
            flight.pendings[0].fail(StoreError(f"PostgreSQL cannot hold this fact: {error.message}."))

    async def _explain(self, pending: Pending, error: SqlError) -> None:
        """Tell the owner of a duplicate what was there first."""
        self._watch()
        try:
            existing = None if self._link is None else await self._link.first_record(pending.drafts)
        except Unavailable as unavailable:
            pending.fail(unavailable)
            self._explaining = None
            self._on_down(str(unavailable))
            return
        self._explaining = None
        self._calm()
        if existing is None:  # both copies are in this one append
            pending.fail(StoreError(f"The append repeats itself: {error.message}."))
        else:
            pending.fail(Duplicate("It was recorded before: answer with the first record.", existing))
        self._send()

    # when it goes wrong ------------------------------------------------------------------------------------

    def _in_flight(self) -> list[Pending]:
        return [] if self._flight is None else self._flight.pendings

    def _land(self) -> None:
        self._flight = None
        self._calm()

    def _watch(self) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(COMMIT_WAIT_S, self._patience_over)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.abandon()
            self._link = None

    def _fail_all(self, flying: StoreError, waiting: StoreError) -> None:
        for pending in self._in_flight():
            pending.fail(flying)
        self._queue.fail_all(waiting)
        self._calm()

    def _patience_over(self) -> None:
        """A second without an answer: owners are told, and only the journal knows what became of the
        flight.
        """
        self._patience = None
        self._on_down(f"no answer within {COMMIT_WAIT_S} s")
        unknown = Unavailable(
            "PostgreSQL did not say whether the commit succeeded: repeat with the same key, "
            "you will get the first answer.",
            code="commit-unknown",
        )
        self._fail_all(unknown, Unavailable("PostgreSQL does not answer. Nothing was written; try again."))

    def _on_down(self, reason: str) -> None:
        """The connection is gone. Owners keep waiting for as long as patience lasts."""
        self._drop_link()
        if self._recovery is None and self._refusal is None:
            self._refusal = Unavailable(f"PostgreSQL is not reachable ({reason}); reconnecting. Try again.")
            self._watch()
            self._recovery = self._loop.create_task(self._recover())

    async def _recover(self) -> None:
        attempt = 0
        while isinstance(self._refusal, Unavailable):
            await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
            attempt += 1
            try:
                async with asyncio.timeout(_ATTEMPT_S):
                    await self._reconnect()
                self._refusal = None
            except LeaseLost as lost:
                self.fence(lost.message)
            except (StoreError, psycopg.Error, TimeoutError):
                continue  # whatever the server is going through, the next attempt finds out
        self._recovery = None
        self._send()

    async def _reconnect(self) -> None:
        """A new connection; then decide from the journal itself what became of the batch in flight."""
        link = await self._connect()
        try:
            # An old session may still be at work on our batch: ended first, it cannot commit after our look.
            await link.end_sessions(self._session_name())
            await self._check_epoch(link)
            self._settle(await link.row_after(self.shard, self._head.seq))
        except BaseException:
            link.abandon()
            raise
        self._link = link

    def _settle(self, found: RowHash | None) -> None:
        flight = self._flight
        if found is None:
            if flight is not None:
                self._queue.put_back([pending for pending in flight.pendings if not pending.future.done()])
        elif flight is not None and found == _place(flight.batch.rows[0]):
            self._durable(flight)
        else:
            raise LeaseLost(f"row {found.seq} was written by somebody else")
        self._land()

    async def _connect(self) -> JournalLine:
        return await self._shelf.line(self._session_name(), self._on_reply, self._on_down)

    def _session_name(self) -> str:
        """One for all connections of this writer; at most 63 bytes, PostgreSQL's limit for names."""
        return f"kopitra journal {self.shard}:{self.epoch}"[-63:]

    async def _check_epoch(self, link: JournalLine) -> None:
        if await link.epoch(self.shard) != self.epoch:
            raise LeaseLost(f"the lease of shard {self.shard} is not held under epoch {self.epoch}")
