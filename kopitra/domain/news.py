"""What a listing tells that the book does not know: brokers list the same orders and executions at every read.

A repeat is neither folded nor journalled, so that a second restart, or a read each minute, adds no row (R-021, I-12).
"""

from collections.abc import Iterable
from decimal import Decimal

from kopitra.domain.book import ENDED_ORDERS_MAX, Book
from kopitra.domain.executions import TERMINAL_STATUS, ExecutionReport
from kopitra.domain.fold_reports import execution_id
from kopitra.domain.ids import is_own
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import (
    ZERO,
    ChildOrder,
    IllegalTransition,
    OrderIntent,
    event_of,
    next_state,
)
from kopitra.domain.signals import sign


def listed_child(book: Book, report: ExecutionReport) -> ChildOrder | None:
    """Our order that a listed report belongs to, by our id or the broker's; by nothing else (R-009)."""
    order = book.orders.get(report.cl_ord_id or "")
    if order is None:
        order = book.orders.get(book.by_order_id.get((report.account_id, report.order_id), ""))
    return order


def is_news(book: Book, report: ExecutionReport) -> bool:
    """True where folding the report of an order of ours would change something, or show that something is wrong."""
    order = listed_child(book, report)
    if order is None:
        return False
    if report.exec_type == "trade":
        known = book.counted(report.account_id, execution_id(report))
        if known is None:
            return not book.has_forgotten(report.account_id, report.transact_time)
        return known.qty != report.last_qty
    if order.order_id is None and report.order_id:
        return True
    event = event_of(report, order)
    if event is None:
        return False
    try:
        return next_state(order.state, event) != order.state
    except IllegalTransition:
        return True


def strangers(book: Book, orders: Iterable[ExecutionReport]) -> list[ExecutionReport]:
    """Listed orders with an id of our making that the book does not know: the journal lost rows (R-077).

    Once old orders have been forgotten, only those that still work are told: the others may be the forgotten ones.
    """
    forgets = len(book.ended) >= ENDED_ORDERS_MAX
    found: list[ExecutionReport] = []
    for report in orders:
        name = report.cl_ord_id
        if name is None or not is_own(name) or name in book.strangers:
            continue
        if listed_child(book, report) is None and not (forgets and report.ord_status in TERMINAL_STATUS):
            found.append(report)
    return found


def regained(book: Book, lost: ExecutionReport) -> FollowUp | None:
    """A stranger that is a close of a list which the journal knows: its id tells the list, and so whose it is. It is in
    the book again, in doubt and never to be written, and the same read tells what became of it (R-077)."""
    name = lost.cl_ord_id or ""
    stem, _, leg = name.rpartition("-")
    kin = next((c.intent for known, c in book.orders.items() if known.rpartition("-")[0] == stem), None)
    if kin is None or kin.symbol != lost.symbol or not lost.order_qty or not leg.startswith("g"):
        return None
    if name not in book.strangers:
        return None  # only strangers are adopted instead of written
    close = OrderIntent(
        name, kin.list_id, kin.account_id, kin.leader, leg, "exit", lost.symbol, lost.side, lost.order_qty,
        reduce_only=True, rule_id=kin.rule_id, rule_version=kin.rule_version,
    )  # fmt: skip
    return FollowUp(kin.cl_ord_id, kin.account_id, (close,))


def filled_by(orders: Iterable[ExecutionReport]) -> dict[str, Decimal]:
    """Signed contracts that these orders filled, by contract."""
    filled: dict[str, Decimal] = {}
    for report in orders:
        if report.cum_qty:
            signed = report.cum_qty * sign(report.side)
            filled[report.symbol] = filled.get(report.symbol, ZERO) + signed
    return filled
