"""Folding what a leader did: its position and its resting orders, exactly as the act says."""

from collections.abc import Iterable

from kopitra.domain.book import LEADER_ORDERS_MAX, Book, LeaderOrder, LeaderPosition
from kopitra.domain.fanout import LeaderAct
from kopitra.domain.journal import LeaderTold, StreamStale
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.orders import ZERO
from kopitra.domain.overtaking import stands_in
from kopitra.domain.signals import Signal
from kopitra.domain.streams import LeaderStream, reset


def leader_moved(book: Book, signal: Signal, act: LeaderAct) -> None:
    """The leader's book after one act."""
    key = (signal.leader, act.root)
    position = book.leaders.get(key)
    if position is None:
        position = book.leaders[key] = LeaderPosition()
    position.qty = act.position_after
    loid = signal.leader_order_id or signal.signal_id
    working = position.working
    match act.kind:
        case "resting_entry" | "resting_exit":
            if len(working) < LEADER_ORDERS_MAX and signal.side is not None and loid not in working:
                counts = act.exposure_after != act.exposure_before
                quantity = signal.quantity or abs(position.qty)
                working[loid] = LeaderOrder(signal.side, quantity, counts, signal.price, signal.stop_price)
        case "cancel":
            working.pop(loid, None)
        case "replace":
            _leader_replaced(book, signal, working)
        case "position":
            if working:
                _leader_working(signal, act, working, loid)


def leader_said(book: Book, signal: Signal, acts: Iterable[LeaderAct]) -> None:
    """When it last said where it stands: what was received before that, and is planned later, opens nothing."""
    for root in stands_in(signal, acts):
        key = (signal.leader, root)
        book.said_at[key] = max(signal.received_at, book.said_at.get(key, signal.received_at))


def leader_known(book: Book, entry: LeaderTold | StreamStale) -> None:
    """What is known of a leader: everything that its snapshot says, or nothing for sure any more (R-035)."""
    match entry:
        case LeaderTold():
            _told(book, entry.snapshot)
        case StreamStale():
            book.streams.setdefault(entry.leader, LeaderStream()).stale = True


def _told(book: Book, snapshot: LeaderSnapshot) -> None:
    """The leader is where its snapshot says, in every product (R-033)."""
    held = dict(snapshot.positions)
    known = {root for leader, root in book.leaders if leader == snapshot.leader}
    for root in sorted(known | held.keys()):
        position = book.leaders.setdefault((snapshot.leader, root), LeaderPosition())
        position.qty = held.get(root, ZERO)
        if snapshot.orders is not None:
            for name in [n for n in position.working if n not in snapshot.orders]:
                del position.working[name]
    reset(book.streams.setdefault(snapshot.leader, LeaderStream()), snapshot.sequence)


def _leader_working(signal: Signal, act: LeaderAct, working: dict[str, LeaderOrder], loid: str) -> None:
    """What still rests once the position has moved: exactly what the act says is open beside the position."""
    if act.exposure_after == 0 == act.position_after and not signal.is_fill:
        working.clear()
        return
    filled = working.get(loid)
    if filled is not None and signal.is_fill:
        filled.leaves -= min(filled.leaves, signal.quantity or ZERO)
    counted = [order for order in working.values() if order.counts]
    for order in counted:
        order.counts = order.signed * act.position_after >= 0
    surplus = sum((o.leaves for o in counted if o.counts), ZERO)
    surplus -= abs(act.exposure_after - act.position_after)
    for order in counted:
        if order.counts and surplus > 0:
            unheard = min(surplus, order.leaves)
            order.leaves -= unheard
            surplus -= unheard
    for name in [name for name, order in working.items() if order.leaves == 0]:
        del working[name]


def _leader_replaced(book: Book, signal: Signal, working: dict[str, LeaderOrder]) -> None:
    old = signal.orig_leader_order_id or signal.leader_order_id or ""
    new = signal.leader_order_id or old
    known = working.pop(old, None)
    if known is not None:
        if signal.quantity is not None:
            known.leaves = signal.quantity
        known.price = known.price if signal.price is None else signal.price
        known.stop_price = known.stop_price if signal.stop_price is None else signal.stop_price
        working[new] = known
    if new != old:
        moved = book.mirrors.pop((signal.leader, old), [])
        book.mirrors.setdefault((signal.leader, new), []).extend(moved)
