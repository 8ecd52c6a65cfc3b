"""Broadcast: what is durable goes to every subscriber after its number; slow readers resume from Postgres."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from gateway_container.api.doors import Batch, Resume, StreamItem
from gateway_container.engine.recovery import decode_row
from gateway_container.engine.scope import accounts_of
from kopitra.store.drafts import JournalRow
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.shelf import Shelf

#: rows waiting for one subscriber; a reader that falls further behind is told to resume after its last number
WAITING_MAX: Final = 2_048
#: subscribers of one process
SUBSCRIBERS_MAX: Final = 1_000


class Subscription:
    """One reader of one workspace. `rows` returns what is new; `resume` turns True when rows were dropped."""

    __slots__ = ("_accounts", "_rows", "_wake", "resume", "workspace")

    def __init__(self, workspace: str, accounts: frozenset[str] | None) -> None:
        self.workspace = workspace
        self._accounts = accounts
        self.resume = False
        self._rows: deque[JournalRow] = deque()  # bounded: WAITING_MAX, then the reader resumes
        self._wake = asyncio.Event()

    def sees(self, row: JournalRow) -> bool:
        """The row is this reader's: its workspace, and no account but its own."""
        if row.workspace != self.workspace:
            return False
        return self._accounts is None or accounts_of(decode_row(row)) <= self._accounts

    def offer(self, row: JournalRow) -> None:
        """Take a row unless it is not for this reader or the reader must resume anyway."""
        if self.resume or not self.sees(row):
            return
        if len(self._rows) >= WAITING_MAX:
            self.drop()
        else:
            self._rows.append(row)
            self._wake.set()

    def drop(self) -> None:
        """There are rows that it will not see here: it must resume."""
        self._rows.clear()
        self.resume = True
        self._wake.set()

    async def rows(self) -> Sequence[JournalRow]:
        """Wait for rows, then take all; empty when the reader must resume."""
        await self._wake.wait()
        self._wake.clear()
        taken = list(self._rows)
        self._rows.clear()
        return taken


class Broadcast:
    """All subscribers of this process."""

    def __init__(self, shelf: Shelf, shard: str) -> None:
        self._shelf = shelf
        self._shard = shard
        self._subscribers: set[Subscription] = set()
        self._seq = 0

    def committed(self, rows: Sequence[JournalRow]) -> None:
        """Called by the journal's writer for rows that are durable; readers come after those who send.

        While we are a standby, who follows the journal calls it. Rows that nobody showed us when we took over end
        the readers' streams: they connect again and read them from Postgres.
        """
        missed = 0 < self._seq < rows[0].seq - 1
        self._seq = rows[-1].seq
        if self._subscribers:
            asyncio.get_running_loop().call_soon(self._offer, rows, missed)

    def _offer(self, rows: Sequence[JournalRow], missed: bool) -> None:
        for subscriber in self._subscribers:
            if missed:
                subscriber.drop()
            for row in rows:
                subscriber.offer(row)

    async def subscribe(
        self, workspace: str, after_seq: int, accounts: frozenset[str] | None
    ) -> AsyncIterator[Batch | Resume]:
        """Entries of a workspace after `after_seq`: first from Postgres, then live. A Resume ends it.

        An account-scoped reader sees the entries whose accounts are all its own; plans that name others are
        cut out as a whole, because half a plan would be a lie.
        """
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            yield Resume(after_seq, "too many readers; connect again later")
            return
        subscription = Subscription(workspace, accounts)
        self._subscribers.add(subscription)
        try:
            seq = after_seq
            while rows := await self._shelf.page(self._shard, seq, PAGE_ROWS_MAX):
                seq = rows[-1].seq
                if batch := _batch(row for row in rows if subscription.sees(row)):
                    yield batch
            while not subscription.resume:
                fresh = [row for row in await subscription.rows() if row.seq > seq]
                if batch := _batch(fresh):
                    seq = fresh[-1].seq
                    yield batch
            yield Resume(seq, "this reader is too slow; read the snapshot and connect again")
        finally:
            self._subscribers.discard(subscription)

    @property
    def subscribers(self) -> int:
        """How many read now."""
        return len(self._subscribers)


def _batch(rows: Iterable[JournalRow]) -> Batch | None:
    items = tuple(StreamItem(r.seq, r.at, r.kind, r.entry, bytes(r.payload)) for r in rows)
    return Batch(items) if items else None
