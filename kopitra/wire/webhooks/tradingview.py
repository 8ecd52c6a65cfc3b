"""TradingView strategy alerts. Source: TradingView help, "How to use a variable value in alert".

    {"symbol": "{{ticker}}", "action": "{{strategy.order.action}}",
     "contracts": "{{strategy.order.contracts}}",
     "market_position": "{{strategy.market_position}}",
     "market_position_size": "{{strategy.market_position_size}}",
     "prev_market_position": "{{strategy.prev_market_position}}",
     "prev_market_position_size": "{{strategy.prev_market_position_size}}",
     "order_id": "{{strategy.order.id}}", "comment": "{{strategy.order.comment}}",
     "price": "{{close}}", "time": "{{timenow}}"}

The position after the order tells what the order was: flat is an exit, the other side a reversal, more an
add, less a reduction. `position_size` (signed) may stand for market_position and its size. Without
positions, action decides.
"""

from decimal import Decimal

from kopitra.domain.signals import Action
from kopitra.wire.faults import refuse
from kopitra.wire.webhooks.fields import SIDES, Body, Reading, unknown_word, written
from kopitra.wire.webhooks.levels import protection
from kopitra.wire.webhooks.message import Message

_SYMBOL = ("symbol", "ticker")
_CONTRACTS = ("contracts", "quantity", "qty", "size")
_EXITS = frozenset(
    {"exit", "close", "flat", "flatten", "exit_long", "exit_short", "close_long", "close_short"}
)


def read(reading: Reading) -> Body:
    """The signal of an alert."""
    message = reading.message
    ref = reading.symbol(*_SYMBOL)
    body: Body = {"symbol": written(ref), **reading.when("time", "timenow")}
    comment = message.word("comment", "order_comment")
    if comment is not None:
        body["comment"] = comment[:256]
    strategy = message.word("strategy", "strategy_name")
    if strategy is not None:
        body["strategy"] = strategy[:256]
    after = _position(message, "market_position", "market_position_size", "position_size")
    body |= _by_action(reading) if after is None else _by_position(reading, after)
    if body["action"] in ("enter", "add", "reverse"):
        body |= protection(reading, ref, message.above_zero("price", "close"))
    return body


def _position(message: Message, side_name: str, size_name: str, signed_name: str) -> Decimal | None:
    """Signed contracts; None where the message does not tell."""
    word, size = message.choice(side_name), message.number(size_name)
    signed = message.number(signed_name)
    if word is None:
        return signed
    if word == "flat":
        return Decimal(0)
    if word not in ("long", "short"):
        raise unknown_word(side_name, word, "long, short or flat")
    size = abs(signed) if size is None and signed is not None else size
    if size is None:
        return None
    return abs(size) if word == "long" else -abs(size)


def _by_position(reading: Reading, after: Decimal) -> Body:
    message = reading.message
    before = _position(message, "prev_market_position", "prev_market_position_size", "prev_position_size")
    known: Body = {"leaderPosition": after}
    if after == 0:
        return {**known, "action": "exit"}
    side = "buy" if after > 0 else "sell"
    if before is None:
        return {**known, **_without_before(reading, after, side)}
    if before * after < 0:
        return {**known, "action": "reverse", "side": side, "quantity": abs(after)}
    moved = abs(after) - abs(before)
    if moved == 0:
        raise refuse("no-change", "The position is the same before and after; there is nothing to copy.")
    if moved < 0:
        return {**known, "action": "reduce", "quantity": -moved}
    return {**known, "action": "enter" if before == 0 else "add", "side": side, "quantity": moved}


def _without_before(reading: Reading, after: Decimal, side: str) -> Body:
    """Position after, but not before: an order along the position has grown it, one against it shrunk it."""
    word = reading.message.choice("action")
    quantity = reading.message.above_zero(*_CONTRACTS) or abs(after)
    if word is None or SIDES.get(word) == side:
        action: Action = "enter" if quantity >= abs(after) else "add"
        return {"action": action, "side": side, "quantity": min(quantity, abs(after))}
    if word in SIDES or word in _EXITS:
        return {"action": "reduce", "quantity": quantity}
    raise unknown_word("action", word, "buy or sell")


def _by_action(reading: Reading) -> Body:
    word = reading.message.choice("action", "side")
    if word is None:
        raise refuse("missing-field", "The message needs action or market_position; add one.", "/action")
    if word in _EXITS:
        return {"action": "exit"}
    side = SIDES.get(word)
    if side is None:
        raise unknown_word("action", word, "buy, sell or exit")
    return {"action": "enter", "side": side, "quantity": reading.quantity(*_CONTRACTS)}
