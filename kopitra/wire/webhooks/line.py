"""One line of text: a verb, a symbol, then name=value pairs.

    long NQ q=2 sl=40            buy 2, stop 40 points away
    short MES q=3 p=6010 tp=1%   sell 3 at a limit of 6010, target 1 % away
    buy ES 12-26 stop=6020       buy at a stop
    exit ES        reduce ES q=1        reverse NQ short q=1        cancel CL id=7        flatten

Verbs: long, buy, short, sell, add long, add short, reverse long, reverse short, reduce, exit, close, flat,
cancel, flatten. Names: q (contracts), p (limit price), stop (stop price), sl, tp, ref (price for percents),
tif, id. A level is a distance in points, or marked: @6000 a price, 16t ticks, 1% percent, $200 money per
contract.
"""

import re
from typing import Final

from kopitra.domain.instruments import SymbolRef
from kopitra.domain.signals import Action, OrdType, Side
from kopitra.wire.faults import refuse
from kopitra.wire.webhooks.distances import Level
from kopitra.wire.webhooks.fields import Body, Reading, resting_id, time_in_force_of, unknown_word, written
from kopitra.wire.webhooks.levels import spelled, with_levels
from kopitra.wire.webhooks.message import Message

#: characters of a line
LINE_LENGTH_MAX: Final = 500

_SHAPE: Final = re.compile(
    r"(?P<verb>[A-Za-z]+)(?P<rest>(?:[ \t]+[^\s=]+)*)(?P<pairs>(?:[ \t]+[A-Za-z_]+=\S+)*)[ \t]*", re.ASCII
)
_NAMES: Final = frozenset({"q", "qty", "p", "price", "stop", "sl", "tp", "ref", "tif", "id"})
_SIDES: Final[dict[str, Side]] = {"long": "buy", "buy": "buy", "short": "sell", "sell": "sell"}
_EXITS: Final = frozenset({"exit", "close", "flat"})


def read(reading: Reading) -> Body:
    """The signal of a line."""
    text = reading.message.text
    found = _SHAPE.fullmatch(text) if len(text) <= LINE_LENGTH_MAX else None
    if found is None:
        raise refuse("invalid-line", "Send one line such as: long NQ q=2 sl=40")
    verb, words = found["verb"].lower(), found["rest"].split()
    pairs = Message("pairs", "", _pairs(found["pairs"]))
    inner = Reading(pairs, reading.settings, reading.received_at)
    if verb == "flatten" and not words:
        return {"action": "flatten"}
    side, words = _side(verb, words)
    if not words:
        raise refuse("missing-field", "The line needs a symbol after the verb; add it.", "/symbol")
    ref = inner.meant(" ".join(words), "/symbol")
    return {"symbol": written(ref), **_act(inner, ref, verb, side)}


def _pairs(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in text.split():
        name, _, value = pair.partition("=")
        name = name.lower()
        if name not in _NAMES:
            raise refuse(
                "unknown-field", f"{name[:20]} is not known; use {', '.join(sorted(_NAMES))}.", f"/{name}"
            )
        if name in found:
            raise refuse("duplicate-key", f"{name} stands twice; send it once.", f"/{name}")
        found[name] = value
    return found


def _side(verb: str, words: list[str]) -> tuple[Side | None, list[str]]:
    if verb in _SIDES:
        return _SIDES[verb], words
    if verb not in ("add", "reverse"):
        return None, words
    for place in (0, -1):
        if words and words[place].lower() in _SIDES:
            side = _SIDES[words[place].lower()]
            return side, words[1:] if place == 0 else words[:-1]
    raise refuse("missing-field", f"{verb} needs a side: {verb} long NQ; add it.", "/side")


def _act(reading: Reading, ref: SymbolRef, verb: str, side: Side | None) -> Body:
    message = reading.message
    if side is not None:
        action: Action = "enter" if verb in _SIDES else ("add" if verb == "add" else "reverse")
        return {"action": action, "side": side, **_order(reading, ref)}
    if verb in _EXITS:
        quantity = message.above_zero("q", "qty")
        leaving: Body = {"action": "exit"}
        return leaving if quantity is None else {**leaving, "quantity": quantity}
    match verb:
        case "reduce":
            return {"action": "reduce", "quantity": reading.quantity("q", "qty")}
        case "cancel":
            return {"action": "cancel", "leaderOrderId": resting_id(message, ref, "id")}
        case "flatten":
            return {"action": "flatten"}
        case _:
            raise unknown_word("verb", verb, "long, short, add, reduce, reverse, exit, cancel or flatten")


def _order(reading: Reading, ref: SymbolRef) -> Body:
    message = reading.message
    price, stop_price = message.above_zero("p", "price"), message.above_zero("stop")
    ord_type: OrdType = "market"
    body: Body = {"quantity": reading.quantity("q", "qty"), "timeInForce": time_in_force_of(message, "tif")}
    if price is not None:
        ord_type, body["price"] = "limit", price
    if stop_price is not None:
        ord_type, body["stopPrice"] = ("stop" if price is None else "stop_limit"), stop_price
    body["ordType"] = ord_type
    own_id = message.word("id")
    if ord_type != "market" or own_id is not None:
        body["leaderOrderId"] = resting_id(message, ref, "id")
    return body | with_levels(_level(message, ref, "sl"), _level(message, ref, "tp"))


def _level(message: Message, ref: SymbolRef, name: str) -> Level | None:
    text = message.word(name)
    if text is None:
        return None
    price = message.above_zero("p", "price", "stop", "ref")
    return spelled(ref, text, price, f"/{name}", bare="points")
