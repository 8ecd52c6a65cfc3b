"""Stops and targets in other units, turned into points on the instrument's tick grid."""

from decimal import Decimal

from kopitra.domain.instruments import Instrument, OffTick
from kopitra.wire.faults import refuse

#: a stop or target of the wire: {"price": ...} or {"offset": ...}
Level = dict[str, object]

_HUNDRED = Decimal(100)


def at_price(instrument: Instrument, price: Decimal, pointer: str) -> Level:
    """An absolute price, on the nearest tick."""
    try:
        return {"price": instrument.snap(price, "nearest")}
    except OffTick as error:
        raise refuse("off-tick", f"{error}.", pointer) from None


def by_points(instrument: Instrument, points: Decimal, pointer: str) -> Level:
    """A distance in points: the nearest whole number of ticks, at least one."""
    try:
        offset = max(instrument.snap(points, "nearest"), instrument.tick_size)
    except OffTick as error:
        raise refuse("off-tick", f"{error}.", pointer) from None
    return {"offset": offset}


def by_percent(instrument: Instrument, percent: Decimal, price: Decimal | None, pointer: str) -> Level:
    """Percent of the entry price, which the message must then name."""
    if price is None:
        raise refuse(
            "missing-price", "A stop or target in percent needs the price it is a part of; send it.", pointer
        )
    return by_points(instrument, abs(price) * percent / _HUNDRED, pointer)


def by_money(instrument: Instrument, money: Decimal, pointer: str) -> Level:
    """Money per contract, in the instrument's currency."""
    return by_points(instrument, money / instrument.point_value, pointer)


def by_ticks(instrument: Instrument, ticks: Decimal, pointer: str) -> Level:
    """Whole ticks."""
    return by_points(instrument, ticks * instrument.tick_size, pointer)
