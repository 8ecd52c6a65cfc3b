"""Last trading days, roll days and front months agree with what the exchange published."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.calendar import business_days_before, is_business_day
from kopitra.domain.instruments import (
    INSTRUMENTS,
    Contract,
    UnknownSymbol,
    days_to_expiry,
    front_month,
    next_contract,
)

roots = st.sampled_from(sorted(INSTRUMENTS))
dates = st.dates(date(2005, 1, 1), date(2085, 1, 1))
ON = date(2026, 11, 20)


def _weekdays_closed(year: int) -> str:
    days = (date(year, 1, 1) + timedelta(days=n) for n in range(365))
    return " ".join(f"{day:%m%d}" for day in days if day.weekday() < 5 and not is_business_day(day))


# NYSE "Holidays and Trading Hours", which the exchange's business days follow.
@pytest.mark.parametrize(
    "year, closed",
    [
        (2021, "0101 0118 0215 0402 0531 0705 0906 1125 1224"),  # before Juneteenth; Christmas on a Saturday
        (2022, "0117 0221 0415 0530 0620 0704 0905 1124 1226"),  # a New Year's Day on a Saturday is not moved
        (2023, "0102 0116 0220 0407 0529 0619 0704 0904 1123 1225"),
        (2024, "0101 0115 0219 0329 0527 0619 0704 0902 1128 1225"),
        (2026, "0101 0119 0216 0403 0525 0619 0703 0907 1126 1225"),
    ],
)
def test_business_days_are_those_of_the_published_holiday_list(year: int, closed: str) -> None:
    assert _weekdays_closed(year) == closed


@pytest.mark.parametrize(
    "good_friday", [date(2008, 3, 21), date(2038, 4, 23), date(2049, 4, 16), date(2076, 4, 17)]
)
def test_good_friday_is_found_in_the_years_where_easter_is_odd(good_friday: date) -> None:
    assert not is_business_day(good_friday)
    assert is_business_day(good_friday + timedelta(days=7))


def test_business_days_are_counted_over_weekends_and_holidays() -> None:
    assert business_days_before(date(2026, 12, 1), 3) == date(2026, 11, 25)
    assert business_days_before(date(2026, 11, 28), 0) == date(2026, 11, 28)


# CME Group expiration calendars; every rule of the table has a line, holidays have their own.
@pytest.mark.parametrize(
    "code, expiry",
    [
        ("ESZ26", date(2026, 12, 18)),
        ("ESM26", date(2026, 6, 18)),  # the third Friday is Juneteenth
        ("NKDZ26", date(2026, 12, 10)),
        ("CLK20", date(2020, 4, 21)),  # the day after the negative settlement
        ("CLZ25", date(2025, 11, 20)),
        ("CLF26", date(2025, 12, 19)),  # the 25th is Christmas
        ("CLG25", date(2025, 1, 21)),  # the 25th is a Saturday
        ("QMF23", date(2022, 12, 19)),
        ("QMJ23", date(2023, 3, 20)),
        ("QMM23", date(2023, 5, 19)),
        ("MCLZ25", date(2025, 11, 19)),
        ("NGF26", date(2025, 12, 29)),
        ("QGF26", date(2025, 12, 26)),
        ("RBF26", date(2025, 12, 31)),
        ("GCZ25", date(2025, 12, 29)),
        ("MHGZ25", date(2025, 11, 25)),
        ("ZNZ25", date(2025, 12, 19)),
        ("ZTZ25", date(2025, 12, 31)),
        ("6EZ25", date(2025, 12, 15)),
        ("6CZ25", date(2025, 12, 16)),
        ("MBTX25", date(2025, 11, 28)),
        ("ZCZ25", date(2025, 12, 12)),
    ],
)
def test_the_last_trading_day_is_the_exchanges(code: str, expiry: date) -> None:
    assert Contract.parse(code, ON).expiry == expiry


@pytest.mark.parametrize(
    "root, on, code",
    [
        ("ES", date(2026, 3, 15), "ESH26"),
        ("ES", date(2026, 3, 16), "ESM26"),  # CME names this Monday as the roll date
        ("MES", date(2026, 12, 13), "MESZ26"),
        ("MES", date(2026, 12, 14), "MESH27"),
        ("ES", date(2026, 6, 15), "ESU26"),  # still Monday, though expiry is on Thursday
        ("CL", date(2025, 11, 14), "CLZ25"),
        ("CL", date(2025, 11, 17), "CLF26"),  # three business days before 20 November
        ("MCL", date(2025, 11, 17), "MCLF26"),
        ("GC", date(2026, 7, 27), "GCQ26"),
        ("GC", date(2026, 7, 28), "GCZ26"),  # October is not in the liquid cycle
        ("SI", ON, "SIZ26"),
        ("ZN", date(2026, 11, 23), "ZNZ26"),
        ("ZN", date(2026, 11, 24), "ZNH27"),  # first notice 30 November, Thanksgiving between
        ("6E", date(2026, 12, 8), "6EZ26"),
        ("6E", date(2026, 12, 9), "6EH27"),
        ("MBT", ON, "MBTX26"),
    ],
)
def test_the_front_month_rolls_on_the_day_its_rule_names(root: str, on: date, code: str) -> None:
    assert front_month(root, on).code2 == code


def test_an_unknown_root_has_no_front_month() -> None:
    with pytest.raises(UnknownSymbol, match="use one such as ES"):
        front_month("XX", ON)


@pytest.mark.parametrize(
    "code, following",
    [("ESZ26", "ESH27"), ("ESH27", "ESM27"), ("GCQ26", "GCZ26"), ("GCV26", "GCZ26"), ("CLZ26", "CLF27")],
)
def test_the_next_contract_is_the_next_of_the_liquid_cycle(code: str, following: str) -> None:
    assert next_contract(Contract.parse(code, ON)).code2 == following


def test_days_to_expiry_count_down_through_zero() -> None:
    contract = Contract("ES", 2026, 12)
    assert days_to_expiry(contract, ON) == 28
    assert days_to_expiry(contract, contract.expiry) == 0
    assert days_to_expiry(contract, date(2026, 12, 19)) == -1


@given(roots, dates)
def test_the_front_month_is_never_expired_nor_in_its_last_day(root: str, on: date) -> None:
    assert days_to_expiry(front_month(root, on), on) > 0


@given(roots, dates, st.integers(0, 800))
def test_the_front_month_never_goes_back(root: str, on: date, days: int) -> None:
    assert front_month(root, on) <= front_month(root, on + timedelta(days=days))


@given(roots, dates)
def test_the_front_month_hands_over_to_the_next_contract_on_its_roll_day(root: str, on: date) -> None:
    front = front_month(root, on)
    assert on < front.roll < front.expiry
    assert front_month(root, front.roll) == next_contract(front)


@given(st.sampled_from(["ES NQ RTY YM", "CL", "GC", "SI", "NG", "6E", "BTC", "ETH"]), dates)
def test_a_family_rolls_together(families: str, on: date) -> None:
    for family in families.split():
        members = [i.root for i in INSTRUMENTS.values() if i.family == family]
        fronts = {(front.year, front.month) for front in (front_month(root, on) for root in members)}
        assert len(fronts) == 1


@given(roots, dates)
def test_roll_and_expiry_are_weekdays(root: str, on: date) -> None:
    front = front_month(root, on)
    assert front.expiry.weekday() < 5
    assert front.roll.weekday() < 5
