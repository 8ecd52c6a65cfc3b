"""What the fan-out says of a write, and what a broker must know of an order to cancel or move it."""

from typing import Protocol

from gateway_container.engine.queue import Place
from kopitra.domain.book import ChildOrder
from kopitra.domain.journal import SentFact
from kopitra.ports import BrokerSession, OrderRef, Sent


class Links(Protocol):
    """Finds the live session of an account."""

    def of(self, account_id: str) -> BrokerSession | None: ...


def sent_fact(place: Place, sent: Sent, cl_ord_id: str | None = None) -> SentFact:
    """The write of a place, or of one of its attached children."""
    stamp = place.stamp
    base = stamp.received_ns
    return SentFact(
        cl_ord_id or place.intent.cl_ord_id,
        (stamp.planned_ns - base) // 1000,
        (stamp.durable_ns - base) // 1000,
        (sent.at_ns - base) // 1000,
        qty=place.intent.qty if place.intent.role == "exit" else None,
    )


def order_ref(child: ChildOrder) -> OrderRef:
    """A child as its broker must be told of it."""
    intent = child.intent
    return OrderRef(
        intent.cl_ord_id,
        child.order_id or "",
        intent.account_id,
        intent.symbol,
        intent.side,
        intent.ord_type,
        child.qty,
        child.price,
        child.stop_price,
        child.trail_offset,
        intent.time_in_force,
    )
