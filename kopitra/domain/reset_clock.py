"""The reset clock of an account: where its trading day ends, in its own time zone.

    trading_day(ResetClock("America/Chicago", 1020), 2026-11-20 22:30 UTC) -> 20 November, ends 23:00 UTC

A day is named by the local date on which it ends (17:00 belongs to that date); one that ends at midnight by the date
that it covers. Resets are instants, worked out from the local time of their date: a change to or from daylight saving
time makes a day of 23 or 25 hours, and a local minute that comes twice resets once, at its first coming.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_ONE_DAY = timedelta(days=1)
MINUTES_A_DAY = 1440


@dataclass(frozen=True, slots=True)
class ResetClock:
    """`minute`: local minute of the day at which a trading day ends and the next begins; 1020 is 17:00."""

    time_zone: str = "America/Chicago"
    minute: int = 1020

    def fault(self) -> str:
        """Why this is no clock; empty when it is one."""
        if not 0 <= self.minute < MINUTES_A_DAY:
            return f"reset.minute must lie between 0 and {MINUTES_A_DAY - 1}, not {self.minute}"
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return f"reset.time_zone {self.time_zone!r} is unknown: name one such as America/Chicago"
        return ""

    def words(self) -> str:
        """For people."""
        return f"{self.minute // 60:02}:{self.minute % 60:02} {self.time_zone}"


class TradingDay(NamedTuple):
    """One trading day: its name, and the instants (UTC) of its first moment and of the first one after it."""

    day: date
    starts: datetime
    ends: datetime


def trading_day(clock: ResetClock, now: datetime) -> TradingDay:
    """The trading day in which `now` (aware) lies."""
    local = now.astimezone(ZoneInfo(clock.time_zone)).date()
    first = local if now >= _reset_on(clock, local) else local - _ONE_DAY
    name = first if clock.minute == 0 else first + _ONE_DAY
    return TradingDay(name, _reset_on(clock, first), _reset_on(clock, first + _ONE_DAY))


def _reset_on(clock: ResetClock, day: date) -> datetime:
    at = time(clock.minute // 60, clock.minute % 60, tzinfo=ZoneInfo(clock.time_zone))
    return datetime.combine(day, at).astimezone(UTC)
