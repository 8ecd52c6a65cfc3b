"""Start is recovery: the book is folded from the journal; what was claimed and never seen to leave is in doubt.

The same fold runs when the process has lost track of what is durable (`Refold`): decisions stop, the book is read
again, facts that the journal does not hold yet are folded on top, and decisions go on.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog

from gateway_container.engine.log import Log
from gateway_container.engine.state import State
from kopitra.domain.book import Book
from kopitra.domain.catch_up import held_entries, unfollowed
from kopitra.domain.errors import Corrupt, StoreError
from kopitra.domain.fold import fold
from kopitra.domain.journal import ENTRY_TYPES, AlertRaised, Doubted, Entry, OrderNotSent, RequestFailed
from kopitra.domain.lateness import is_stale
from kopitra.domain.orders import ChildOrder
from kopitra.store.book_image import layout, restored
from kopitra.store.chain import GENESIS, link, microseconds
from kopitra.store.drafts import JournalRow
from kopitra.store.encoding import Decoder
from kopitra.store.ending import ended
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.shelf import Shelf

#: seconds between attempts to read the journal again
RETRY_S: Final = 0.25
#: seconds between looks whether everything of ours has reached the journal or failed to
QUIET_S: Final = 0.01

#: signals whose repetition is recognised without asking the database
SIGNALS_MAX: Final = 100_000

_log = structlog.get_logger("kopitra.recovery")
_DECODERS: Final[dict[str, Decoder[Entry]]] = {name: Decoder(cls) for name, cls in ENTRY_TYPES.items()}


def decode_row(row: JournalRow) -> Entry:
    """The entry of a row. Raises Corrupt for an unknown type: a newer build wrote it."""
    decoder = _DECODERS.get(row.entry)
    if decoder is None:
        raise Corrupt(
            f"Journal row {row.seq} is a {row.entry}, which this build does not know: start the newer build again."
        )
    try:
        return decoder(row.payload)
    except Corrupt as error:
        raise Corrupt(f"Journal row {row.seq}: {error.message}") from error


def take(book: Book, row: JournalRow) -> None:
    """Fold the next durable row. Raises Corrupt naming the row that is missing, altered or not ours to read."""
    if row.seq != book.seq + 1:
        raise Corrupt(
            f"Journal row {book.seq + 1} is missing: the next one is {row.seq}. Restore the journal from a backup."
        )
    before = book.hash or GENESIS
    at_us = microseconds(row.at)
    told = link(before, row.shard, row.seq, row.epoch, at_us, row.workspace, row.kind, row.entry, row.payload)
    if told != row.hash:
        raise Corrupt(
            f"Journal row {row.seq} and its hash disagree: it was changed after it was written. Nothing is traded on "
            "it: run `kopitra verify`, then restore the journal from a backup."
        )
    fold(book, decode_row(row))
    book.seq, book.hash = row.seq, row.hash


async def saved_book(shelf: Shelf, shard: str) -> Book:
    """The newest snapshot of this build's fold that the journal confirms; an empty book when there is none."""
    row = await shelf.latest_snapshot(shard, layout())
    if row is None:
        return Book()
    book: Book | None = None
    try:
        for part in restored(row.payload):
            book = part  # the last one; None for every slice of work before it
            await asyncio.sleep(0)
    except Corrupt as error:
        _log.warning("snapshot_ignored", seq=row.seq, error=error.message)
        return Book()
    if book is None:
        return Book()
    there = await shelf.page(shard, book.seq - 1, 1)
    if [(r.seq, r.hash) for r in there] != [(book.seq, book.hash)]:
        _log.warning("snapshot_ignored", seq=book.seq, error="the journal has another row there")
        return Book()
    return book


async def read_book(
    shelf: Shelf, shard: str, book: Book | None = None, rows_per_turn: int = PAGE_ROWS_MAX
) -> Book:
    """The book of a shard's whole journal: from the newest snapshot, or from one that a standby has kept, on."""
    book = await saved_book(shelf, shard) if book is None else book
    while page := await shelf.page(shard, book.seq, PAGE_ROWS_MAX):
        for number, row in enumerate(page, start=1):
            take(book, row)
            if number % rows_per_turn == 0:
                await asyncio.sleep(0)
    return book


def unresolved(book: Book) -> list[ChildOrder]:
    """Children that may or may not have left: claimed, and no answer known."""
    return [order for order in book.orders.values() if order.state == "claimed"]


#: why an order is in doubt after a start, and when a process ends before an answer came
RESTARTED: Final = "the gateway restarted before an answer came"
STOPPED: Final = "the gateway stopped before an answer came"
#: why a held order is in doubt after a start
NOT_HERE: Final = "the gateway before this one may have sent it without the database"


