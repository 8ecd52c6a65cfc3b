"""Instruments, quotes, and the two price decisions of the simulators: is a stop hit, where does it fill."""

from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable contract. Money is in account currency; fee and commission are per contract and side."""

    symbol: str
    tick_size: Decimal
    tick_value: Decimal
    fee: Decimal = ZERO
    commission: Decimal = ZERO
    #: money per full point and contract
    point_value: Decimal = field(init=False)

    def __post_init__(self) -> None:
        if not (self.tick_size > 0 and self.tick_value > 0):
            raise ValueError(f"{self.symbol}: give a positive tick_size and tick_value")
        object.__setattr__(self, "point_value", self.tick_value / self.tick_size)

    def on_grid(self, price: Decimal) -> bool:
        """Whether a price is a finite whole number of ticks."""
        return price.is_finite() and not price % self.tick_size


@dataclass(frozen=True, slots=True)
class Quote:
    """Top of book and last trade of one symbol at ``ts_ns``."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    ts_ns: int

    def touch(self, buys: bool) -> Decimal:
        """The price a market order gets: ask for a buyer, bid for a seller."""
        return self.ask if buys else self.bid


def make_quote(bid: Decimal, ask: Decimal, last: Decimal | None, before: Quote | None, ts_ns: int) -> Quote:
    """A quote; without ``last`` the former last trade is kept, moved inside the new spread."""
    if not (bid.is_finite() and ask.is_finite() and bid <= ask):
        raise ValueError(f"bid {bid} must be a number not above ask {ask}")
    if last is None:
        last = min(max(before.last if before else bid, bid), ask)
    if not last.is_finite():
        raise ValueError("last must be a number")
    return Quote(bid, ask, last, ts_ns)


def stop_is_hit(buys: bool, stop_price: Decimal, last: Decimal) -> bool:
    """Stops are triggered by the last trade, not by the quote, as futures exchanges do."""
    return last >= stop_price if buys else last <= stop_price


def limit_is_marketable(buys: bool, price: Decimal, quote: Quote) -> bool:
    """Whether a limit order can trade against the opposite side of the quote."""
    return quote.ask <= price if buys else quote.bid >= price
