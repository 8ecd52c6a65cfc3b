"""A hook's settings, numbers and times of the wire."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from kopitra.wire.scalars import decimal_of, show_decimal, show_time, time_of
from kopitra.wire.stream import camel_keys
from kopitra.wire.webhooks.settings import HookSettings, InvalidSettings, parse_settings


def test_settings_are_read() -> None:
    texts = {
        "quantity": "2",
        "quantity_max": "10",
        "duplicate_window_s": "60",
        "sender_time": "true",
        "symbols": "US500=ES, NAS100 = NQ",
    }
    assert parse_settings(texts) == HookSettings(
        Decimal(2), Decimal(10), 60, True, {"US500": "ES", "NAS100": "NQ"}
    )
    assert parse_settings({}) == HookSettings()


@pytest.mark.parametrize(
    "texts",
    [
        {"quantity": "0"},
        {"quantity": "two"},
        {"quantity_max": "-1"},
        {"duplicate_window_s": "-1"},
        {"duplicate_window_s": "3601"},
        {"duplicate_window_s": "1.5"},
        {"sender_time": "yes"},
        {"symbols": "US500"},
        {"symbols": "=ES"},
        {"account": "acc2"},
    ],
)
def test_settings_that_cannot_be_meant(texts: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        parse_settings(texts)


@given(st.decimals(-(10**12), 10**12, places=6))
def test_numbers_survive_the_wire_in_every_spelling(value: Decimal) -> None:
    for spelling in (value, format(value, "f")):
        assert decimal_of(spelling) == value
    shown = show_decimal(decimal_of(value))
    assert Decimal(shown) == value
    assert "E" not in shown


@given(st.decimals())
def test_numbers_are_exact_or_refused(value: Decimal) -> None:
    try:
        read = decimal_of(value)
    except PydanticCustomError:
        return
    assert read == value


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive_the_wire_to_the_millisecond(at: datetime) -> None:
    exact = at.replace(microsecond=at.microsecond // 1000 * 1000)
    assert time_of(show_time(at)) == exact


def test_names_become_camel_case_and_values_stay() -> None:
    payload = b'{"cl_ord_id":"a_b","text":"say \\"last_px\\": 1","inner":{"x_1":[{"avg_px":"1"}]},"p":null}'
    assert camel_keys(payload) == (
        b'{"clOrdId":"a_b","text":"say \\"last_px\\": 1","inner":{"x1":[{"avgPx":"1"}]},"p":null}'
    )