def doubt_unresolved(state: State, log: Log, why: str = RESTARTED) -> int:
    """At a start and at an end: what was claimed may have left, so it is in doubt, never sent late."""
    orders = unresolved(state.book)
    for order in orders:
        name, account_id = order.intent.cl_ord_id, order.intent.account_id
        workspace = state.workspace_of(account_id)
        log.note(workspace, Doubted(name, account_id, why))
        text = f"the fate of {name} is unknown ({why}): it is looked up, never sent again"
        log.note(workspace, AlertRaised("order-in-doubt", text, account_id, name))
    return len(orders)


def unanswered(book: Book) -> list[RequestFailed]:
    """Cancels and moves without an answer. One child can have both: its cancel need not wait for a move's answer."""
    return [
        RequestFailed(child.intent.cl_ord_id, child.intent.account_id, kind, RESTARTED)
        for found in book.open.values()
        for child in found.values()
        for kind, is_sent in _asked(child)
        if is_sent
    ]


def _asked(child: ChildOrder) -> tuple[tuple[Literal["cancel", "replace"], bool], ...]:
    return ("cancel", child.cancel_sent), ("replace", child.replace_sent)


def give_up_requests(state: State, log: Log) -> None:
    """At a start: the answers to a predecessor's cancels and moves reach nobody, so their fates are unknown."""
    for failed in unanswered(state.book):
        workspace = state.workspace_of(failed.account_id)
        log.note(workspace, failed)
        alert = AlertRaised(f"{failed.request}-unknown", RESTARTED, failed.account_id, failed.cl_ord_id)
        log.note(workspace, alert)


def doubt_held(state: State, log: Log) -> int:
    """After a holder that may have let held exits and protection go by a file that is not here: reads must show whether
    it did before anybody sends or drops them (R-002). Entries never go that way."""
    held = [c for found in state.book.open.values() for c in found.values() if c.state == "planned"]
    suspects = [c.intent for c in held if c.intent.role != "entry"]
    for intent in suspects:
        doubted = Doubted(intent.cl_ord_id, intent.account_id, NOT_HERE)
        log.note(state.workspace_of(intent.account_id), doubted)
    return len(suspects)


def catch_up(state: State, log: Log, react_to: Callable[[str], None]) -> None:
    """After a start: held entries that are too old are told so, and what a predecessor did not follow is followed."""
    skip_stale(state, log)
    for name in unfollowed(state.book):
        react_to(name)


def skip_stale(state: State, log: Log) -> int:
    """After a start: held entries whose leader acted too long ago are not sent any more; exits go on (R-019)."""
    now, skipped = state.clock.now(), 0
    for order in held_entries(state.book):
        intent = order.intent
        if not is_stale(order, state.config.rules_for(intent.leader), now):
            continue
        detail = "it waited for a close when the gateway ended, and is too old now"
        entry = OrderNotSent(intent.cl_ord_id, intent.account_id, "stale_after_restart", detail)
        log.note(state.workspace_of(intent.account_id), entry)
        skipped += 1
    return skipped


class Refold:
    """Reads the book again when memory and journal may differ. One run at a time."""

    def __init__(
        self,
        state: State,
        shelf: Shelf,
        shard: str,
        knows: Callable[[str], bool],
        take_up: Callable[[Sequence[ChildOrder]], None],
    ) -> None:
        self._state = state
        self._shelf = shelf
        self._shard = shard
        #: this process has written the order, or still means to
        self._knows = knows
        self._take_up = take_up
        self._log: Log | None = None
        self._task: asyncio.Task[None] | None = None

    def attach(self, log: Log) -> None:
        """The log asks for a refold and the refold pauses the log."""
        self._log = log

    def request(self, reason: str) -> None:
        """Ask for it; repeated requests join the run under way."""
        if self._log is None or (self._task is not None and not self._task.done()):
            return
        _log.warning("book_is_read_again", reason=reason)
        self._log.accepting = False
        self._task = asyncio.get_running_loop().create_task(self._run(self._log), name="refold")

    async def _run(self, log: Log) -> None:
        self._state.book = await self._read(log)
        log.refold_backlog()
        log.accepting = True
        # This process knows what it wrote: a claim that it neither wrote nor still holds never left.
        self._take_up([o for o in unresolved(self._state.book) if not self._knows(o.intent.cl_ord_id)])

    async def _read(self, log: Log) -> Book:
        while True:
            # What is still on its way could become durable behind our reading.
            while not log.is_quiet:  # noqa: ASYNC110 - a cold path
                await asyncio.sleep(QUIET_S)
            try:
                await log.bring_exits()
                return await read_book(self._shelf, self._shard)
            except StoreError as error:
                _log.warning("journal_not_read", error=error.message)
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """End a run under way."""
        if self._task is not None:
            await ended([self._task])
