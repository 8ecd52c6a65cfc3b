"""Saving the folded book now and then, so that a start folds only what came after.

The live book is never saved: it is ahead of the journal. The last snapshot is read into a second book, the rows after
it are folded there, and that one is saved. Whoever saves, saves the same bytes' worth of facts, so that no fence is
needed. Who makes it is given: the gateway lets a process of its own do it (`gateway_container/snapshot_process.py`),
because the memory of a second book would stay with the gateway for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway_container.engine.recovery import read_book
from kopitra.domain.errors import Corrupt, StoreError
from kopitra.ports import Clock
from kopitra.store.book_image import layout, slices
from kopitra.store.shelf import Shelf
from kopitra.store.snapshots import SnapshotRow

#: journal rows between two snapshots
EVERY_ROWS: Final = 20_000
#: journal rows that make a snapshot at the stop worth its time
STOP_ROWS: Final = 5_000
#: seconds that a stop may spend on it
STOP_S: Final = 3.0
#: seconds between two looks
LOOK_EVERY_S: Final = 30.0
#: rows folded in one turn of a loop that has other work
ROWS_PER_TURN: Final = 16

#: makes a snapshot and stores it: the number of its last row. Raises StoreError, Corrupt
Make = Callable[[], Awaitable[int]]

_log = structlog.get_logger("kopitra.snapshots")


async def save_book(shelf: Shelf, shard: str, clock: Clock, rows_per_turn: int = ROWS_PER_TURN) -> int:
    """Make a snapshot in this process, in slices between which the loop does its other work; see `Make`."""
    book = await read_book(shelf, shard, rows_per_turn=rows_per_turn)
    image = bytearray()
    for part in slices(book):
        image += part
        await asyncio.sleep(0)
    if book.seq:
        await shelf.save_snapshot(SnapshotRow(shard, book.seq, layout(), bytes(image), clock.now()))
    return book.seq


class Snapshots:
    """When one is due. `run` is the task's body; `at_stop` a last one once the lease is given back."""

    def __init__(self, make: Make, head: Callable[[], int]) -> None:
        self._make = make
        #: number of the last durable row
        self._head = head
        #: number of the row up to which a start finds everything folded, as far as this process knows
        self.saved_seq = 0

    async def run(self) -> None:
        """Save every EVERY_ROWS rows until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._head() - self.saved_seq >= EVERY_ROWS:
                await self._try()

    async def at_stop(self) -> None:
        """One more where the successor would have much to fold."""
        if self._head() - self.saved_seq < STOP_ROWS:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._try()
        except TimeoutError:
            _log.warning("snapshot_not_saved", error="the stop had no more time for it")

    async def _try(self) -> None:
        try:
            await self.save()
        except (StoreError, Corrupt) as error:
            _log.warning("snapshot_not_saved", error=error.message)

    async def save(self) -> int:
        """Have one made; the number of its last row."""
        self.saved_seq = await self._make()
        return self.saved_seq
