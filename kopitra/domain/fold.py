"""The fold: one journal entry into the book. The gateway, recovery and the audit all run this one function."""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from kopitra.domain.book import (
    LEADER_ORDERS_MAX,
    ORDER_TIMES_MAX,
    Book,
    Episode,
    LastEntry,
    LeaderOrder,
    LeaderPosition,
    Position,
)
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.fanout import FanoutPlan, FollowerLeg, LeaderAct
from kopitra.domain.journal import (
    Doubted,
    EntriesBlocked,
    Entry,
    FlattenNoted,
    FollowUp,
    OrderNotSent,
    OrdersSent,
    Reported,
    RequestFailed,
    SentFact,
    SignalPlanned,
    SwitchChanged,
)
from kopitra.domain.orders import (
    TERMINAL,
    ZERO,
    CancelIntent,
    ChildOrder,
    Event,
    IllegalTransition,
    OrderIntent,
    ReplaceIntent,
    State,
    event_of,
    next_state,
)
from kopitra.domain.signals import Signal


@dataclass(frozen=True, slots=True)
class Effect:
    """What a report did: the child it belongs to (None: not ours), the state before, whether an execution was new,
    and what was wrong with it (empty: nothing)."""

    order: ChildOrder | None
    before: State | None
    new_execution: bool
    fault: str = ""


NOTHING = Effect(None, None, False)


def fold(book: Book, entry: Entry) -> Effect:
    """Apply one entry. Deterministic; never raises for facts: a fact that does not fit blocks the account."""
    match entry:
        case SignalPlanned():
            _planned(book, entry.signal, entry.plan)
        case Reported():
            return _reported(book, entry.report)
        case OrdersSent():
            for fact in entry.sent:
                _sent(book, fact)
        case OrderNotSent():
            return _moved(book, entry.cl_ord_id, "skip", entry.reason)
        case FollowUp():
            _followed(book, entry)
        case Doubted():
            return _moved(book, entry.cl_ord_id, "doubt", entry.reason)
        case RequestFailed():
            _request_failed(book, entry)
        case SwitchChanged():
            book.switches.set(entry.switch)
        case EntriesBlocked():
            _blocked(book, entry)
        case FlattenNoted():
            if entry.state == "flat_confirmed":
                book.went_flat(entry.account_id)
        case _:
            # sessions, alerts, drift, configuration and heartbeats are evidence; they move no order and no position
            pass
    return NOTHING


def _blocked(book: Book, entry: EntriesBlocked) -> None:
    if entry.reason:
        book.blocked[entry.account_id] = entry.reason
    else:
        book.blocked.pop(entry.account_id, None)


def _planned(book: Book, signal: Signal, plan: FanoutPlan) -> None:
    for act in plan.acts:
        _leader_moved(book, signal, act)
    for leg in plan.legs:
        _leg_decided(book, signal, leg)


def _leader_moved(book: Book, signal: Signal, act: LeaderAct) -> None:
    position = book.leaders.setdefault((signal.leader, act.root), LeaderPosition())
    position.qty = act.position_after
    loid = signal.leader_order_id or signal.signal_id
    working = position.working
    match act.kind:
        case "resting_entry" | "resting_exit":
            if len(working) < LEADER_ORDERS_MAX and signal.side is not None:
                reduces = act.kind == "resting_exit"
                working[loid] = LeaderOrder(signal.side, signal.quantity or abs(position.qty), reduces)
        case "cancel":
            working.pop(loid, None)
        case "replace":
            _leader_replaced(book, signal, working)
        case "position":
            known = working.get(loid)
            if signal.action == "flatten":
                working.clear()
            elif known is not None and signal.is_fill:
                known.leaves -= min(known.leaves, signal.quantity or ZERO)
                if known.leaves == 0:
                    del working[loid]


def _leader_replaced(book: Book, signal: Signal, working: dict[str, LeaderOrder]) -> None:
    old = signal.orig_leader_order_id or signal.leader_order_id or ""
    new = signal.leader_order_id or old
    known = working.pop(old, None)
    if known is not None:
        if signal.quantity is not None:
            known.leaves = signal.quantity
        working[new] = known
    if new != old:
        moved = book.mirrors.pop((signal.leader, old), [])
        book.mirrors.setdefault((signal.leader, new), []).extend(moved)


def _leg_decided(book: Book, signal: Signal, leg: FollowerLeg) -> None:
    key = (signal.leader, leg.account_id, leg.root)
    allocation = leg.allocation
    if allocation is not None and allocation.after == 0:
        book.episodes.pop(key, None)
    elif allocation is not None and leg.target is not None:
        book.episodes[key] = Episode(allocation.num, allocation.den, allocation.peak, leg.target)
    elif leg.target is not None and key in book.episodes:
        book.episodes[key].target = leg.target
    for approved in leg.orders:
        _added(book, approved.intent)
        if approved.intent.role == "entry":
            _entry_noted(book, signal, approved.intent)
    for cancel in leg.cancels:
        _cancel_wanted(book, cancel)
    for replace in leg.replaces:
        _replace_wanted(book, replace)


def _entry_noted(book: Book, signal: Signal, intent: OrderIntent) -> None:
    times = book.order_times.setdefault(intent.account_id, deque(maxlen=ORDER_TIMES_MAX))
    while times and (signal.received_at - times[0]).total_seconds() >= 60:
        times.popleft()
    times.append(signal.received_at)
    key = (intent.account_id, intent.symbol, intent.side)
    book.last_entries[key] = LastEntry(signal.received_at, intent.qty, intent.price)


