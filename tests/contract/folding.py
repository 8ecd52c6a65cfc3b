"""What the house makes of a session's words: the domain's own fold, as the gateway applies it."""

from collections.abc import Iterable, Iterator, Sequence

from kopitra.domain.book import Book
from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.domain.fold import fold
from kopitra.domain.journal import Doubted, Entry, Reported
from kopitra.domain.orders import ChildOrder, OrderIntent
from kopitra.ports import OrderUnknown, SessionEvent


def faults(sent: Sequence[OrderIntent], events: Iterable[SessionEvent]) -> list[str]:
    """Reports that the order table does not allow: each would stop its account's entries."""
    book = Book()
    for intent in {intent.cl_ord_id: intent for intent in sent}.values():
        book.add(ChildOrder(intent, "claimed", intent.qty))
    found: list[str] = []
    for event in events:
        for entry in _entries(book, event):
            fault = fold(book, entry).fault
            if fault:
                found.append(f"{fault} {entry}")
    return found


def _entries(book: Book, event: SessionEvent) -> Iterator[Entry]:
    match event:
        case ExecutionReport():
            yield Reported(event)
        case OrderUnknown():
            yield Doubted(event.cl_ord_id, event.account_id, event.reason)
        case AccountSnapshot():
            for report in (*(event.executions or ()), *(event.orders or ())):
                known = (report.account_id, report.order_id) in book.by_order_id
                if known or report.cl_ord_id in book.orders:
                    yield Reported(report)
        case _:
            pass
