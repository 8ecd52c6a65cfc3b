"""PickMyTrade-style JSON. Source: PickMyTrade documentation, "TradingView JSON Alert Configuration".

Values often come as texts, and 0 means "not wanted". `data` is buy, sell or close. With
`reverse_order_close` (their default) a buy ends long by the quantity whatever was held: a reversal here,
which sets the position; without it, it adds. `dollar_tp` and `dollar_sl` are money per contract. token,
account_id, connection_name and multiple_accounts are never read: the hook's own workspace and copy rules
say who follows.
"""

from decimal import Decimal

from kopitra.domain.instruments import SymbolRef
from kopitra.domain.signals import OrdType
from kopitra.wire.faults import refuse
from kopitra.wire.webhooks.distances import Level, at_price, by_money, by_percent
from kopitra.wire.webhooks.fields import (
    SIDES,
    Body,
    Reading,
    ord_type_of,
    resting_id,
    unknown_word,
    unsupported,
    written,
)
from kopitra.wire.webhooks.levels import with_levels
from kopitra.wire.webhooks.message import Message


def read(reading: Reading) -> Body:
    """The signal of a message."""
    message = reading.message
    ref = reading.symbol("symbol")
    body: Body = {"symbol": written(ref), **reading.when("date")}
    strategy = message.word("strategy_name")
    if strategy is not None:
        body["strategy"] = strategy[:256]
    word = message.choice("data")
    if word in ("close", "exit", "flat"):
        return body | {"action": "exit"}
    if word is None:
        raise refuse("missing-field", "The message needs data: buy, sell or close; add it.", "/data")
    if word not in SIDES:
        raise unknown_word("data", word, "buy, sell or close")
    _check_supported(message)
    return body | {"side": SIDES[word]} | _entry(reading, ref)


def _check_supported(message: Message) -> None:
    if message.above_zero("risk_percentage") is not None and message.above_zero("quantity") is None:
        raise unsupported("risk_percentage", "send quantity, and size followers in their copy rules.")
    for name in ("update_tp", "update_sl"):
        if message.flag(name, missing=False):
            raise unsupported(name, "send the new stop or target as a replace to /signals.")
    if message.above_zero("trail") is not None:
        raise unsupported("trail", "send sl, percentage_sl or dollar_sl instead.")


def _entry(reading: Reading, ref: SymbolRef) -> Body:
    message = reading.message
    ord_type = ord_type_of(message, "order_type")
    price = message.above_zero("price")
    body: Body = {"quantity": reading.quantity("quantity"), "ordType": ord_type}
    if ord_type == "market":
        sets = message.flag("reverse_order_close", missing=True)
        body["action"] = "reverse" if sets else "enter"
    else:
        body |= {"action": "enter", "leaderOrderId": resting_id(message, ref, "order_id")}
        body |= _resting_prices(message, ord_type, price)
    stop = _level(message, ref, price, "sl")
    target = _level(message, ref, price, "tp")
    return body | with_levels(stop, target)


def _resting_prices(message: Message, ord_type: OrdType, price: Decimal | None) -> Body:
    match ord_type:
        case "limit":
            return {"price": price}
        case "stop":
            return {"stopPrice": price}
        case "stop_limit":
            return {"price": price, "stopPrice": message.above_zero("stp_limit_stp_price", "stop_price")}
        case _:
            raise unsupported("order_type", "send MKT, LMT, STP or STPLMT.")


def _level(message: Message, ref: SymbolRef, price: Decimal | None, name: str) -> Level | None:
    if (value := message.above_zero(name)) is not None:
        return at_price(ref.instrument, value, f"/{name}")
    if (value := message.above_zero(f"percentage_{name}")) is not None:
        return by_percent(ref.instrument, value, price, f"/percentage_{name}")
    if (value := message.above_zero(f"dollar_{name}")) is not None:
        return by_money(ref.instrument, value, f"/dollar_{name}")
    return None
