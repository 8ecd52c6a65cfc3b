"""Exchange dates: business days, last trading days and roll days, as rules.

A rule answers for a contract's year and month: `third_friday(2026, 12)` -> 18 December 2026.
Expiry rules follow the "Termination of Trading" line of each CME Group contract specification.
Roll rules name the first day on which the next contract leads; CME publishes a custom for equity
indices only, the other margins are the house's and are stated where they are defined.

The holidays are the regular United States exchange holidays, computed. Unscheduled closings, London
holidays (they move a few currency and crypto expiries by a day) and half days are not known here. Roll
days come at least one business day before any such surprise could matter.
"""

from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache

DateRule = Callable[[int, int], date]
"""(contract year, contract month 1..12) -> date."""

_MONDAY, _WEDNESDAY, _THURSDAY, _FRIDAY, _SATURDAY, _SUNDAY = 0, 2, 3, 4, 5, 6
_ONE_DAY = timedelta(days=1)
_JUNETEENTH_SINCE = 2022  #: first year in which the exchanges closed for it
_HOLIDAY_YEARS_MAX = 128  #: years whose holidays are kept in memory


# Business days


def is_business_day(day: date) -> bool:
    """Whether the exchange counts `day` when it counts business days."""
    return day.weekday() < _SATURDAY and day not in _holidays(day.year)


def business_day_on_or_before(day: date) -> date:
    """`day` itself, or the last business day before it."""
    while not is_business_day(day):
        day -= _ONE_DAY
    return day


def business_days_before(day: date, count: int) -> date:
    """The `count`-th business day before `day`; `day` itself need not be one."""
    for _ in range(count):
        day = business_day_on_or_before(day - _ONE_DAY)
    return day


def earlier(rule: DateRule, business_days: int) -> DateRule:
    """The rule that comes `business_days` business days before `rule`."""
    return lambda year, month: business_days_before(rule(year, month), business_days)


def one_month_earlier(rule: DateRule) -> DateRule:
    """The rule that applies `rule` to the month before the contract month."""
    return lambda year, month: rule(year - 1, 12) if month == 1 else rule(year, month - 1)


# Last trading days


def third_friday(year: int, month: int) -> date:
    """Equity indices: third Friday of the contract month, or the business day before it."""
    return business_day_on_or_before(_nth_weekday(year, month, _FRIDAY, 3))


def last_friday(year: int, month: int) -> date:
    """Cryptocurrencies: last Friday of the contract month, or the business day before it."""
    last = _last_day(year, month)
    return business_day_on_or_before(last - timedelta(days=(last.weekday() - _FRIDAY) % 7))


def nikkei(year: int, month: int) -> date:
    """Nikkei 225: the business day before the second Friday of the contract month."""
    return business_days_before(_nth_weekday(year, month, _FRIDAY, 2), 1)


def currency(year: int, month: int) -> date:
    """Currencies: second business day before the third Wednesday of the contract month."""
    return business_days_before(_nth_weekday(year, month, _WEDNESDAY, 3), 2)


def canadian_dollar(year: int, month: int) -> date:
    """Canadian dollar: the business day before the third Wednesday of the contract month."""
    return business_days_before(_nth_weekday(year, month, _WEDNESDAY, 3), 1)


def last_business_day(year: int, month: int) -> date:
    """Two and five year notes: last business day of the contract month."""
    return business_day_on_or_before(_last_day(year, month))


def third_last_business_day(year: int, month: int) -> date:
    """Metals: third last business day of the contract month."""
    return business_days_before(last_business_day(year, month), 2)


def seventh_before_last_business_day(year: int, month: int) -> date:
    """Ten year notes and bonds: seventh business day before the month's last business day."""
    return business_days_before(last_business_day(year, month), 7)


def before_the_fifteenth(year: int, month: int) -> date:
    """Grains: the business day before the 15th calendar day of the contract month."""
    return business_days_before(date(year, month, 15), 1)


def _crude_oil_in_month(year: int, month: int) -> date:
    # NYMEX 200102.F: three business days before the 25th; four when the 25th is no business day. Both are
    # three business days before the last business day up to the 25th.
    return business_days_before(business_day_on_or_before(date(year, month, 25)), 3)


crude_oil = one_month_earlier(_crude_oil_in_month)
"""WTI: three business days before the 25th of the month before the contract month."""

last_business_day_before_month = one_month_earlier(last_business_day)
"""Refined products: last business day of the month before the contract month."""

natural_gas = one_month_earlier(third_last_business_day)
"""Henry Hub: third business day before the first day of the contract month. Micro copper: the same."""


# Roll days: the first day on which the next contract leads


def equity_roll(year: int, month: int) -> date:
    """Monday of the expiry week.

    CME "Equity Index Roll Dates": the customary roll date is the Monday before the third Friday (since
    June 2022; before that, the Thursday eight days before expiry).
    """
    expiry = third_friday(year, month)
    return expiry - timedelta(days=expiry.weekday())


roll_before_delivery = earlier(last_business_day_before_month, 3)
"""Three business days before first notice day, which is the last business day before the contract month.

A house margin for what is delivered (metals, rates, grains): positions may be assigned from first position
day, one business day before first notice day, and this leaves two days to get out before it.
"""


# Holidays


@lru_cache(maxsize=_HOLIDAY_YEARS_MAX)
def _holidays(year: int) -> frozenset[date]:
    fixed = [date(year, 7, 4), date(year, 12, 25)]
    if year >= _JUNETEENTH_SINCE:
        fixed.append(date(year, 6, 19))
    new_year = date(year, 1, 1)
    return frozenset(
        [
            # A New Year's Day on a Saturday is not moved: the exchanges trade on 31 December.
            new_year + _ONE_DAY if new_year.weekday() == _SUNDAY else new_year,
            _nth_weekday(year, 1, _MONDAY, 3),
            _nth_weekday(year, 2, _MONDAY, 3),
            _easter(year) - timedelta(days=2),
            date(year, 5, 31) - timedelta(days=date(year, 5, 31).weekday()),
            _nth_weekday(year, 9, _MONDAY, 1),
            _nth_weekday(year, 11, _THURSDAY, 4),
            *map(_observed, fixed),
        ]
    )


def _observed(day: date) -> date:
    if day.weekday() == _SATURDAY:
        return day - _ONE_DAY
    return day + _ONE_DAY if day.weekday() == _SUNDAY else day


def _easter(year: int) -> date:
    # Gauss' rule in its form for 1900..2099, the years a contract may have.
    golden = year % 19
    moon = (19 * golden + 24) % 30
    sunday = (2 * (year % 4) + 4 * (year % 7) + 6 * moon + 5) % 7
    late = (moon, sunday) == (29, 6) or ((moon, sunday) == (28, 6) and golden > 10)
    return date(year, 3, 22) + timedelta(days=moon + sunday - (7 if late else 0))


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _last_day(year: int, month: int) -> date:
    return date(year + month // 12, month % 12 + 1, 1) - _ONE_DAY