def _added(book: Book, intent: OrderIntent) -> None:
    book.add(
        ChildOrder(
            intent=intent,
            state="planned" if intent.after else "claimed",
            qty=intent.qty,
            price=intent.price,
            stop_price=intent.stop_price,
            trail_offset=intent.trail_offset,
        )
    )


def _cancel_wanted(book: Book, cancel: CancelIntent) -> None:
    order = book.orders.get(cancel.orig_cl_ord_id)
    if order is None or order.state in TERMINAL:
        return
    order.cancel = cancel
    if order.state == "planned":
        _advance(book, order, "skip", "canceled before it was sent")


def _replace_wanted(book: Book, replace: ReplaceIntent) -> None:
    order = book.orders.get(replace.orig_cl_ord_id)
    if order is None or order.state in TERMINAL:
        return
    if order.state == "planned":
        _take_numbers(order, replace.qty, replace.price, replace.stop_price, replace.trail_offset)
    else:
        order.replace = replace


def _take_numbers(
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


def _sent(book: Book, fact: SentFact) -> None:
    order = book.orders.get(fact.orig_cl_ord_id or fact.cl_ord_id)
    if order is None:
        return
    if fact.orig_cl_ord_id is None:
        order.hops.update(planned=fact.planned_us, durable=fact.durable_us, sent=fact.sent_us)
        if fact.qty is not None:
            order.qty = fact.qty
    elif order.cancel is not None and order.cancel.cl_ord_id == fact.cl_ord_id:
        order.cancel_sent = True
    else:
        order.replace_sent = True
        if order.replace is not None and order.replace.cl_ord_id == fact.cl_ord_id:
            order.replace = None


def _followed(book: Book, entry: FollowUp) -> None:
    for intent in entry.released:
        known = book.orders.get(intent.cl_ord_id)
        if known is None:
            _added(book, intent)
            continue
        known.intent = intent
        _take_numbers(known, intent.qty, intent.price, intent.stop_price, intent.trail_offset)
        _advance(book, known, "claim", "")
    for cl_ord_id in entry.dropped:
        _moved(book, cl_ord_id, "skip", "nothing was left to do")
    for cancel in entry.cancels:
        _cancel_wanted(book, cancel)
    for replace in entry.replaces:
        _replace_wanted(book, replace)


def _request_failed(book: Book, entry: RequestFailed) -> None:
    order = book.orders.get(entry.cl_ord_id)
    if order is None:
        return
    if entry.request == "cancel":
        order.cancel, order.cancel_sent = None, False
    else:
        order.replace_sent = False


def _moved(book: Book, cl_ord_id: str, event: Event, reason: str) -> Effect:
    order = book.orders.get(cl_ord_id)
    if order is None:
        return Effect(None, None, False, f"{cl_ord_id} is not in the book")
    before = order.state
    fault = _advance(book, order, event, reason)
    return Effect(order, before, False, fault)


def _advance(book: Book, order: ChildOrder, event: Event, reason: str) -> str:
    try:
        order.state = next_state(order.state, event)
    except IllegalTransition as error:
        book.blocked[order.intent.account_id] = error.message
        return error.message
    if reason:
        order.reason = reason
    book.settle(order)
    return ""


def _reported(book: Book, report: ExecutionReport) -> Effect:
    order = _find(book, report)
    is_trade = report.exec_type == "trade" and report.exec_id is not None and report.last_qty is not None
    if is_trade and not book.is_new_execution(report.account_id, report.exec_id or ""):
        return Effect(order, order.state if order else None, False)
    if is_trade:
        _position(book, report)
    if order is None:
        return Effect(None, None, is_trade)
    if report.order_id and order.order_id is None:
        order.order_id = report.order_id
        book.by_order_id[report.account_id, report.order_id] = order.intent.cl_ord_id
    before = order.state
    event = event_of(report, order)
    if is_trade:
        _filled(book, order, report)
    fault = _advance(book, order, event, report.text) if event is not None else ""
    _answered(order, report)
    return Effect(order, before, is_trade, fault)


def _find(book: Book, report: ExecutionReport) -> ChildOrder | None:
    if report.cl_ord_id is not None and report.cl_ord_id in book.orders:
        order = book.orders[report.cl_ord_id]
        return order if order.intent.account_id == report.account_id else None
    known = book.by_order_id.get((report.account_id, report.order_id))
    return book.orders.get(known) if known is not None else None


def _position(book: Book, report: ExecutionReport) -> None:
    position = book.positions.setdefault((report.account_id, report.symbol), Position())
    position.fill(report.side, report.last_qty or ZERO, report.last_px or ZERO)


def _filled(book: Book, order: ChildOrder, report: ExecutionReport) -> None:
    last, price = report.last_qty or ZERO, report.last_px or ZERO
    order.cum_qty += last
    order.turnover += last * price
    held = book.holdings.setdefault((order.intent.account_id, order.intent.leader), {})
    held.setdefault(report.symbol, Position()).fill(report.side, last, price)


def _answered(order: ChildOrder, report: ExecutionReport) -> None:
    match report.exec_type:
        case "replaced":
            order.replace_sent = False
            _take_numbers(order, report.order_qty, report.price, report.stop_price, None)
        case "replace_rejected":
            order.replace_sent = False
        case "cancel_rejected":
            order.cancel, order.cancel_sent = None, False
        case _:
            pass
