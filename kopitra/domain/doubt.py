"""What nobody knows of an order, and what follows from looking: pure, from the reads that were made since.

An order in doubt may live at the broker. Evidence of it resolves the doubt, whoever tells it. Its absence is proved
only by two complete reads at least T_vis apart, both of a broker whose lists are the last word on our client ids, in
one unbroken life of the session, with the account's position explained without the order (R-009, R-010). An order is
never found by symbol, side and quantity: only its own id, or the broker's, names it.
"""

from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.attribution import still_too_much, to_stay
from kopitra.domain.book import Book, ChildOrder
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.react import close_of
from kopitra.domain.signals import sign

#: milliseconds that two proving reads lie apart at least; a broker whose lists lag more says so
T_VIS_MIN_MS: Final = 5_000
#: reads without the order after which a person is told
TELL_AFTER_READS: Final = 5
_NS_PER_MS: Final = 1_000_000


class Sight(NamedTuple):
    """What a broker's lists are worth, from its capability record."""

    #: a whole read that does not name our client id proves that the broker does not have it
    authoritative: bool
    #: milliseconds that its lists may lag behind what happened (p99.9)
    lag_ms: int = 0

    @property
    def t_vis_ns(self) -> int:
        """Nanoseconds between two reads that prove something."""
        return max(T_VIS_MIN_MS, self.lag_ms) * _NS_PER_MS


class Read(NamedTuple):
    """One look at an account that did not show the order. Times are monotonic nanoseconds of this process."""

    started_ns: int
    #: working and finished orders, executions and positions were all told
    whole: bool
    #: which unbroken life of the session it was made in, counted by this process; 0: not logged in
    life: int
    #: the writer's epoch was current
    current: bool
    #: the broker's position in the order's contract is the book's: the order has left no trace there
    explained: bool


class Doubt(NamedTuple):
    """One order in doubt, as this process has looked for it."""

    #: monotonic nanoseconds when this process first knew; the order left before
    since_ns: int
    #: the read that a later one must agree with
    first: Read | None = None
    #: whole reads without the order, in all lives
    reads: int = 0


class Wait(NamedTuple):
    """Look again; a read begun before `until_ns` can prove nothing."""

    doubt: Doubt
    until_ns: int


class Absent(NamedTuple):
    """Proved: the broker does not have it and never had."""

    first: Read
    second: Read


class Unfound(NamedTuple):
    """Two checks T_vis apart did not show it, and that proves nothing here: an exit is replaced by what the broker's
    position asks for, for the rest a person is needed."""

    doubt: Doubt
    why: Literal["lists are not the last word", "the position is not explained"]


Finding = Wait | Absent | Unfound


def looked(doubt: Doubt, read: Read, sight: Sight) -> Finding:
    """What a read that did not show the order makes of the doubt."""
    if not read.whole or read.life == 0 or not read.current or read.started_ns < doubt.since_ns:
        return Wait(doubt, _next(doubt, sight))
    known = doubt._replace(reads=doubt.reads + 1)
    first = doubt.first
    if first is None or first.life != read.life:
        known = known._replace(first=read)  # a new life of the session: what the old one showed is void
        return Wait(known, _next(known, sight))
    if read.started_ns - first.started_ns < sight.t_vis_ns:
        return Wait(known, _next(known, sight))
    if not sight.authoritative:
        return Unfound(known, "lists are not the last word")
    if not read.explained:
        return Unfound(known, "the position is not explained")
    if not first.explained:
        # It is explained now; what explained it may have come late, so the proof begins with this read.
        known = known._replace(first=read)
        return Wait(known, _next(known, sight))
    return Absent(first, read)


def _next(doubt: Doubt, sight: Sight) -> int:
    return doubt.since_ns if doubt.first is None else doubt.first.started_ns + sight.t_vis_ns


