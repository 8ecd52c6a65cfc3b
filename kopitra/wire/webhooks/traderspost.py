"""TradersPost-style JSON. Sources: TradersPost documentation, "Webhooks" (fields) and "Order Behavior".

There, a buy at market closes a short and ends long by the quantity, and never adds to a long: that is a
reversal here, which sets the position. `add` adds. A sentiment that contradicts the action shrinks the
position, flat closes it. Orders that rest (limit, stop) are entries. Fields that do not change what is
traded are left unread.
"""

from decimal import Decimal
from typing import Final

from kopitra.domain.instruments import SymbolRef
from kopitra.domain.signals import OrdType, Side
from kopitra.wire.faults import refuse
from kopitra.wire.webhooks.distances import Level, at_price, by_percent, by_points
from kopitra.wire.webhooks.fields import (
    SIDES,
    Body,
    Reading,
    ord_type_of,
    resting_id,
    time_in_force_of,
    unknown_word,
    unsupported,
    written,
)
from kopitra.wire.webhooks.levels import with_levels
from kopitra.wire.webhooks.message import Message

_ID: Final = ("orderId", "id")


def read(reading: Reading) -> Body:
    """The signal of a message."""
    message = reading.message
    ref = reading.symbol("ticker")
    body: Body = {"symbol": written(ref), **reading.when("time")}
    action = message.choice("action")
    match action:
        case "exit":
            return body | {"action": "exit"} | _partial(message)
        case "cancel":
            return body | {"action": "cancel", "leaderOrderId": resting_id(message, ref, *_ID)}
        case "buy" | "sell" | "add":
            _check_supported(message)
            return body | _trade(reading, ref, action)
        case None:
            raise refuse("missing-field", "The message needs action; add it.", "/action")
        case _:
            raise unknown_word("action", action, "buy, sell, exit, cancel or add")


def _partial(message: Message) -> Body:
    quantity = message.above_zero("quantity")
    return {} if quantity is None else {"quantity": quantity}


def _check_supported(message: Message) -> None:
    kind = message.choice("quantityType")
    if kind not in (None, "fixed_quantity"):
        raise unsupported("quantityType", "send contracts, and let the copy rules size followers.")
    if message.word("optionType") is not None:
        raise unsupported("optionType", "only futures are traded.")


def _trade(reading: Reading, ref: SymbolRef, action: str) -> Body:
    message = reading.message
    sentiment = message.choice("sentiment")
    if sentiment == "flat":
        return {"action": "exit"}
    if sentiment is not None and sentiment not in SIDES:
        raise unknown_word("sentiment", sentiment, "bullish, long, bearish, short or flat")
    wanted = None if sentiment is None else SIDES[sentiment]
    if action == "add":
        if wanted is None:
            raise refuse("missing-field", "add needs sentiment, to know the side; send it.", "/sentiment")
        return _entry(reading, ref, wanted, adds=True)
    side: Side = "buy" if action == "buy" else "sell"
    if wanted is not None and wanted != side:
        return {"action": "reduce", "quantity": reading.quantity("quantity")}
    return _entry(reading, ref, side, adds=False)


def _entry(reading: Reading, ref: SymbolRef, side: Side, *, adds: bool) -> Body:
    message = reading.message
    ord_type = ord_type_of(message, "orderType")
    reference = message.above_zero("signalPrice", "price", "limitPrice", "stopPrice")
    body: Body = {
        "side": side,
        "quantity": reading.quantity("quantity"),
        "ordType": ord_type,
        "timeInForce": time_in_force_of(message, "timeInForce"),
    }
    if ord_type == "market":
        body["action"] = "add" if adds else "reverse"
    else:
        body |= {"action": "enter", "leaderOrderId": resting_id(message, ref, *_ID)}
        body |= _prices(message, ord_type, reference, ref)
    stop = _level(message.inner("stopLoss"), ref, reference, "stopLoss", ("stopPrice", "limitPrice"))
    target = _level(message.inner("takeProfit"), ref, reference, "takeProfit", ("limitPrice",))
    return body | with_levels(stop, target)


def _prices(message: Message, ord_type: OrdType, reference: Decimal | None, ref: SymbolRef) -> Body:
    body: Body = {}
    if ord_type in ("limit", "stop_limit"):
        body["price"] = message.above_zero("limitPrice", "price", "signalPrice")
    if ord_type in ("stop", "stop_limit"):
        body["stopPrice"] = message.above_zero("stopPrice", "price")
    if ord_type == "trailing_stop":
        amount, percent = message.above_zero("trailAmount", "trailPrice"), message.above_zero("trailPercent")
        if amount is not None:
            body["trailOffset"] = by_points(ref.instrument, amount, "/trailAmount")["offset"]
        elif percent is not None:
            body["trailOffset"] = by_percent(ref.instrument, percent, reference, "/trailPercent")["offset"]
    return body


def _level(
    inner: Message | None, ref: SymbolRef, reference: Decimal | None, name: str, prices: tuple[str, ...]
) -> Level | None:
    """percent of the entry price, amount in points, or an absolute price."""
    if inner is None:
        return None
    if name == "stopLoss" and inner.choice("type") == "trailing_stop":
        raise unsupported("stopLoss/type", "send stop, or an order of its own that trails.")
    pointer = f"/{name}"
    instrument = ref.instrument
    if (value := inner.above_zero(*prices)) is not None:
        return at_price(instrument, value, pointer)
    if (value := inner.above_zero("percent")) is not None:
        return by_percent(instrument, value, reference, pointer)
    if (value := inner.above_zero("amount")) is not None:
        return by_points(instrument, value, pointer)
    return None
