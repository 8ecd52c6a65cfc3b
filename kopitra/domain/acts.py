"""Reading a signal against the leader's book: what the leader holds after the act."""

from decimal import Decimal
from typing import assert_never

from kopitra.domain.book import LEADER_ORDERS_MAX, Book, LeaderPosition
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
            # `quantity` is the size of the new position; a fill's own word for it is `leader_position`.
            counted = sign(signal.side or "buy") * (signal.quantity or abs(position.qty))
            return _moved(signal, root, position, counted)
        case "flatten":
            return _gone(root, position)
        case "cancel":
            return _canceled(signal, root, position)
        case "replace":
            return _replaced(signal, root, position)
        case _:
            assert_never(signal.action)


def _entry(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    signed = (signal.quantity or ZERO) * sign(signal.side or "buy")
    if signal.ord_type == "market" or signal.is_fill:
        return _moved(signal, root, position, position.qty + signed)
    exposure = position.exposure
    # An order against what the leader holds or rests is not counted: it reduces when it fills, or it is one side of
    # a breakout pair of which one will be canceled. An order that rests already is the same order told twice.
    working = position.working
    known = signal.leader_order_id in working or len(working) >= LEADER_ORDERS_MAX
    grown = ZERO if known or exposure * signed < 0 else signed
    return LeaderAct("resting_entry", root, position.qty, position.qty, exposure, exposure + grown)


def _exit(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    held, quantity = position.qty, signal.quantity
    if signal.ord_type != "market" and not signal.is_fill:
        return LeaderAct("resting_exit", root, held, held, position.exposure, position.exposure)
    if signal.action == "reduce" and quantity is None:
        return _moved(signal, root, position, held)
    whole = quantity is None or quantity >= abs(held)
    if not whole and quantity is not None:
        return _moved(signal, root, position, held - quantity if held > 0 else held + quantity)
    if signal.is_fill or signal.leader_position:
        return _moved(signal, root, position, ZERO)
    if signal.action == "exit" or quantity is None:
        return _gone(root, position)
    # More than we knew it to hold: resting entries must have filled that nobody told us of.
    resting = position.exposure - held
    left = max(ZERO, abs(resting) - (quantity - abs(held)))
    return LeaderAct("position", root, held, ZERO, position.exposure, left if resting > 0 else -left)


def _moved(signal: Signal, root: str, position: LeaderPosition, counted: Decimal) -> LeaderAct:
    """The leader holds `counted` now, or what it says itself; what of its resting entries is still open beside it.

    A difference between the two on the side of the resting entries means that some of them filled unheard.
    """
    after = counted if signal.leader_position is None else signal.leader_position
    resting = position.exposure - position.qty - _filled_working(signal, position)
    unheard = after - counted
    if unheard * resting > 0:
        resting = resting - unheard if abs(unheard) < abs(resting) else ZERO
    if after * resting < 0:
        resting = ZERO  # it turned: what still rests on the old side is followed when it fills
    return LeaderAct("position", root, position.qty, after, position.exposure, after + resting)


def _filled_working(signal: Signal, position: LeaderPosition) -> Decimal:
    """Signed quantity by which a resting entry shrinks because this fill is its own."""
    working = position.working.get(signal.leader_order_id or "")
    if not signal.is_fill or working is None or not working.counts:
        return ZERO
    return min(signal.quantity or ZERO, working.leaves) * sign(working.side)


def _gone(root: str, position: LeaderPosition) -> LeaderAct:
    """The leader is out by its own word, resting entries included.

    A flatten says so. An exit that is not a fill says so too: a sender that never tells its fills may have had any
    of its resting entries filled, and a follower must not be opened after its leader's close (I-10).
    """
    return LeaderAct("position", root, position.qty, ZERO, position.exposure, ZERO)


def _canceled(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    working = position.working.get(signal.leader_order_id or "")
    gone = working.signed if working is not None and working.counts else ZERO
    exposure = position.exposure
    return LeaderAct("cancel", root, position.qty, position.qty, exposure, exposure - gone)


def _replaced(signal: Signal, root: str, position: LeaderPosition) -> LeaderAct:
    working = position.working.get(signal.orig_leader_order_id or signal.leader_order_id or "")
    exposure, grown = position.exposure, ZERO
    if working is not None and working.counts and signal.quantity is not None:
        grown = (signal.quantity - working.leaves) * sign(working.side)
    return LeaderAct("replace", root, position.qty, position.qty, exposure, exposure + grown)
