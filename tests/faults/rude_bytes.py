"""A placement as the bytes that travel to a rude broker."""

from collections.abc import Sequence
from typing import Final

import msgspec

from brokers._kit.matching.orders import NewOrder
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, TimeInForce, sign
from kopitra.ports import Encoded

ORD_TYPES: Final[frozenset[OrdType]] = frozenset({"market", "limit", "stop", "stop_limit", "trailing_stop"})
TIMES_IN_FORCE: Final[frozenset[TimeInForce]] = frozenset({"day", "gtc", "ioc", "fok"})


class Body(msgspec.Struct, array_like=True, frozen=True):
    """What is in the bytes."""

    order: NewOrder
    children: tuple[NewOrder, ...]
    is_exit: bool


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Body)


def encoded(intent: OrderIntent, attached: Sequence[OrderIntent], account: int) -> Encoded:
    """An order, and the children of its bracket, for an account number."""
    children = tuple(_new_order(child, account, intent) for child in attached)
    body = Body(_new_order(intent, account, None), children, intent.reduce_only)
    names = tuple(child.cl_ord_id for child in attached)
    return Encoded(intent.cl_ord_id, intent.account_id, _encoder.encode(body), names)


def decoded(order: Encoded) -> Body:
    """The opposite."""
    return _decoder.decode(order.payload)


def _new_order(intent: OrderIntent, account: int, parent: OrderIntent | None) -> NewOrder:
    offset = None
    if (
        parent is not None
        and intent.offset is not None
        and intent.price is None
        and intent.stop_price is None
    ):
        offset = intent.offset * (sign(parent.side) if intent.role == "target" else -sign(parent.side))
    return NewOrder(
        account_id=account,
        symbol=intent.symbol,
        side=intent.side,
        ord_type=intent.ord_type,
        qty=int(intent.qty),
        price=intent.price,
        stop_price=intent.stop_price,
        trail=intent.trail_offset,
        offset=offset,
        time_in_force="day" if intent.time_in_force == "gtd" else intent.time_in_force,
        cl_ord_id=intent.cl_ord_id,
    )
