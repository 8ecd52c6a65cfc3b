"""The names that make the same message one signal."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway_container.api.windows import windows

_AT = st.integers(0, 10**10).map(lambda us: datetime(2026, 11, 20, tzinfo=UTC) + timedelta(microseconds=us))


@given(_AT, st.integers(1, 3600), st.data())
def test_copies_less_than_half_a_window_apart_share_a_name(
    at: datetime, window_s: int, data: st.DataObject
) -> None:
    """R-023, R-027: wherever the edges are, so that the database itself takes one of them only."""
    apart_us = data.draw(st.integers(0, window_s * 500_000 - 1))
    one, other = windows("d", at, window_s), windows("d", at + timedelta(microseconds=apart_us), window_s)
    assert one.key == other.key or one.name == other.name


@given(_AT, st.integers(1, 3600), st.data())
def test_copies_within_a_window_are_found_by_the_key_before(
    at: datetime, window_s: int, data: st.DataObject
) -> None:
    apart_us = data.draw(st.integers(0, window_s * 1_000_000 - 1))
    one, other = windows("d", at, window_s), windows("d", at + timedelta(microseconds=apart_us), window_s)
    assert one.key in (other.key, other.before)
    assert other.key in (one.key, one.after)


@given(_AT, st.integers(1, 3600), st.integers(0, 10**9))
def test_copies_a_window_apart_share_nothing(at: datetime, window_s: int, more_us: int) -> None:
    later = at + timedelta(seconds=window_s, microseconds=more_us)
    one, other = windows("d", at, window_s), windows("d", later, window_s)
    assert one.key != other.key
    assert one.name != other.name
