"""Stops and targets that presets share: price, points, percent, money, ticks."""

import re
from decimal import Decimal
from typing import Final, Literal, assert_never

from kopitra.domain.instruments import SymbolRef
from kopitra.wire.faults import refuse
from kopitra.wire.webhooks.distances import Level, at_price, by_money, by_percent, by_points, by_ticks
from kopitra.wire.webhooks.fields import Body, Reading
from kopitra.wire.webhooks.message import Message, number_of

Bare = Literal["price", "points"]
Unit = Literal["price", "points", "percent", "ticks", "money"]


def protection(reading: Reading, ref: SymbolRef, price: Decimal | None) -> Body:
    """`stopLoss` and `takeProfits` from fields such as sl, sl_percent, sl_dollars, sl_points, sl_ticks."""
    stop = _one(reading.message, ref, price, "sl", "stop_loss")
    target = _one(reading.message, ref, price, "tp", "take_profit")
    return with_levels(stop, target)


def with_levels(stop: Level | None, target: Level | None) -> Body:
    """The body's part for one stop and one target."""
    body: Body = {}
    if stop is not None:
        body["stopLoss"] = stop
    if target is not None:
        body["takeProfits"] = [target]
    return body


def _one(message: Message, ref: SymbolRef, price: Decimal | None, *names: str) -> Level | None:
    instrument = ref.instrument
    for name in names:
        pointer = f"/{name}"
        if (value := message.above_zero(name, f"{name}_price")) is not None:
            return at_price(instrument, value, pointer)
        if (value := message.above_zero(f"{name}_points")) is not None:
            return by_points(instrument, value, pointer)
        if (value := message.above_zero(f"{name}_percent")) is not None:
            return by_percent(instrument, value, price, pointer)
        if (value := message.above_zero(f"{name}_dollars")) is not None:
            return by_money(instrument, value, pointer)
        if (value := message.above_zero(f"{name}_ticks")) is not None:
            return by_ticks(instrument, value, pointer)
    return None


_SPELLING: Final = re.compile(
    r"(?P<at>@)?[+-]?(?P<money>\$)?(?P<number>\d{1,13}(?:\.\d{1,12})?)"
    r"\s*(?P<unit>%|\$|t|ticks?|p|pts?|points?|usd)?",
    re.ASCII,
)
_UNITS: Final[dict[str, Unit]] = {
    "%": "percent", "t": "ticks", "tick": "ticks", "ticks": "ticks", "p": "points", "pt": "points",
    "pts": "points", "point": "points", "points": "points", "$": "money", "usd": "money",
}  # fmt: skip


def spelled(ref: SymbolRef, text: str, price: Decimal | None, pointer: str, *, bare: Bare) -> Level:
    """A level in one text: `@6000` a price, `40p` points, `1%` percent, `$200` per contract, `16t` ticks.

    `bare` says what a number without a mark is. Raises BodyRefused.
    """
    found = _SPELLING.fullmatch(text.lower())
    if found is None:
        raise refuse("invalid-level", "Send a price, or a distance such as 40p, 16t, 1% or $200.", pointer)
    value = number_of(found["number"], pointer)
    unit: Unit = "money" if found["money"] else _UNITS.get(found["unit"] or "", bare)
    instrument = ref.instrument
    if found["at"] or unit == "price":
        return at_price(instrument, value, pointer)
    if value <= 0:
        raise refuse("not-above-zero", "A distance is a number above zero.", pointer)
    match unit:
        case "percent":
            return by_percent(instrument, value, price, pointer)
        case "ticks":
            return by_ticks(instrument, value, pointer)
        case "points":
            return by_points(instrument, value, pointer)
        case "money":
            return by_money(instrument, value, pointer)
        case _:
            assert_never(unit)
