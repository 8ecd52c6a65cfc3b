"""A replica without the lease: it follows the journal, so that its book is warm, and sees when the shard is free.

What it shows is what the holder has made durable, a quarter of a second late at most. It sends nothing and writes
no journal: its doors (`standby_doors.py`) hand everything to the holder.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.machine import Identity, Supplies, Warm
from gateway_container.engine.recovery import saved_book, take
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from gateway_container.engine.views import Views
from kopitra.domain.book import Book
from kopitra.domain.errors import Corrupt
from kopitra.ports import SessionEvent
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.shelf import LeaseRow
from kopitra.store.switches import SwitchRow

#: seconds between two looks at journal and lease, when nobody wakes us
LOOK_S: Final = 0.25
#: seconds since the database last answered, after which the door cannot take signals
FRESH_S: Final = 3.0
_NS: Final = 1_000_000_000


class Standby:
    """What a replica knows before it holds the lease."""

    def __init__(self, identity: Identity, supplies: Supplies, broadcast: Broadcast) -> None:
        self.identity = identity
        self.state = State(supplies.clock)
        self.switches: Sequence[SwitchRow] = ()
        #: the lease as last seen; None before the first look or for a new shard
        self.lease: LeaseRow | None = None
        #: why this replica cannot take over; "" when it could
        self.unfit = ""
        #: the book belongs to a machine, or to one that is being started: only it folds
        self.surrendered = False
        self._clock = supplies.clock
        self._shelf = supplies.shelf
        self._broadcast = broadcast
        self._reading = asyncio.Lock()
        self._read_ns = 0
        self.views = Views(self.state, supplies.shelf, Sessions(self.state, {}, _nobody), self._ready)
        self.views.role = "standby"

    def reconfigure(self, config: GatewayConfig, switches: Sequence[SwitchRow]) -> None:
        """Take a new configuration; the machine will start with it."""
        self.state.config = config
        self.switches = switches

    async def follow(self) -> None:
        """Fold what the journal has got since the last time; nothing once the book was surrendered: the machine folds
        each row itself, and twice would double it. Raises Unavailable.

        A row that does not read back was written by a newer build: the book stays where it is and the replica is
        unfit, because whoever takes the shard must understand all of it (R-089).
        """
        async with self._reading:
            if self.surrendered:
                return
            if not self.state.book.seq:
                book, saved = self.state.book, await saved_book(self._shelf, self.identity.shard)
                if not self._is_ours(book):
                    return
                self.state.book = saved
            try:
                await self._fold()
            except Corrupt as error:
                self.unfit = error.message
            self._read_ns = self._clock.monotonic_ns()

    async def _fold(self) -> None:
        book = self.state.book
        while page := await self._shelf.page(self.identity.shard, book.seq, PAGE_ROWS_MAX):
            if not self._is_ours(book):
                return
            for row in page:
                take(book, row)
            self._broadcast.committed(page)
            await asyncio.sleep(0)  # a long journal must not hold up the door

    def _is_ours(self, book: Book) -> bool:
        """It was not surrendered while we read."""
        return not self.surrendered and self.state.book is book

    async def look(self) -> bool:
        """Follow, and see whether the shard is free for us. Raises Unavailable."""
        await self.follow()
        lease = self.lease = await self._shelf.read_lease(self.identity.shard)
        if lease is not None:
            self.views.epoch = lease.epoch
        self.views.dark = not self.held
        return not self.held and not self.unfit

    @property
    def held(self) -> bool:
        """Another process holds the shard, as far as we know."""
        return self.lease is not None and not self.lease.released and self.lease.left_s > 0

    def surrender(self) -> Warm:
        """What the machine starts with. The book is its own from now on; what is shown is the machine's."""
        self.surrendered = True
        return Warm(self.state.book if self.state.book.seq else None, self.switches)

    def keep(self) -> None:
        """No machine was started: the book is as it was, and ours."""
        self.surrendered = False

    def forget(self) -> None:
        """A machine that did not come up may have changed the book: begin anew."""
        self.state.book = Book()
        self.surrendered = False

    def _ready(self) -> tuple[bool, bool]:
        fresh = self._clock.monotonic_ns() - self._read_ns < FRESH_S * _NS
        return fresh, fresh


def _nobody(event: SessionEvent) -> None:
    """A standby has no sessions."""
    del event
