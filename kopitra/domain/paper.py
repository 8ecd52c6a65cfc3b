"""A paper market: what a broker would make of an order at known prices. Pure: orders and prices in, facts out.

One order fills whole, at once: at the touch when it can trade on arrival, at its own price once it has rested. Stops
are triggered by the last trade and then fill at the touch. What travels with an entry waits until it has filled, and of
those the first that fills cancels the others, as brokers link them. Without a price an order rests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side

#: orders that rest or wait at one account; one more is rejected
RESTING_MAX: Final = 500


class PaperPrice(NamedTuple):
    """What is known of a contract."""

    bid: Decimal
    ask: Decimal
    last: Decimal


@dataclass(slots=True)
class PaperOrder:
    """One order on paper. `held`: it travels with an entry that has not filled."""

    order_id: str
    cl_ord_id: str
    symbol: str
    side: Side
    ord_type: OrdType
    qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    trail: Decimal | None
    parent: str | None = None
    held: bool = False
    triggered: bool = False
    #: it has been looked at and did not trade
    rested: bool = False


PaperEvent = Literal["suspended", "new", "trade", "canceled", "rejected"]


class PaperFact(NamedTuple):
    """What became of an order; `price` of a trade, which is always for all of it."""

    event: PaperEvent
    order: PaperOrder
    price: Decimal | None = None
    text: str = ""


def paper_order(intent: OrderIntent, order_id: str, *, held: bool = False) -> PaperOrder:
    """As it was sent."""
    return PaperOrder(
        order_id,
        intent.cl_ord_id,
        intent.symbol,
        intent.side,
        intent.ord_type,
        intent.qty,
        intent.price,
        intent.stop_price,
        intent.trail_offset,
        intent.parent,
        held,
    )


class PaperBook:
    """The orders of one account that have not ended, by our ids."""

    def __init__(self) -> None:
        self.orders: dict[str, PaperOrder] = {}  # bounded: RESTING_MAX in place

    def place(
        self, order: PaperOrder, attached: Sequence[PaperOrder], price: PaperPrice | None
    ) -> Iterator[PaperFact]:
        """Take an order and what travels with it."""
        if len(self.orders) + 1 + len(attached) > RESTING_MAX:
            for one in (order, *attached):
                yield PaperFact("rejected", one, text=f"paper: {RESTING_MAX} orders rest")
            return
        for one in (order, *attached):
            self.orders[one.cl_ord_id] = one
            yield PaperFact("suspended" if one.held else "new", one)
        yield from self.match(order, price)

    def match(self, order: PaperOrder, price: PaperPrice | None) -> Iterator[PaperFact]:
        """Let one order trade if it can; what its fill does to the others comes with it."""
        if order.held or price is None or order.cl_ord_id not in self.orders:
            return
        at = _tradable(order, price)
        if at is None:
            order.rested = True
            return
        del self.orders[order.cl_ord_id]
        yield PaperFact("trade", order, at)
        for other in tuple(self.orders.values()):
            if order.parent is not None and other.parent == order.parent:
                yield from self._end(other)
            elif other.parent == order.cl_ord_id and other.held:
                other.held = False
                yield PaperFact("new", other)
                yield from self.match(other, price)

    def cancel(self, cl_ord_id: str) -> Iterator[PaperFact]:
        """End an order, and what waits for it; nothing when it has ended."""
        order = self.orders.get(cl_ord_id)
        if order is None:
            return
        yield from self._end(order)
        for other in tuple(self.orders.values()):
            if other.parent == cl_ord_id and other.held:
                yield from self._end(other)

    def _end(self, order: PaperOrder) -> Iterator[PaperFact]:
        del self.orders[order.cl_ord_id]
        yield PaperFact("canceled", order)


def _tradable(order: PaperOrder, price: PaperPrice) -> Decimal | None:
    """At what price it trades now."""
    buys = order.side == "buy"
    touch = price.ask if buys else price.bid
    if order.ord_type in ("stop", "stop_limit", "trailing_stop") and not _triggered(order, price.last):
        return None
    if order.ord_type not in ("limit", "stop_limit") or order.price is None:
        return touch
    if touch > order.price if buys else touch < order.price:
        return None
    return order.price if order.rested else touch


def _triggered(order: PaperOrder, last: Decimal) -> bool:
    buys = order.side == "buy"
    if order.ord_type == "trailing_stop" and order.trail is not None:
        wanted, before = (
            (last + order.trail, order.stop_price) if buys else (last - order.trail, order.stop_price)
        )
        if before is None or (wanted < before if buys else wanted > before):
            order.stop_price = wanted
    if not order.triggered and order.stop_price is not None:
        order.triggered = last >= order.stop_price if buys else last <= order.stop_price
    return order.triggered
