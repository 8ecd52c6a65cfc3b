"""The fold: one journal entry into the book. The gateway, recovery and the audit all run this one function."""

from collections import deque
from datetime import datetime
from decimal import Decimal
from typing import Final

from kopitra.domain.book import ORDER_TIMES_MAX, Book, Episode, LastEntry
from kopitra.domain.fanout import FanoutPlan, FollowerLeg, LeaderAct
from kopitra.domain.fold_flatten import flatten_noted
from kopitra.domain.fold_leader import leader_known, leader_moved, leader_said
from kopitra.domain.fold_limits import marked, stepped
from kopitra.domain.fold_reports import (
    NOTHING,
    Effect,
    advance,
    not_canceled,
    not_replaced,
    reported,
    take_numbers,
)
from kopitra.domain.fold_sync import begin_repair, noted
from kopitra.domain.journal import (
    AbsenceProved,
    Doubted,
    DriftNoted,
    EntriesBlocked,
    Entry,
    EquityMarked,
    ExitPending,
    FlattenNoted,
    FollowUp,
    LeaderTold,
    LimitRung,
    OrderNotSent,
    OrderParked,
    OrdersSent,
    PositionDiffers,
    RepairPlanned,
    Reported,
    RequestFailed,
    SentFact,
    SignalPlanned,
    StrangerSeen,
    StreamStale,
    SwitchChanged,
)
from kopitra.domain.orders import TERMINAL, CancelIntent, ChildOrder, Event, OrderIntent, ReplaceIntent, State
from kopitra.domain.pending_exits import ExitKey, PendingExit
from kopitra.domain.repair import RepairPlan
from kopitra.domain.signals import Signal
from kopitra.domain.streams import REPEATS, LeaderStream, heard, merged, numbered

_PARKABLE: Final[frozenset[State]] = frozenset({"in_doubt"})
_PROVABLE: Final[frozenset[State]] = frozenset({"in_doubt", "parked"})


def fold(book: Book, entry: Entry) -> Effect:
    """Apply one entry. Deterministic; never raises for facts: a fact that does not fit blocks the account."""
    match entry:
        case SignalPlanned():
            _planned(book, entry.signal, entry.plan)
        case LeaderTold() | StreamStale():
            leader_known(book, entry)
        case Reported():
            return reported(book, entry.report)
        case OrdersSent():
            for fact in entry.sent:
                _sent(book, fact)
        case OrderNotSent():
            return _not_sent(book, entry)
        case FollowUp():
            _followed(book, entry)
        case Doubted() | AbsenceProved() | OrderParked():
            return _doubted(book, entry)
        case RequestFailed():
            _request_failed(book, entry)
        case _:
            _standing(book, entry)
    return NOTHING


def _standing(book: Book, entry: Entry) -> None:
    """What may trade. Sessions, alerts, drift, configuration and heartbeats are evidence and move nothing."""
    match entry:
        case SwitchChanged():
            book.switches.set(entry.switch)
        case DriftNoted() | EntriesBlocked() | PositionDiffers():
            noted(book, entry)
        case RepairPlanned():
            _repaired(book, entry.plan, entry.who)
        case FlattenNoted():
            flatten_noted(book, entry)
        case EquityMarked():
            marked(book, entry)
        case ExitPending():
            _exit_pending(book, entry)
        case LimitRung():
            stepped(book, entry)
        case StrangerSeen():
            book.estrange(entry.cl_ord_id, entry.account_id)
        case _:
            pass


def _repaired(book: Book, plan: RepairPlan, who: str) -> None:
    if not begin_repair(book, plan, who):
        return
    for intent in plan.intents:
        _added(book, intent)
        if intent.role == "entry":
            _entry_noted(book, plan.made_at, intent)


def _exit_pending(book: Book, entry: ExitPending) -> None:
    key = ExitKey(entry.account_id, entry.leader, entry.symbol)
    if entry.over:
        book.pending_exits.pop(key, None)
        return
    known = book.pending_exits.get(key)
    since = entry.at if known is None else known.since
    book.pending_exits[key] = PendingExit(entry.cause, entry.reason, entry.tries, since)


