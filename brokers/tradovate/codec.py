"""Orders as the vendor's JSON; pure. What comes back is read by `answers` and `frames`.

Sources: vendor docs "Place Order", "Place OSO", "Modify Order" (2026-08).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from brokers.tradovate.entities import OrderTypeWord, OrderVersion, TimeInForceWord
from brokers.tradovate.symbols import is_contract
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, TimeInForce
from kopitra.ports import NewNumbers, NotSent, OrderRef

CL_ORD_ID_LENGTH_MAX: Final = 64
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_QTY_MAX: Final = 2**31 - 1  #: orderQty is an int32

ORDER_TYPES: Final[dict[OrdType, str]] = {
    "market": "Market",
    "limit": "Limit",
    "stop": "Stop",
    "stop_limit": "StopLimit",
    "trailing_stop": "TrailingStop",
}
TIMES: Final[dict[TimeInForce, str]] = {"day": "Day", "gtc": "GTC", "gtd": "GTD", "ioc": "IOC", "fok": "FOK"}
_ACTION: Final = {"buy": "Buy", "sell": "Sell"}
_MARKET_DAY: Final = '"orderType":"Market","timeInForce":"Day"'


@dataclass(frozen=True, slots=True)
class Heads:
    """The constant beginning of every order body of one account, rendered once per login."""

    account_id: int
    place: str

    @classmethod
    def of(cls, account_id: int, name: str) -> "Heads":
        """Both the id and the name are sent: the vendor checks one against the other."""
        spec = msgspec.json.encode(name).decode()
        return cls(
            account_id, f'{{"accountSpec":{spec},"accountId":{account_id},"isAutomated":true,"clOrdId":"'
        )


# -- domain -> bytes ---------------------------------------------------------------------------------------


def encode_order(heads: Heads, order: OrderIntent, peg_factor: Decimal) -> str | NotSent:
    """An order body without its closing brace (a bracket may follow)."""
    if not is_contract(order.symbol):
        return NotSent("unknown_contract", f"{order.symbol!r} is no contract name; use one such as ESZ6.")
    qty = whole(order.qty)
    if qty is None or _SAFE_ID.fullmatch(order.cl_ord_id) is None:
        return NotSent(
            "not_supported", "Send a whole number of contracts (1 or more) under a plain client id."
        )
    terms = (
        _MARKET_DAY
        if order.ord_type == "market" and order.time_in_force == "day"
        else _terms(order, peg_factor, order.expire_at)
    )
    if isinstance(terms, NotSent):
        return terms
    return (
        f'{heads.place}{order.cl_ord_id}","action":"{_ACTION[order.side]}","symbol":"{order.symbol}"'
        f',"orderQty":{qty},{terms}'
    )


def encode_bracket(
    heads: Heads, entry: OrderIntent, children: Sequence[OrderIntent], peg_factor: Decimal
) -> str | NotSent:
    """Entry and one or two linked children in one request (OSO; two children are an OCO pair)."""
    refusal = _bracket_refusal(entry, children)
    if refusal is not None:
        return NotSent("not_supported", refusal)
    body = encode_order(heads, entry, peg_factor)
    if isinstance(body, NotSent):
        return body
    parts = [body]
    for number, child in enumerate(children, 1):
        terms = _terms(child, peg_factor, child.expire_at)
        if isinstance(terms, NotSent):
            return terms
        parts.append(
            f',"bracket{number}":{{"action":"{_ACTION[child.side]}","clOrdId":"{child.cl_ord_id}",{terms}}}'
        )
    return "".join(parts)


def _bracket_refusal(entry: OrderIntent, children: Sequence[OrderIntent]) -> str | None:
    roles = [child.role for child in children]
    if len(children) > 2 or roles.count("stop") > 1 or roles.count("target") > 1:
        return "One stop and one target can be attached; send the others after the entry has filled."
    for child in children:
        if child.symbol != entry.symbol or child.side == entry.side or child.qty != entry.qty:
            return "Attached orders inherit contract and quantity and must close the entry."
        if _SAFE_ID.fullmatch(child.cl_ord_id) is None:
            return "Send a plain client id for each attached order."
    return None


def _terms(order: OrderIntent, peg_factor: Decimal, expire_at: datetime | None) -> str | NotSent:
    prices = _prices(order.ord_type, order.price, order.stop_price, order.trail_offset, peg_factor)
    if prices is None:
        return NotSent("not_supported", f"A {order.ord_type} order needs its prices; give them absolute.")
    time = f'"orderType":"{ORDER_TYPES[order.ord_type]}","timeInForce":"{TIMES[order.time_in_force]}"{prices}'
    if order.time_in_force != "gtd":
        return time
    if expire_at is None or expire_at.utcoffset() is None:
        return NotSent("not_supported", "A gtd order needs expire_at with its time zone.")
    stamp = msgspec.to_builtins(expire_at)
    return f'{time},"expireTime":"{stamp}"'


def _prices(
    ord_type: OrdType,
    price: Decimal | None,
    stop_price: Decimal | None,
    trail: Decimal | None,
    peg_factor: Decimal,
) -> str | None:
    text = ""
    if ord_type in ("limit", "stop_limit"):
        if price is None:
            return None
        text = f',"price":{price:f}'
    if ord_type in ("stop", "stop_limit"):
        if stop_price is None:
            return None
        return f'{text},"stopPrice":{stop_price:f}'
    if ord_type == "trailing_stop":
        if trail is None:
            return None
        trigger = f',"stopPrice":{stop_price:f}' if stop_price is not None else ""
        return f'{trigger},"pegDifference":{trail * peg_factor:f}'
    return text


def encode_modify(
    order: OrderRef, numbers: NewNumbers, peg_factor: Decimal, expire_time: str | None
) -> str | NotSent:
    """A full replacement: every price that must stay is sent again."""
    if not order.order_id.isdecimal():
        return NotSent("unknown_order", "The broker's order id is not known yet; wait for its acceptance.")
    if order.ord_type == "trailing_stop" and (numbers.trail_offset, numbers.stop_price) != (None, None):
        return NotSent(
            "not_supported", "A trailing stop takes a new quantity only; cancel it and place another."
        )
    qty = whole(numbers.qty or order.qty)
    prices = _prices(
        order.ord_type,
        numbers.price if numbers.price is not None else order.price,
        numbers.stop_price if numbers.stop_price is not None else order.stop_price,
        order.trail_offset,
        peg_factor,
    )
    if qty is None or prices is None:
        return NotSent("not_supported", "A replace needs a whole quantity and the order's prices.")
    if order.time_in_force == "gtd" and expire_time is None:
        return NotSent("not_supported", "The order's expiry is not known; cancel it and place another.")
    expiry = f',"expireTime":{msgspec.json.encode(expire_time).decode()}' if expire_time else ""
    return (
        f'{{"orderId":{order.order_id},"orderQty":{qty},"orderType":"{ORDER_TYPES[order.ord_type]}"'
        f',"timeInForce":"{TIMES[order.time_in_force]}","isAutomated":true{prices}{expiry}}}'
    )


def encode_cancel(order_id: str) -> str | NotSent:
    """Body of order/cancelorder."""
    if not order_id.isdecimal():
        return NotSent("unknown_order", "The broker's order id is not known yet; wait for its acceptance.")
    return f'{{"orderId":{order_id},"isAutomated":true}}'


def encode_liquidate(account_id: int, contract_id: int) -> str:
    """Body, without its closing brace, of order/liquidateposition: cancels the orders and closes."""
    return f'{{"accountId":{account_id},"contractId":{contract_id},"admin":false,"isAutomated":true'


def whole(qty: Decimal) -> int | None:
    """The quantity as the wire's int32, None when it is not one."""
    number = int(qty) if qty.is_finite() else 0
    return number if number == qty and 0 < number <= _QTY_MAX else None


class PlacedBody(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """What our own placement said, read back from its bytes when the answer comes."""

    action: str = ""
    symbol: str = ""
    order_qty: int = 0
    order_type: OrderTypeWord = "Market"
    time_in_force: TimeInForceWord = "Day"
    price: Decimal | None = None
    stop_price: Decimal | None = None
    cl_ord_id: str = ""
    account_id: int = 0
    contract_id: int = 0
    bracket1: "PlacedBody | None" = None
    bracket2: "PlacedBody | None" = None

    def version(self, command_id: int, order_id: int, qty: int) -> OrderVersion:
        """The version our request made, before the stream tells it."""
        return OrderVersion(
            id=command_id,
            order_id=order_id,
            order_qty=qty,
            order_type=self.order_type,
            price=self.price,
            stop_price=self.stop_price,
            time_in_force=self.time_in_force,
        )


_placed = msgspec.json.Decoder(PlacedBody)


def decode_placed(payload: bytes) -> PlacedBody:
    """Our own body; raises only when it was not made here."""
    return _placed.decode(payload)
