"""What was sent lately, by the journal: a process that takes a shard over begins its logins' budgets with it (R-059).

Else it would send a second windowful, and the broker would refuse the exits with the entries (R-060). Reads are not
journalled, so this is the least that was sent.
"""

from datetime import datetime, timedelta
from typing import Final

from gateway_container.engine.recovery import decode_row, unresolved
from gateway_container.engine.state import State
from kopitra.domain.book import Book
from kopitra.domain.journal import Entry, OrdersSent
from kopitra.store.drafts import JournalRow
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.shelf import Shelf

#: how far back it is looked: the windows that brokers close soon are a minute long
LATELY: Final = timedelta(seconds=60)
#: pages of the journal that are read at most
PAGES_MAX: Final = 10


async def spent_lately(shelf: Shelf, shard: str, state: State) -> dict[str, list[int]]:
    """Account -> when its requests left (this process's monotonic nanoseconds). What is claimed and not in the
    journal as sent may have left at the very end."""
    book, now, now_ns = state.book, state.clock.now(), state.clock.monotonic_ns()
    spent: dict[str, list[int]] = {}
    for order in unresolved(book):
        if not order.attached and not order.hops:
            spent.setdefault(order.intent.account_id, []).append(now_ns)
    for row in await _rows(shelf, shard, book.seq, now - LATELY):
        age_ns = max(0, (now - row.at) // timedelta(microseconds=1)) * 1000
        for account_id in _payers(book, decode_row(row)):
            spent.setdefault(account_id, []).append(now_ns - age_ns)
    return spent


async def _rows(shelf: Shelf, shard: str, upto: int, since: datetime) -> list[JournalRow]:
    """What left by the rows that are younger than `since`."""
    found: list[JournalRow] = []
    for _ in range(PAGES_MAX):
        if upto == 0:
            break
        page = await shelf.page(shard, max(0, upto - PAGE_ROWS_MAX), min(upto, PAGE_ROWS_MAX))
        found += [row for row in page if row.entry == OrdersSent.__name__ and row.at > since]
        if not page or page[0].at <= since:
            break
        upto = page[0].seq - 1
    return found


def _payers(book: Book, entry: Entry) -> list[str]:
    """The accounts whose logins each write cost a request; what travelled in another's cost none."""
    found: list[str] = []
    for fact in entry.sent if isinstance(entry, OrdersSent) else ():
        order = book.orders.get(fact.orig_cl_ord_id or fact.cl_ord_id)
        if order is not None and not (order.attached and fact.orig_cl_ord_id is None):
            found.append(order.intent.account_id)
    return found
