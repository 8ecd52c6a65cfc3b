"""How large a protective order should be by the fills of its entry, and where it should stand. Pure."""

from decimal import Decimal
from typing import Final

from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.rounding import RoundingPolicy, round_quantity
from kopitra.domain.signals import sign

_DOWN: Final = RoundingPolicy(mode="down")


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
