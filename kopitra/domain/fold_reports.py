"""What a broker's report does to the book: the child's state, its fills, the position; each execution once."""

from decimal import Decimal
from typing import NamedTuple

from kopitra.domain.attribution import foreign_fill
from kopitra.domain.book import Book, Position
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.orders import (
    ZERO,
    ChildOrder,
    Event,
    IllegalTransition,
    State,
    event_of,
    next_state,
)
from kopitra.domain.signals import sign


class Effect(NamedTuple):
    """What a report did: the child it belongs to (None: not ours), the state before, whether an execution was new,
    and what was wrong with it (empty: nothing). A named tuple, because one is made per report, in half the time."""

    order: ChildOrder | None
    before: State | None
    new_execution: bool
    fault: str = ""


NOTHING = Effect(None, None, False)


def reported(book: Book, report: ExecutionReport) -> Effect:
    order = _find(book, report)
    is_trade = report.exec_type == "trade" and report.last_qty is not None
    if is_trade and not book.is_new_execution(
        report.account_id, execution_id(report), report.last_qty or ZERO, report.transact_time
    ):
        return Effect(order, order.state if order else None, False, _restated(book, report))
    if is_trade:
        _position(book, report, order)
    fault = _busted(book, report) if report.exec_type == "trade_cancel" else ""
    if order is None:
        if is_trade:
            foreign_fill(book, report.account_id, report.symbol)
        return Effect(None, None, is_trade, fault)
    if report.order_id and order.order_id is None:
        order.order_id = report.order_id
        book.by_order_id[report.account_id, report.order_id] = order.intent.cl_ord_id
    before = order.state
    event = event_of(report, order)
    if is_trade:
        _filled(book, order, report)
    if event is not None:
        fault = advance(book, order, event, report.text)
    if event == "complete" and report.exec_type == "order_status":
        take_numbers(order, report.order_qty, None, None, None)
    _answered(order, report)
    return Effect(order, before, is_trade, fault)


def execution_id(report: ExecutionReport) -> str:
    """The broker's execution id; where it gives none, what tells two fills of one order apart (R-003)."""
    if report.exec_id is not None:
        return report.exec_id
    at = report.transact_time.isoformat()
    return f"{report.order_id}/{report.cum_qty}/{report.last_qty}/{report.last_px}/{at}"


def _restated(book: Book, report: ExecutionReport) -> str:
    """One execution id with two quantities: nothing is added, entries of the contract stop until a person has looked
    (R-040)."""
    known = book.counted(report.account_id, execution_id(report))
    if known is None or known.qty == report.last_qty:
        return ""
    why = f"execution {report.exec_id} was {known.qty}, is now {report.last_qty}"
    fault = f"{why}: compare {report.symbol} with the broker, then lift its block"
    book.sync.blocked[report.account_id, report.symbol] = fault
    return fault


def _busted(book: Book, report: ExecutionReport) -> str:
    """The broker took a trade back: positions are no longer what the fills say, a person has to look."""
    return _stopped(book, report.account_id, f"the broker canceled trade {report.exec_id}")


def _stopped(book: Book, account_id: str, why: str) -> str:
    fault = f"{why}: compare the account with the broker, then lift the block"
    book.blocked[account_id] = fault
    return fault


def _find(book: Book, report: ExecutionReport) -> ChildOrder | None:
    order = book.orders.get(report.cl_ord_id) if report.cl_ord_id is not None else None
    if order is not None:
        return order if order.intent.account_id == report.account_id else None
    known = book.by_order_id.get((report.account_id, report.order_id))
    return book.orders.get(known) if known is not None else None


def _position(book: Book, report: ExecutionReport, order: ChildOrder | None) -> None:
    key = (report.account_id, report.symbol)
    position = book.positions.get(key)
    if position is None:
        position = book.positions[key] = Position()
    qty = report.last_qty or ZERO
    position.fill(report.side, qty, report.last_px or ZERO)
    beside = book.sync.unexplained.get(key)
    # While an order of ours is at the market, nothing that a read shows there is written down.
    if beside is not None and (order is None or not order.is_at_market):
        book.sync.unexplained[key] = beside.heard(qty * sign(report.side), report.transact_time)


def _filled(book: Book, order: ChildOrder, report: ExecutionReport) -> None:
    last, price = report.last_qty or ZERO, report.last_px or ZERO
    order.cum_qty += last
    order.turnover += last * price
    if not order.intent.leader:  # a flatten's close: what it closed is gone, whoever it was attributed to
        foreign_fill(book, order.intent.account_id, report.symbol)
        return
    held = book.holdings.setdefault((order.intent.account_id, order.intent.leader), {})
    position = held.get(report.symbol)
    if position is None:
        position = held[report.symbol] = Position()
    before = position.qty
    position.fill(report.side, last, price)
    book.way_out.held(order.intent.account_id, order.intent.leader, before, position.qty)


def _answered(order: ChildOrder, report: ExecutionReport) -> None:
    match report.exec_type:
        case "replaced":
            _move_over(order)
            order.moves_failed, order.asked = 0, None
            take_numbers(order, report.order_qty, report.price, report.stop_price, None)
        case "replace_rejected":
            not_replaced(order)
        case "cancel_rejected":
            not_canceled(order)
        case _:
            pass


def not_canceled(order: ChildOrder) -> None:
    order.cancel, order.cancel_sent = None, False
    order.cancels_failed += 1


def _move_over(order: ChildOrder) -> None:
    order.replace_sent = False
    order.moving = "" if order.replace is None else order.replace.cl_ord_id


def not_replaced(order: ChildOrder) -> None:
    """The move was refused or its fate is unknown: an entry goes on with the size that is known."""
    _move_over(order)
    order.moves_failed += 1
    if order.intent.role == "entry":
        order.planned_qty = order.qty


def advance(book: Book, order: ChildOrder, event: Event, reason: str) -> str:
    before = order.state
    try:
        state = order.state = next_state(before, event)
    except IllegalTransition as error:
        book.blocked[order.intent.account_id] = error.message
        return error.message
    if reason:
        order.reason = reason
    if state != before:
        book.moved(order, before)
    return ""


def take_numbers(
    order: ChildOrder,
    qty: Decimal | None,
    price: Decimal | None,
    stop_price: Decimal | None,
    trail_offset: Decimal | None,
) -> None:
    order.qty = qty if qty is not None else order.qty
    order.price = price if price is not None else order.price
    order.stop_price = stop_price if stop_price is not None else order.stop_price
    order.trail_offset = trail_offset if trail_offset is not None else order.trail_offset
