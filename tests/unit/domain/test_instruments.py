"""The product table agrees with the CME Group specifications, and ticks and notionals are exact."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.instruments import (
    INSTRUMENTS,
    MONTH_CODES,
    Contract,
    Instrument,
    OffTick,
    UnknownSymbol,
    convert_quantity,
    find_instrument,
)

roots = st.sampled_from(sorted(INSTRUMENTS))
relatives = st.sampled_from(
    [(i, j) for i in INSTRUMENTS.values() for j in INSTRUMENTS.values() if i.family == j.family]
)
prices = st.decimals(min_value=-10_000, max_value=100_000, places=7)

# Tick size, tick value and money per point, as the contract specifications print them.
SPECIFICATIONS = """
ES .25 12.50 50     NQ .25 5 20         RTY .10 5 50        YM 1 5 5
MES .25 1.25 5      MNQ .25 .50 2       M2K .10 .50 5       MYM 1 .50 .5
CL .01 10 1000      MCL .01 1 100       QM .025 12.50 500   NG .001 10 10000
GC .10 10 100       MGC .10 1 10        SI .005 25 5000     SIL .005 5 1000
HG .0005 12.50 25000  ZB .03125 31.25 1000  ZN .015625 15.625 1000
ZF .0078125 7.8125 1000  ZT .00390625 7.8125 2000
6E .00005 6.25 125000  M6E .0001 1.25 12500  6J .0000005 6.25 12500000
6B .0001 6.25 62500  6A .00005 5 100000  MBT 5 .50 .1  MET .50 .05 .1
"""


def _specifications() -> list[tuple[str, Decimal, Decimal, Decimal]]:
    words = SPECIFICATIONS.split()
    return [
        (words[i], Decimal(words[i + 1]), Decimal(words[i + 2]), Decimal(words[i + 3]))
        for i in range(0, len(words), 4)
    ]


@pytest.mark.parametrize("root, tick_size, tick_value, point_value", _specifications())
def test_ticks_are_those_of_the_specification(
    root: str, tick_size: Decimal, tick_value: Decimal, point_value: Decimal
) -> None:
    instrument = INSTRUMENTS[root]
    assert (instrument.tick_size, instrument.tick_value) == (tick_size, tick_value)
    assert instrument.point_value == point_value


@pytest.mark.parametrize("root", sorted(INSTRUMENTS))
def test_a_family_member_is_worth_its_units_of_the_reference_contract(root: str) -> None:
    instrument = INSTRUMENTS[root]
    reference = INSTRUMENTS[instrument.family]
    assert reference.units_per_family == 1
    assert instrument.point_value == reference.point_value * instrument.units_per_family


@pytest.mark.parametrize("root", sorted(INSTRUMENTS))
def test_a_row_of_the_table_is_whole(root: str) -> None:
    instrument = INSTRUMENTS[root]
    assert instrument.root == root
    assert instrument.title
    assert list(instrument.months) == sorted(set(instrument.months))
    assert set(instrument.months) <= set(instrument.listed) <= set(MONTH_CODES)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        INSTRUMENTS["ES"] = INSTRUMENTS["NQ"]  # pyright: ignore[reportIndexIssue]


def test_point_values_print_as_plain_numbers() -> None:
    assert "E" not in "".join(str(instrument.point_value) for instrument in INSTRUMENTS.values())


def test_notional_is_price_times_quantity_times_point_value() -> None:
    assert INSTRUMENTS["ES"].notional(Decimal("6000.25"), Decimal(2)) == Decimal("600025")


def test_notional_counts_a_short_and_a_negative_price_as_size() -> None:
    assert INSTRUMENTS["ES"].notional(Decimal(6000), Decimal(-1)) == Decimal(300_000)
    assert INSTRUMENTS["CL"].notional(Decimal("-37.63"), Decimal(1)) == Decimal(37_630)


def test_a_price_on_the_grid_is_a_whole_number_of_ticks() -> None:
    assert INSTRUMENTS["ES"].to_ticks(Decimal("6000.25")) == 24_001
    assert INSTRUMENTS["ZN"].to_ticks(Decimal("110.515625")) == 7_073
    assert INSTRUMENTS["CL"].to_ticks(Decimal("-37.63")) == -3_763


def test_an_off_tick_price_is_refused_with_its_neighbours() -> None:
    with pytest.raises(OffTick, match=r"send 6000\.25 or 6000\.50"):
        INSTRUMENTS["ES"].to_ticks(Decimal("6000.30"))
    with pytest.raises(OffTick, match=r"send -37\.64 or -37\.63"):
        INSTRUMENTS["CL"].to_ticks(Decimal("-37.635"))


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+400", "-1E+999999"])
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(OffTick, match="finite"):
        INSTRUMENTS["ES"].to_ticks(Decimal(price))
    with pytest.raises(OffTick, match="finite"):
        INSTRUMENTS["ES"].snap(Decimal(price), "nearest")


def test_snapping_goes_where_it_is_told() -> None:
    es = INSTRUMENTS["ES"]
    assert [es.snap(Decimal("6000.30"), way) for way in ("down", "up", "nearest")] == [
        Decimal("6000.25"),
        Decimal("6000.50"),
        Decimal("6000.25"),
    ]
    assert es.snap(Decimal("6000.375"), "nearest") == Decimal("6000.50")
    assert es.snap(Decimal("-0.10"), "down") == Decimal("-0.25")
    assert es.snap(Decimal("-0.10"), "up") == Decimal(0)


@given(roots, st.integers(-(10**9), 10**9))
def test_ticks_and_prices_round_trip(root: str, ticks: int) -> None:
    instrument = INSTRUMENTS[root]
    assert instrument.to_ticks(instrument.from_ticks(ticks)) == ticks


@given(roots, prices)
def test_a_price_lies_between_its_snaps_and_both_are_on_the_grid(root: str, price: Decimal) -> None:
    instrument = INSTRUMENTS[root]
    low, high = instrument.snap(price, "down"), instrument.snap(price, "up")
    assert low <= price <= high
    assert instrument.to_ticks(high) - instrument.to_ticks(low) == (0 if low == price else 1)
    nearest = instrument.snap(price, "nearest")
    assert nearest in (low, high)
    assert abs(nearest - price) <= min(price - low, high - price)


def test_quantities_convert_by_notional_within_a_family() -> None:
    es, mes = INSTRUMENTS["ES"], INSTRUMENTS["MES"]
    assert str(convert_quantity(Decimal(1), es, mes)) == "10"
    assert convert_quantity(Decimal(3), mes, es) == Decimal("0.3")
    assert convert_quantity(Decimal(1), INSTRUMENTS["SI"], INSTRUMENTS["SIL"]) == 5
    assert convert_quantity(Decimal(1), INSTRUMENTS["QG"], INSTRUMENTS["MNG"]) == Decimal("2.5")


def test_quantities_do_not_convert_across_families() -> None:
    with pytest.raises(ValueError, match="ES and NQ have no fixed size ratio"):
        convert_quantity(Decimal(1), INSTRUMENTS["ES"], INSTRUMENTS["NQ"])


@given(relatives, st.integers(1, 1000))
def test_converting_there_and_back_changes_nothing(pair: tuple[Instrument, Instrument], qty: int) -> None:
    one, other = pair
    assert convert_quantity(convert_quantity(Decimal(qty), one, other), other, one) == qty


def test_an_unknown_root_is_refused_with_a_remedy() -> None:
    with pytest.raises(UnknownSymbol, match="use one such as ES"):
        find_instrument("XX")


@pytest.mark.parametrize("year, month", [(2026, 1), (2026, 0), (2026, 13), (1999, 12), (2100, 12)])
def test_a_contract_month_that_does_not_exist_is_refused(year: int, month: int) -> None:
    with pytest.raises(UnknownSymbol):
        Contract("ES", year, month)
