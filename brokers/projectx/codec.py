"""Domain to bytes: the bodies of order requests. Pure, and built from parts rendered once per account and
contract.

Source: ProjectX Gateway API docs, "Place an Order", "Modify an Order", "Cancel an Order". There is no time
in force on this wire: orders rest until canceled or until the firm's session rules end them, which is `day`.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import msgspec
import orjson

from brokers.projectx.symbols import Listing
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side, TimeInForce
from kopitra.ports import NewNumbers, NotSent, OrderRef

#: children of broker-side brackets get suffixes, so tags stay below what the broker may cut [unconfirmed]
TAG_LENGTH_MAX: Final = 60
TIMES_IN_FORCE: Final[frozenset[TimeInForce]] = frozenset({"day"})
ORD_TYPES: Final[frozenset[OrdType]] = frozenset({"market", "limit", "stop", "trailing_stop"})

_CODES: Final[dict[OrdType, int]] = {"limit": 1, "market": 2, "stop": 4, "trailing_stop": 5}
_BUY: Final = {ord_type: b'%d,"side":0,"size":' % code for ord_type, code in _CODES.items()}
_SELL: Final = {ord_type: b'%d,"side":1,"size":' % code for ord_type, code in _CODES.items()}


def place_head(account_number: int, contract_id: str) -> bytes:
    """The part of every placement that does not change for one account and contract."""
    return b'{"accountId":%d,"contractId":%b,"type":' % (account_number, orjson.dumps(contract_id))


def place_body(head: bytes, intent: OrderIntent, trail_level: Decimal | None) -> bytes | NotSent:
    """The body of `Order/place`. `trail_level` is the absolute price a trailing stop starts from."""
    ord_type = intent.ord_type
    kind = (_BUY if intent.side == "buy" else _SELL).get(ord_type)
    if kind is None:
        return NotSent("not_supported", f"{ord_type} orders are not offered here: send a stop or a limit")
    if intent.time_in_force not in TIMES_IN_FORCE:
        return NotSent("not_supported", f"{intent.time_in_force} is not offered here: use day")
    if len(intent.cl_ord_id) > TAG_LENGTH_MAX:
        return NotSent("not_supported", f"the client order id is longer than {TAG_LENGTH_MAX} characters")
    size = whole(intent.qty)
    if size is None:
        return NotSent("not_supported", f"quantity {intent.qty} is not a whole number of contracts above 0")
    tag = orjson.dumps(intent.cl_ord_id)
    if ord_type == "market":
        return b'%b%b%d,"customTag":%b}' % (head, kind, size, tag)
    field, price = _price_field(intent, trail_level)
    if price is None or not price.is_finite():
        return NotSent("not_supported", f"a {ord_type} order needs {field.decode()}")
    return b'%b%b%d,"%b":%b,"customTag":%b}' % (head, kind, size, field, price_text(price), tag)


def _price_field(intent: OrderIntent, trail_level: Decimal | None) -> tuple[bytes, Decimal | None]:
    if intent.ord_type == "limit":
        return b"limitPrice", intent.price
    if intent.ord_type == "stop":
        return b"stopPrice", intent.stop_price
    return b"trailPrice", trail_level


def whole(qty: Decimal) -> int | None:
    """A quantity as contracts, None when it is no whole number above zero."""
    try:
        size = int(qty)
    except (ValueError, OverflowError):
        return None
    return size if size == qty and size > 0 else None


def price_text(price: Decimal) -> bytes:
    """A JSON number without an exponent."""
    return format(price, "f").encode("ascii")


def trail_level(side: Side, last: Decimal, offset: Decimal, listing: Listing) -> Decimal:
    """The price level that stands for a trailing distance: below the market for a sell, above for a buy.

    On the tick grid, rounded away from the market: the broker truncates the distance to whole ticks.
    """
    raw = last - offset if side == "sell" else last + offset
    ticks = (raw / listing.tick_size).to_integral_value(ROUND_FLOOR if side == "sell" else ROUND_CEILING)
    return ticks * listing.tick_size


def cancel_body(account_number: int, order_id: int) -> bytes:
    """The body of `Order/cancel`."""
    return b'{"accountId":%d,"orderId":%d}' % (account_number, order_id)


def modify_body(
    account_number: int, order_id: int, order: OrderRef, numbers: NewNumbers, level: Decimal | None
) -> bytes | NotSent:
    """The body of `Order/modify`, absolute and complete: that absent means unchanged is not confirmed.

    `level` is the new trailing level where `numbers.trail_offset` asks for one.
    """
    size = whole(numbers.qty if numbers.qty is not None else order.qty)
    if size is None:
        return NotSent("not_supported", "the new quantity is not a whole number of contracts above 0")
    parts = [b'{"accountId":%d,"orderId":%d,"size":%d' % (account_number, order_id, size)]
    limit = numbers.price if numbers.price is not None else order.price
    stop = numbers.stop_price if numbers.stop_price is not None else order.stop_price
    if order.ord_type == "limit" and limit is not None:
        parts.append(b',"limitPrice":' + price_text(limit))
    elif order.ord_type == "stop" and stop is not None:
        parts.append(b',"stopPrice":' + price_text(stop))
    elif order.ord_type == "trailing_stop":
        if level is not None:
            parts.append(b',"trailPrice":' + price_text(level))
    else:
        return NotSent("not_supported", f"a {order.ord_type} order cannot be changed here: cancel it instead")
    return b"".join((*parts, b"}"))


class PlacedBody(msgspec.Struct, rename="camel", gc=False):
    """Our own placement read back for its report: nothing is remembered per order in flight."""

    account_id: int
    contract_id: str
    type: int
    side: int
    size: int
    custom_tag: str
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


_placed: Final = msgspec.json.Decoder(PlacedBody)


def read_placed(body: bytes) -> PlacedBody:
    """The placement that `place_body` made."""
    return _placed.decode(body)
