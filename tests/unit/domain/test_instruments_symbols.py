"""Every spelling of a symbol means one thing, and what we do not know is refused with a remedy."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.instruments import (
    INSTRUMENTS,
    MONTH_CODES,
    Contract,
    SymbolRef,
    UnknownSymbol,
    front_month,
    next_contract,
    parse_symbol,
)

ON = date(2026, 11, 20)
DECEMBER = Contract("ES", 2026, 12)
dates = st.dates(date(2005, 1, 1), date(2085, 1, 1))


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    instrument = INSTRUMENTS[draw(st.sampled_from(sorted(INSTRUMENTS)))]
    code = draw(st.sampled_from(instrument.listed))
    return Contract(instrument.root, draw(st.integers(2001, 2094)), MONTH_CODES.index(code) + 1)


@pytest.mark.parametrize(
    "text", ["ES", "es", " ES\n", "ES1!", "es1!", "CME_MINI:ES1!", "CME_MINI_DL:ES1!", "@ES", "/ES"]
)
def test_a_root_or_first_continuous_contract_leaves_the_month_open(text: str) -> None:
    assert parse_symbol(text, ON) == SymbolRef("ES", None)


@pytest.mark.parametrize(
    "text",
    [
        "ESZ6",
        "ESZ26",
        "ESZ2026",
        "esz6",
        "\tESZ6 ",
        "CME_MINI:ESZ2026",
        "/ESZ26",
        "@ESZ26",
        "ES Z6",
        "ES 12-26",
        "es 12-2026",
        "ES DEC26",
        "ES Dec 2026",
    ],
)
def test_every_spelling_of_a_contract_is_the_same_contract(text: str) -> None:
    assert parse_symbol(text, ON) == SymbolRef("ES", DECEMBER)
    assert Contract.parse(text, ON) == DECEMBER


@pytest.mark.parametrize(
    "text, root, code2",
    [
        ("GCJ6", "GC", "GCJ26"),
        ("6EZ6", "6E", "6EZ26"),
        ("M2KZ6", "M2K", "M2KZ26"),
        ("M6EZ6", "M6E", "M6EZ26"),
        ("E7Z6", "E7", "E7Z26"),
        ("ZNZ6", "ZN", "ZNZ26"),
        ("MNQH7", "MNQ", "MNQH27"),
        ("COMEX_MINI:MGCZ2026", "MGC", "MGCZ26"),
        ("NYMEX:CLF2027", "CL", "CLF27"),
        ("CBOT:ZN1!", "ZN", None),
        ("6E1!", "6E", None),
        ("E7", "E7", None),
        ("M2K", "M2K", None),
    ],
)
def test_month_and_year_are_taken_from_the_end(text: str, root: str, code2: str | None) -> None:
    ref = parse_symbol(text, ON)
    assert ref.root == root
    assert (ref.contract.code2 if ref.contract else None) == code2


def test_the_second_continuous_contract_is_the_one_after_the_front_month() -> None:
    assert parse_symbol("NQ2!", ON).contract == Contract("NQ", 2027, 3)
    assert parse_symbol("NQ2!", date(2026, 12, 14)).contract == Contract("NQ", 2027, 6)


def test_an_open_month_resolves_to_the_front_month_and_a_named_one_to_itself() -> None:
    assert parse_symbol("ES", ON).resolve(ON) == DECEMBER
    assert parse_symbol("ES", ON).resolve(date(2026, 12, 14)) == Contract("ES", 2027, 3)
    assert parse_symbol("ESZ6", ON).resolve(date(2027, 5, 1)) == DECEMBER
    assert parse_symbol("MES", ON).instrument is INSTRUMENTS["MES"]


def test_an_expired_contract_is_still_a_contract() -> None:
    assert parse_symbol("ESH6", ON).contract == Contract("ES", 2026, 3)
    assert parse_symbol("CLK20", ON).contract == Contract("CL", 2020, 5)


@pytest.mark.parametrize(
    "on, digit, year",
    [
        (date(2026, 11, 20), 6, 2026),
        (date(2026, 11, 20), 2, 2022),
        (date(2026, 11, 20), 1, 2031),
        (date(2029, 12, 20), 0, 2030),
        (date(2030, 1, 4), 9, 2029),
    ],
)
def test_a_one_digit_year_lies_from_four_back_to_five_ahead(on: date, digit: int, year: int) -> None:
    assert Contract.parse(f"ESZ{digit}", on).year == year


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "XX",
        "EURUSD",
        "ESX6",  # not a listed month
        "ESZ",
        "ESZ206",
        "ESZ20266",
        "ESZ1999",
        "ZN6",
        "ES0!",
        "ES3!",
        "ES!",
        "ES 13-26",
        "ES 00-26",
        "ES 12-6",
        "ES ZZZ26",
        "BINANCE:ES1!",
        "CME_MINI:",
        ":ES",
        "@@ES",
        "/",
        "ES;DROP",
        "ES\x00",
        "E\u0405",  # a Cyrillic S
        "ESZ\u0666",  # an Arabic-Indic six
        "\uff25\uff33",  # full-width ES
        "ES" + " " * 63,
        "E" * 100_000,
    ],
)
def test_what_names_nothing_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(UnknownSymbol, match=r"send one such as|has the month codes") as refused:
        parse_symbol(text, ON)
    assert len(str(refused.value)) < 600
    assert str(refused.value).isascii()


def test_a_root_alone_is_no_contract() -> None:
    with pytest.raises(UnknownSymbol, match="names no contract month"):
        Contract.parse("ES", ON)


def test_an_unknown_symbol_is_a_value_error_with_a_stable_code() -> None:
    assert issubclass(UnknownSymbol, ValueError)
    assert UnknownSymbol.code == "unknown-symbol"


def test_contracts_sort_by_root_and_then_by_date() -> None:
    late, early, other = Contract("ES", 2027, 3), DECEMBER, Contract("CL", 2030, 1)
    assert sorted([late, early, other]) == [other, early, late]


def test_no_root_can_be_read_as_another_roots_contract() -> None:
    for root in INSTRUMENTS:
        assert parse_symbol(root, ON) == SymbolRef(root, None)


@given(contracts(), st.integers(-3, 3))
def test_a_contracts_short_symbol_reads_back_near_its_year(contract: Contract, years: int) -> None:
    on = date(contract.year + years, 6, 15)
    assert contract.symbol[-1] == str(contract.year)[-1]
    assert Contract.parse(contract.symbol, on) == contract


@given(contracts(), dates)
def test_a_contracts_long_symbol_reads_back_on_any_day(contract: Contract, on: date) -> None:
    assert Contract.parse(contract.code2, on) == contract
    assert Contract.parse(f"{contract.root} {contract.month:02}-{contract.year}", on) == contract


@given(st.sampled_from(sorted(INSTRUMENTS)), dates, st.integers(0, 500))
def test_the_second_continuous_contract_follows_the_first(root: str, on: date, days: int) -> None:
    day = on + timedelta(days=days)
    assert parse_symbol(f"{root}2!", day).contract == next_contract(front_month(root, day))


@given(st.text(max_size=80))
def test_any_text_is_either_known_or_refused(text: str) -> None:
    try:
        ref = parse_symbol(text, ON)
    except UnknownSymbol:
        return
    assert ref.root in INSTRUMENTS
