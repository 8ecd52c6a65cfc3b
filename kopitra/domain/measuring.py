"""What an account's losses are measured from: start, day and highest values, durable and monotonic (R-101).

The measure is folded from the journal. Highest values are kept in steps, rounded up: a mark is journalled when a step
is passed, so there are few of them, and none of what was reached can be lost between two.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from kopitra.domain.prop_limits import PropLimits


class Reading(NamedTuple):
    """An account's money at one moment.

    `equity` is what it would be worth at the prices it could be closed at now, `best` at the better side of the
    market: losses are judged by the one, highest values by the other.
    """

    balance: Decimal
    equity: Decimal
    best: Decimal


@dataclass(frozen=True, slots=True)
class Measure:
    """One measuring start of an account, and how far it has come."""

    #: grows with every new start (R-104)
    number: int
    #: the balance that losses are counted from
    start: Decimal
    day: date
    day_balance: Decimal
    day_equity: Decimal
    #: highest equity of the day
    day_peak: Decimal
    #: highest equity since the start
    peak: Decimal
    #: highest balance at a day's end, the start included
    eod_peak: Decimal
    #: profit of the best day that is over
    best_day: Decimal = Decimal(0)
    #: the request for a new start that this one came from; 0: the first start
    start_id: int = 0


class NewStart(NamedTuple):
    """A person asks to measure anew. `balance` None: from the present balance; `peak` None: from that balance."""

    start_id: int
    balance: Decimal | None
    peak: Decimal | None
    who: str
    reason: str


def begun(limits: PropLimits, day: date, reading: Reading) -> Measure:
    """The first start."""
    start = limits.initial_balance
    return _started(limits, day, reading, Measure(0, start, day, start, start, start, start, start))


def begun_anew(
    limits: PropLimits, day: date, reading: Reading, before: Measure | None, asked: NewStart
) -> Measure:
    """The start that a person asked for."""
    start = reading.balance if asked.balance is None else asked.balance
    peak = start if asked.peak is None else max(start, asked.peak)
    number = before.number + 1 if before is not None else 1
    blank = Measure(number, start, day, start, start, start, peak, peak, start_id=asked.start_id)
    return _started(limits, day, reading, blank)


def _started(limits: PropLimits, day: date, reading: Reading, blank: Measure) -> Measure:
    return replace(
        blank,
        day=day,
        day_balance=reading.balance,
        day_equity=reading.equity,
        day_peak=stepped(reading.best, limits.step),
        peak=max(blank.peak, stepped(reading.best, limits.step)),
    )


def observed(measure: Measure, limits: PropLimits, day: date, reading: Reading) -> Measure:
    """The measure after a reading; the same object when nothing moved. A day never goes back."""
    if day > measure.day:
        measure = _turned(measure, day, reading)
    if reading.best <= measure.day_peak and reading.best <= measure.peak:
        return measure
    reached = stepped(reading.best, limits.step)
    return replace(measure, day_peak=max(measure.day_peak, reached), peak=max(measure.peak, reached))


def _turned(measure: Measure, day: date, reading: Reading) -> Measure:
    """A new trading day: the balance of this moment ends the old one and begins the new one."""
    return replace(
        measure,
        day=day,
        day_balance=reading.balance,
        day_equity=reading.equity,
        day_peak=max(reading.equity, reading.balance),
        eod_peak=max(measure.eod_peak, reading.balance),
        best_day=max(measure.best_day, reading.balance - measure.day_balance),
    )


def stepped(value: Decimal, step: Decimal) -> Decimal:
    """The next step at or above a value: 50,003 -> 50,010 for steps of 10."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def merged(known: Measure | None, told: Measure) -> Measure:
    """What the book holds after a mark: nothing in it ever goes down or back, whatever order marks are folded in."""
    if known is None or told.number > known.number:
        return told
    if told.number < known.number:
        return known
    newer = told if told.day > known.day else known
    same_day = told.day == known.day
    return replace(
        newer,
        day_peak=max(known.day_peak, told.day_peak) if same_day else newer.day_peak,
        peak=max(known.peak, told.peak),
        eod_peak=max(known.eod_peak, told.eod_peak),
        best_day=max(known.best_day, told.best_day),
    )
