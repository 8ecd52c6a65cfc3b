"""Limits of one account: what the risk check holds an order against. None means "no such limit"."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

_MINUTES_A_DAY: Final = 1440


@dataclass(frozen=True, slots=True)
class TradingWindow:
    """Entries are allowed from `start_minute` to before `end_minute` of the local day, on `weekdays` (0 = Monday).

    An end before the start crosses midnight; the part after midnight belongs to the day on which it started.
    """

    weekdays: tuple[int, ...]
    start_minute: int
    end_minute: int
    time_zone: str = "America/Chicago"

    def is_open(self, now: datetime) -> bool:
        """True when `now` (aware) lies inside."""
        local = now.astimezone(ZoneInfo(self.time_zone))
        minute = local.hour * 60 + local.minute
        today = local.weekday()
        if self.start_minute <= self.end_minute:
            return today in self.weekdays and self.start_minute <= minute < self.end_minute
        yesterday = (today - 1) % 7
        return (today in self.weekdays and minute >= self.start_minute) or (
            yesterday in self.weekdays and minute < self.end_minute
        )


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """Per account. Quantities in contracts, money in the account's currency, positive numbers."""

    max_order_qty: Decimal | None = None
    max_position_qty: Decimal | None = None
    max_notional: Decimal | None = None
    #: loss of the trading day at which entries stop
    daily_loss: Decimal | None = None
    max_orders_per_minute: int = 60
    allowed_hours: tuple[TradingWindow, ...] = ()
    #: ticks between an order's price and the last known price
    price_collar_ticks: int | None = None
    #: roots; empty allows all
    symbols: tuple[str, ...] = ()
    #: milliseconds in which a second entry of the same side, contract, quantity and price is a duplicate; 0 = off
    duplicate_window_ms: int = 0
    #: milliseconds between two moves of the price of one working order; the newest waits, older ones never leave
    move_gap_ms: int = 1_000
    #: days before a contract's last trading day in which nothing is opened in it; 0 allows all but expired ones
    expiry_days_min: int = 2
