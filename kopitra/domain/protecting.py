"""How large a protective order should be by the fills of its entry, where it stands, and whose turn it is. Pure."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from kopitra.domain.book import Book, ChildOrder, root_of
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import ACKNOWLEDGED, TERMINAL, ZERO, OrderIntent
from kopitra.domain.rounding import RoundingPolicy, round_quantity
from kopitra.domain.signals import sign

_DOWN: Final = RoundingPolicy(mode="down")


def in_turn(protective: list[ChildOrder], stays: Callable[[ChildOrder], bool]) -> list[ChildOrder]:
    """Who has its part of the holding first. Mirrors of the leader's own orders take each other's places, newest first:
    a leader that replaces its stop rests the new one before it cancels the old. What `stays` as it is comes before the
    others, and what the broker has not acknowledged after them: it may come to nothing."""
    loose = [order for order in reversed(protective) if order.intent.parent is None]
    if len(loose) < 2:
        return protective  # nearly always
    loose.sort(key=lambda order: (not stays(order), order.state not in ACKNOWLEDGED))
    turns = iter(loose)
    return [next(turns) if order.intent.parent is None else order for order in protective]


def unmirrored(book: Book, order: ChildOrder) -> str:
    """The leader's stop or target that still rests without a copy, now that `order`, which took its place, is over and
    nothing else of its kind covers what is held; "": none."""
    intent = order.intent
    if intent.role not in ("stop", "target") or intent.parent is not None or order.state not in TERMINAL:
        return ""
    account, leader, contract = intent.account_id, intent.leader, intent.symbol
    position = book.held(account, leader).get(contract)
    episode = book.episodes.get((leader, account, root_of(contract)))
    held = ZERO if position is None else position.qty
    if episode is None or held * episode.target <= 0 or held * sign(intent.side) >= 0:
        return ""  # nothing is held, or all of it is on its way out
    if any(True for _ in book.children(account, leader, intent.role, contract)):
        return ""
    for name in book.leader(leader, root_of(contract)).working:
        ended = (book.orders.get(copy) for copy in book.mirrors.get((leader, name), ()))
        if any(o is not None and _stands_for(o, order) for o in ended):
            return name
    return ""


def _stands_for(ended: ChildOrder, order: ChildOrder) -> bool:
    mine, other = order.intent, ended.intent
    same = (mine.account_id, mine.role, mine.symbol) == (other.account_id, other.role, other.symbol)
    return same and other.parent is None and ended.state == "canceled"


def still_due(order: ChildOrder, parent: ChildOrder | None) -> Decimal:
    """What a working protective order should still cover by the fills of its entry."""
    called_for = order.planned_qty if parent is None else due(order, parent)
    return max(ZERO, called_for - order.cum_qty)


def due(order: ChildOrder, entry: ChildOrder) -> Decimal:
    """The part of a protective order that the filled part of its entry calls for."""
    planned, filled = order.planned_qty, entry.cum_qty
    if filled >= entry.qty or order.intent.role == "stop":
        return min(planned, filled)
    step = INSTRUMENTS[root_of(order.intent.symbol)].qty_step
    return round_quantity(planned * filled / entry.qty, step, _DOWN).qty


def level(intent: OrderIntent, entry: ChildOrder, offset: Decimal) -> Decimal:
    """Distance from the entry's fill price to a price on the grid: stops behind it, targets before it."""
    average = entry.avg_px or ZERO
    away = offset * sign(entry.intent.side)
    return INSTRUMENTS[root_of(intent.symbol)].snap(
        average - away if intent.role == "stop" else average + away, "nearest"
    )