def _planned(book: Book, signal: Signal, plan: FanoutPlan) -> None:
    if numbered(signal):
        stream = book.streams.get(signal.leader)
        if stream is None:
            stream = book.streams[signal.leader] = LeaderStream()
        told, signal = signal, merged(signal, stream)
        heard(told, stream, plan.verdict)
    if plan.verdict not in REPEATS:
        leader_said(book, signal, plan.acts)
    legs_per_act = len(plan.legs) // max(1, len(plan.acts))
    for number, act in enumerate(plan.acts):
        leader_moved(book, signal, act)
        for leg in plan.legs[number * legs_per_act : (number + 1) * legs_per_act]:
            _leg_decided(book, signal, act, leg)


def _leg_decided(book: Book, signal: Signal, act: LeaderAct, leg: FollowerLeg) -> None:
    _stretch_decided(book, (signal.leader, leg.account_id, leg.root), act, leg)
    for approved in leg.orders:
        _added(book, approved.intent, signal.occurred_at, signal.received_at)
        if approved.intent.role == "entry":
            _entry_noted(book, signal.received_at, approved.intent)
    for cancel in leg.cancels:
        _cancel_wanted(book, cancel)
    for replace in leg.replaces:
        order = _replace_wanted(book, replace)
        if order is not None and replace.qty is not None:
            _resized(book, order, replace.qty)


def _stretch_decided(book: Book, key: tuple[str, str, str], act: LeaderAct, leg: FollowerLeg) -> None:
    allocation, target = leg.allocation, leg.target
    if act.exposure_before * act.exposure_after <= 0:
        # A stretch ends; or one begins, and the end of the last was known from a snapshot only.
        book.sync.by_hand.pop(key, None)
        if act.exposure_before or not act.exposure_after:
            book.episodes.pop(key, None)  # the leader is out or has turned
    if allocation is not None and allocation.raw == 0:
        book.episodes.pop(key, None)
    elif allocation is not None and target is not None:
        book.episodes[key] = Episode(allocation.num, allocation.den, allocation.peak, target)
    elif target is not None and key in book.episodes:
        book.episodes[key].target = target


def _resized(book: Book, order: ChildOrder, qty: Decimal) -> None:
    """The leader's move gives an order another size; the stops of an entry cover all of it."""
    order.planned_qty = qty
    for child in book.open_children(order.intent.account_id, order.intent.leader):
        if child.intent.parent == order.intent.cl_ord_id and child.intent.role == "stop":
            child.planned_qty = qty


def _entry_noted(book: Book, at: datetime, intent: OrderIntent) -> None:
    times = book.order_times.get(intent.account_id)
    if times is None:
        times = book.order_times[intent.account_id] = deque(maxlen=ORDER_TIMES_MAX)
    while times and (at - times[0]).total_seconds() >= 60:
        times.popleft()
    times.append(at)
    key = (intent.account_id, intent.symbol, intent.side)
    book.last_entries[key] = LastEntry(at, intent.qty, intent.price)
    if intent.account_id in book.trades_today:
        book.trades_today[intent.account_id] += 1


def _is_adopted(book: Book, intent: OrderIntent) -> bool:
    return bool(book.strangers) and book.strangers.pop(intent.cl_ord_id, None) == intent.account_id


def _added(
    book: Book, intent: OrderIntent, acted_at: datetime | None = None, accepted_at: datetime | None = None
) -> None:
    book.add(
        ChildOrder(
            intent=intent,
            # An id that the broker has already, told by a journal that lost it, is adopted and not written.
            state="in_doubt" if _is_adopted(book, intent) else "planned" if intent.after else "claimed",
            qty=intent.qty,
            planned_qty=intent.qty,
            attached=intent.parent is not None and not intent.after,
            price=intent.price,
            stop_price=intent.stop_price,
            trail_offset=intent.trail_offset,
            acted_at=acted_at,
            accepted_at=accepted_at,
        )
    )


def _cancel_wanted(book: Book, cancel: CancelIntent) -> None:
    order = book.orders.get(cancel.orig_cl_ord_id)
    if order is None or order.state in TERMINAL:
        return
    order.cancel = cancel
    order.requests += 1
    if order.state == "planned":
        advance(book, order, "skip", "canceled before it was sent")


def _replace_wanted(book: Book, replace: ReplaceIntent) -> ChildOrder | None:
    order = book.orders.get(replace.orig_cl_ord_id)
    if order is None or order.state in TERMINAL:
        return None
    order.requests += 1
    if order.state == "planned":
        take_numbers(order, replace.qty, replace.price, replace.stop_price, replace.trail_offset)
    else:
        order.replace = replace if order.replace is None else _merged(order.replace, replace)
        order.moving = order.moving or replace.cl_ord_id
    return order


