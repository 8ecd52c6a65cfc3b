"""CrossTrade-style `key=value;` text. Source: CrossTrade documentation, "Commands" and "Bracket Orders".

PLACE is an order that nets, as at the broker. FLATPLACE and REVERSEPOSITION close first: reversals here,
which set the position. `key` and `account` are never read: the hook's path is the credential, its workspace
says who follows. Conditions that we cannot check before trading (require_market_position, max_positions,
ATM strategies) are refused.
"""

from typing import Final

from kopitra.domain.instruments import SymbolRef
from kopitra.domain.signals import OrdType
from kopitra.wire.faults import refuse
from kopitra.wire.webhooks.distances import Level
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
from kopitra.wire.webhooks.levels import spelled, with_levels
from kopitra.wire.webhooks.message import Message

_UNSUPPORTED: Final = (
    "require_market_position", "max_positions", "strategy", "strategy_id", "trading_window", "delay",
    "stop_loss_limit", "stop_loss_stop", "sync_strategy", "oco_id",
)  # fmt: skip


def read(reading: Reading) -> Body:
    """The signal of a message."""
    message = reading.message
    command = (message.choice("command") or "place").replace("_", "")
    if command == "flatteneverything":
        return {"action": "flatten"}
    ref = reading.symbol("instrument", "symbol")
    body: Body = {"symbol": written(ref)}
    match command:
        case "place":
            return body | _order(reading, ref, sets=message.flag("flatten_first", missing=False))
        case "flatplace" | "reverse" | "reverseposition":
            return body | _order(reading, ref, sets=True)
        case "closeposition":
            quantity = message.above_zero("qty", "quantity")
            return body | {"action": "exit"} | ({} if quantity is None else {"quantity": quantity})
        case "flatten":
            return body | {"action": "flatten"}
        case "cancel" | "cancelorder" | "cancelorders" | "cancelallorders":
            return body | {"action": "cancel", "leaderOrderId": resting_id(message, ref, "order_id")}
        case "change" | "cancelreplace":
            return body | _change(message, ref)
        case _:
            raise unknown_word(
                "command",
                command,
                "PLACE, FLATPLACE, CLOSEPOSITION, REVERSEPOSITION, FLATTEN, CANCEL or CHANGE",
            )


def _order(reading: Reading, ref: SymbolRef, *, sets: bool) -> Body:
    message = reading.message
    for name in _UNSUPPORTED:
        if message.word(name) is not None:
            raise unsupported(name, "leave it out, and use the copy rules' limits and filters.")
    word = message.choice("action")
    if word is None or word not in SIDES:
        raise refuse("missing-field", "The message needs action: BUY or SELL; send one.", "/action")
    ord_type = ord_type_of(message, "order_type")
    resting = ord_type != "market"
    body: Body = {
        "action": "reverse" if sets and not resting else "enter",
        "side": SIDES[word],
        "quantity": reading.quantity("qty", "quantity"),
        "ordType": ord_type,
        "timeInForce": time_in_force_of(message, "tif", "time_in_force"),
        **_prices(message, ord_type),
    }
    order_id = resting_id(message, ref, "order_id") if resting else message.word("order_id")
    if order_id is not None:
        body["leaderOrderId"] = order_id
    return body | with_levels(_level(message, ref, "stop_loss"), _level(message, ref, "take_profit"))


def _prices(message: Message, ord_type: OrdType) -> Body:
    body: Body = {}
    if ord_type in ("limit", "stop_limit"):
        body["price"] = message.above_zero("limit_price", "price")
    if ord_type in ("stop", "stop_limit"):
        body["stopPrice"] = message.above_zero("stop_price", "price")
    return body


def _change(message: Message, ref: SymbolRef) -> Body:
    body: Body = {"action": "replace", "origLeaderOrderId": resting_id(message, ref, "order_id")}
    found = {
        "price": message.above_zero("limit_price"),
        "stopPrice": message.above_zero("stop_price"),
        "quantity": message.above_zero("qty", "quantity"),
    }
    return body | {name: value for name, value in found.items() if value is not None}


def _level(message: Message, ref: SymbolRef, name: str) -> Level | None:
    text = message.word(name)
    if text is None:
        return None
    price = message.above_zero("limit_price", "price", "stop_price")
    return spelled(ref, text, price, f"/{name}", bare="price")