def is_held_still(book: Book, order: ChildOrder, doubt: Doubt, read: Read, sight: Sight) -> bool:
    """True when one read without it shows that a held order was not let go by a predecessor whose exit file we lack.

    A stop or target is let go when its entry fills. A close is let go at any time, but it is sized by what is held
    when it leaves, so that done twice it converges (R-073). What the lists may not show yet proves nothing.
    """
    seen_ns = doubt.since_ns + sight.lag_ms * _NS_PER_MS
    if not read.whole or read.life == 0 or not read.current or read.started_ns < seen_ns:
        return False
    awaited = (book.orders.get(name) for name in order.intent.after)
    unfilled = read.explained and all(parent is None or not parent.cum_qty for parent in awaited)
    return order.intent.role == "exit" or unfilled


def renewed_close(book: Book, order: ChildOrder, net_qty: Decimal) -> FollowUp | None:
    """The close that stands in for an exit that cannot be found, sized by what the broker shows now (R-012).

    `net_qty` is the broker's signed position. What it has changed beside our book in the exit's direction counts as
    done, and no more is closed than is there and than the leader wants gone by now, without what a stop is closing
    already, so that a close never opens. The old exit counts no more; None when nothing is left to close, or when it
    was replaced before.
    """
    intent = order.intent
    if order.superseded or intent.after or intent.role != "exit" or not intent.leader:
        return None
    counted = book.positions.get((intent.account_id, intent.symbol))
    closing = sign(intent.side)
    done = max(ZERO, (net_qty - (counted.qty if counted is not None else ZERO)) * closing)
    held = book.held(intent.account_id, intent.leader).get(intent.symbol)
    ours = ZERO if held is None else -held.qty * closing
    there = max(ZERO, -net_qty * closing - _stopping(book, intent))
    qty = min(order.qty - order.cum_qty - done, there, still_too_much(book, order, ours - done))
    if qty <= 0:
        return None
    close = close_of(book, intent, intent.side, qty)
    return FollowUp(intent.cl_ord_id, intent.account_id, released=(close,), renewed=intent.cl_ord_id)


def _stopping(book: Book, exit_: OrderIntent) -> Decimal:
    """What stops that have begun to fill will close of the same holding."""
    line = (exit_.symbol, exit_.side)
    mine = book.open_children(exit_.account_id, exit_.leader)
    return sum(
        (o.leaves_qty for o in mine if o.is_triggered and (o.intent.symbol, o.intent.side) == line), ZERO
    )


def given_up(book: Book, order: ChildOrder, net_qty: Decimal) -> FollowUp | None:
    """An exit that cannot be found and has nothing left to close counts no more: it would be taken for the close of
    what is opened later (R-012). None while something it would close is held that is not to stay, or the broker's
    position differs from the book's, which the exit may have done.
    """
    intent = order.intent
    if order.superseded or intent.after or intent.role != "exit" or not intent.leader:
        return None
    counted = book.positions.get((intent.account_id, intent.symbol))
    held = book.held(intent.account_id, intent.leader).get(intent.symbol)
    is_due = held is not None and -held.qty * sign(intent.side) > to_stay(book, order)
    if is_due or net_qty != (counted.qty if counted is not None else ZERO):
        return None
    return FollowUp(intent.cl_ord_id, intent.account_id, renewed=intent.cl_ord_id)


class Resend(NamedTuple):
    """When an entry that was proved absent may be sent again, under its old id (R-011)."""

    #: the follower's rule asks for it
    wanted: bool
    #: the broker refuses a second order of an id for ever, also after the first one filled
    dedups_for_ever: bool
    #: milliseconds since the leader acted, and how many an entry may be old
    age_ms: int
    max_age_ms: int


def resent(book: Book, order: ChildOrder, may: Resend) -> FollowUp | None:
    """The entry once more, under its own id, so that the broker itself refuses a double; None: not allowed.

    An entry with stops or targets of its own is left to people: half of it would be an unprotected position.
    """
    intent: OrderIntent = order.intent
    allowed = may.wanted and may.dedups_for_ever and may.age_ms <= may.max_age_ms
    if not allowed or intent.role != "entry" or order.state != "not_placed":
        return None
    siblings = (book.orders.get(name) for name in book.lists.get(intent.list_id, ()))
    if any(o is not None and o.intent.parent == intent.cl_ord_id for o in siblings):
        return None
    return FollowUp(intent.cl_ord_id, intent.account_id, released=(intent,), renewed=intent.cl_ord_id)