def _merged(older: ReplaceIntent, newer: ReplaceIntent) -> ReplaceIntent:
    """Two moves of which none has left are one: the newest number of each kind counts (R-032)."""
    return newer._replace(
        qty=older.qty if newer.qty is None else newer.qty,
        price=older.price if newer.price is None else newer.price,
        stop_price=older.stop_price if newer.stop_price is None else newer.stop_price,
        trail_offset=older.trail_offset if newer.trail_offset is None else newer.trail_offset,
    )


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
    elif order.replace is not None and order.replace.cl_ord_id == fact.cl_ord_id:
        order.asked, order.replace, order.replace_sent = order.replace, None, True


def _followed(book: Book, entry: FollowUp) -> None:
    for intent in entry.released:
        known = book.orders.get(intent.cl_ord_id)
        if known is None:
            _added(book, intent)
            continue
        if known.intent == intent and known.state != "planned" and entry.renewed != intent.cl_ord_id:
            continue  # the same fact again, after an unclear commit
        if entry.renewed == intent.cl_ord_id and known.state != "not_placed":
            continue  # evidence came first: it is there
        known.intent = intent
        take_numbers(known, intent.qty, intent.price, intent.stop_price, intent.trail_offset)
        advance(book, known, "claim", "")
    for cl_ord_id in entry.dropped:
        _moved(book, cl_ord_id, "skip", "nothing was left to do")
    lost = book.orders.get(entry.renewed) if entry.renewed else None
    if lost is not None and lost.intent.role == "exit":
        lost.superseded = True
    for cancel in entry.cancels:
        _cancel_wanted(book, cancel)
    for replace in entry.replaces:
        _replace_wanted(book, replace)


def _request_failed(book: Book, entry: RequestFailed) -> None:
    order = book.orders.get(entry.cl_ord_id)
    if order is None:
        return
    if entry.request == "cancel":
        not_canceled(order)
    else:
        not_replaced(order)


def _not_sent(book: Book, entry: OrderNotSent) -> Effect:
    """What waited for an order that never left is not sent either; closes go on waiting for their second."""
    effect = _moved(book, entry.cl_ord_id, "skip", entry.reason)
    order = effect.order
    if order is not None and order.state == "skipped":
        for held in list(book.open_children(entry.account_id, order.intent.leader)):
            waits = held.state == "planned" and entry.cl_ord_id in held.intent.after
            if waits and held.intent.role != "exit":
                advance(book, held, "skip", "the order it waits for was not sent")
    return effect


def _doubted(book: Book, entry: Doubted | AbsenceProved | OrderParked) -> Effect:
    match entry:
        case Doubted():
            return _moved(book, entry.cl_ord_id, "doubt", entry.reason)
        case AbsenceProved():
            return _settled(book, entry.cl_ord_id, "absent", entry.why or "the broker does not have it")
        case OrderParked():
            return _settled(book, entry.cl_ord_id, "park", f"{entry.who}: {entry.why}")


def _settled(book: Book, cl_ord_id: str, event: Event, reason: str) -> Effect:
    """A doubt ends without the broker's word; evidence that came first, or the same fact again, wins."""
    order = book.orders.get(cl_ord_id)
    open_for: frozenset[State] = _PROVABLE if event == "absent" else _PARKABLE
    if order is None or order.state not in open_for:
        return Effect(order, order.state if order is not None else None, False)
    if event == "absent" and order.intent.after:
        return _held_still(book, order, reason)
    return _moved(book, cl_ord_id, event, reason)


def _held_still(book: Book, order: ChildOrder, reason: str) -> Effect:
    """It was held when it fell in doubt, and did not leave: it waits on, unless it was canceled meanwhile."""
    effect = _moved(book, order.intent.cl_ord_id, "hold", reason)
    if order.cancel is not None:
        advance(book, order, "skip", "canceled before it was sent")
    return effect


def _moved(book: Book, cl_ord_id: str, event: Event, reason: str) -> Effect:
    order = book.orders.get(cl_ord_id)
    if order is None:
        return Effect(None, None, False, f"{cl_ord_id} is not in the book")
    before = order.state
    fault = advance(book, order, event, reason)
    return Effect(order, before, False, fault)
