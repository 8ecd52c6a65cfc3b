"""The projector: keeps the rows that queries read (orders, executions, positions) behind the journal.

A committed row says *what* changed; the book says how it stands now. So a batch costs one look at each changed order
and position, and writing it twice changes nothing. Nothing here is on the way of a signal: rows are only taken in,
a task of its own works on them later. When it cannot keep up it forgets them and reads the journal instead.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from gateway_container.engine.projected import SIGNALS_MAX, Changes
from gateway_container.engine.recovery import decode_row
from kopitra.domain.book import Book
from kopitra.domain.errors import StoreError
from kopitra.domain.fold import fold
from kopitra.store.drafts import JournalRow
from kopitra.store.journal_reader import read
from kopitra.store.pool import Database
from kopitra.store.projections import forget_projected, remade, write_projected
from kopitra.store.shelf import Shelf

#: rows that wait in memory; beyond it they are read from the journal
WAITING_MAX: Final = 10_000
#: rows of one transaction
BATCH_ROWS_MAX: Final = 200
#: bytes of rows looked at in one turn of the loop: 50 us of work; a turn by itself costs two
TURN_BYTES: Final = 4_096
#: rest after a batch as a multiple of its own time, so that writing behind takes at most a tenth of the loop
REST_FACTOR: Final = 9
#: longest rest, seconds
REST_S_MAX: Final = 1.0
#: seconds that changes gather before they are written
GATHER_S: Final = 0.25
#: seconds before a write that failed is tried again
RETRY_S: Final = 1.0

_log = structlog.get_logger("kopitra.projector")


class Projector:
    """Writes behind. `committed` takes rows; `run` is the task's body."""

    def __init__(self, book: Callable[[], Book], shelf: Shelf, shard: str) -> None:
        self._shelf = shelf
        self._shard = shard
        self._changes = Changes(book, shard)
        self._rows: deque[JournalRow] = deque()  # bounded: WAITING_MAX in committed
        #: rows were forgotten: the journal has them
        self._behind = True
        self._wake = asyncio.Event()
        #: the last row whose effect is written
        self.applied_seq = 0
        self._seen_seq = 0

    def committed(self, rows: Sequence[JournalRow]) -> None:
        """Durable rows, in order; cheap, because it runs where the commit is answered."""
        self._seen_seq = rows[-1].seq
        if self._behind:
            return
        if len(self._rows) + len(rows) > WAITING_MAX:
            self._rows.clear()
            self._behind = True
        else:
            self._rows.extend(rows)
        self._wake.set()

    @property
    def lag_rows(self) -> int:
        """Durable rows whose effect is not written yet."""
        return max(0, self._seen_seq - self.applied_seq)

    async def run(self) -> None:
        """Write behind until cancelled; an outage is waited out."""
        started = False
        while True:
            try:
                if not started:
                    await self._start()
                    started = True
                await self._work()
            except StoreError as error:
                self._rows.clear()
                self._behind = True
                _log.warning("projections_wait", error=error.message)
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Write what is known now, at the end of the process; what cannot be written now is found by the next one."""
        try:
            while self._rows and not self._behind:
                await self._apply(self._take())
        except StoreError as error:
            _log.warning("projections_wait", error=error.message)

    async def _start(self) -> None:
        shown = await self._shelf.shown(self._shard, SIGNALS_MAX)
        self.applied_seq = shown.seq
        self._changes.remember(
            ((h.account_id, h.symbol) for h in shown.positions),
            ((h.account_id, h.leader_id, h.symbol) for h in shown.holdings),
            ((s.list_id, s.signal_id) for s in reversed(shown.signals)),
        )

    async def _work(self) -> None:
        if self._behind:
            await self._catch_up()
        await self._wake.wait()
        await asyncio.sleep(GATHER_S)
        self._wake.clear()
        while self._rows and not self._behind:
            await self._rested(self._take())

    async def _rested(self, rows: Iterable[JournalRow]) -> None:
        """Apply, then leave the loop to the signals for several times as long."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await self._apply(rows)
        await asyncio.sleep(min(REST_S_MAX, REST_FACTOR * (loop.time() - begun)))

    async def _catch_up(self) -> None:
        """From the journal until its end; rows committed meanwhile are found there or wait in memory."""
        while True:
            self._behind = False
            page = await self._shelf.page(self._shard, self.applied_seq, BATCH_ROWS_MAX)
            if not page:
                return
            self._rows.clear()
            self._behind = True
            await self._rested(page)

    def _take(self) -> list[JournalRow]:
        return [self._rows.popleft() for _ in range(min(len(self._rows), BATCH_ROWS_MAX))]

    async def _apply(self, rows: Iterable[JournalRow]) -> None:
        last, size = self.applied_seq, 0
        for row in rows:
            if row.seq <= last:
                continue
            self._changes.note(row, decode_row(row))
            last = row.seq
            size += len(row.payload)
            if size >= TURN_BYTES:
                size = 0
                await asyncio.sleep(0)  # the next signal need not wait for a batch
        await self._shelf.write_projected(self._changes.take(), self._shard, last)
        self.applied_seq = last


async def rebuild(db: Database, shard: str, shown: Callable[[int], None] = lambda _seq: None) -> int:
    """Throw the projections of a shard away and make them again from the journal alone; the last row's number.

    It may run beside the live writer: a row never gives way to an older one. `shown` hears how far it has come.
    """
    await forget_projected(db, shard)
    book = Book()
    changes = Changes(lambda: book, shard)
    while page := await read(db, shard, book.seq, BATCH_ROWS_MAX):
        for row in page:
            entry = decode_row(row)
            fold(book, entry)
            book.seq = row.seq
            changes.note(row, entry)
        await write_projected(db, changes.take())
        shown(book.seq)
    await remade(db, shard, book.seq)
    return book.seq
