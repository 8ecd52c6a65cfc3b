"""Reading a signal against the leader's book: what the leader holds after the act."""

from decimal import Decimal
from typing import assert_never

from kopitra.domain.book import Book, LeaderPosition
from kopitra.domain.fanout import LeaderAct
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Signal, sign


def leader_acts(signal: Signal, book: Book) -> tuple[LeaderAct, ...]:
    """One act per product: exactly one, but for a flatten of everything (no symbol)."""
    if signal.symbol:
        return (_act(signal, signal.symbol, book),)
    roots = sorted(root for leader, root in book.leaders if leader == signal.leader)
    return tuple(_act(signal, root, book) for root in roots)


def _act(signal: Signal, root: str, book: Book) -> LeaderAct:
    position = book.leader(signal.leader, root)
    match signal.action:
        case "enter" | "add":
            return _entry(signal, root, position)
        case "reduce" | "exit":
            return _exit(signal, root, position)
        case "reverse":
            after = _given(signal, sign(signal.side or "buy") * (signal.quantity or abs(position.qty)))
            return _moved(root, position, after)
        case "flatten":
            return _gone(root, position)
        case "cancel":
            return _canceled(signal, root, position)
        case "replace":
            return _same(root, position)
        case _:
            assert_never(signal.action)


def _given(signal: Signal, counted: Decimal) -> Decimal:
    return counted if signal.leader_position is None else signal.leader_position


def _entry(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    signed = (signal.quantity or ZERO) * sign(signal.side or "buy")
    if signal.ord_type != "market" and not signal.is_fill:
        exposure = position.exposure
        return LeaderAct("resting_entry", root, position.qty, position.qty, exposure, exposure + signed)
    after = _given(signal, position.qty + signed)
    return _moved(root, position, after, _filled_working(signal, position))


def _exit(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    held = position.qty
    if signal.ord_type != "market" and not signal.is_fill:
        return LeaderAct("resting_exit", root, held, held, position.exposure, position.exposure)
    quantity = signal.quantity
    counted = ZERO
    if quantity is not None and quantity < abs(held):
        counted = held - quantity if held > 0 else held + quantity
    elif signal.action == "reduce" and quantity is None:
        counted = held
    return _moved(root, position, _given(signal, counted), _filled_working(signal, position))


def _filled_working(signal: Signal, position: LeaderPosition) -> Decimal:
    """Signed quantity by which a resting entry shrinks because this fill is its own."""
    working = position.working.get(signal.leader_order_id or "")
    if not signal.is_fill or working is None or working.reduces:
        return ZERO
    return min(signal.quantity or ZERO, working.leaves) * sign(working.side)


def _moved(root: str, position: LeaderPosition, after: Decimal, shrunk: Decimal = ZERO) -> LeaderAct:
    resting = position.exposure - position.qty
    return LeaderAct("position", root, position.qty, after, position.exposure, after + resting - shrunk)


def _gone(root: str, position: LeaderPosition) -> LeaderAct:
    # A flatten ends everything of the leader; an exit leaves its resting entries, which have signals of their own.
    return LeaderAct("position", root, position.qty, ZERO, position.exposure, ZERO)


def _canceled(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    working = position.working.get(signal.leader_order_id or "")
    gone = working.signed if working is not None and not working.reduces else ZERO
    exposure = position.exposure
    return LeaderAct("cancel", root, position.qty, position.qty, exposure, exposure - gone)


def _same(root: str, position: LeaderPosition) -> LeaderAct:
    exposure = position.exposure
    return LeaderAct("replace", root, position.qty, position.qty, exposure, exposure)
