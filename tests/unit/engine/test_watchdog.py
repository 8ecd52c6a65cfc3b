"""The lateness of the loop: told when it lasts, and told when it is over."""

from hypothesis import given
from hypothesis import strategies as st

from gateway_container.engine.watchdog import LAG_LIMIT_S, LOOKS, LagWindow


def test_a_minute_of_lateness_is_told_once_and_its_end_once() -> None:
    window = LagWindow()
    changes = [number for number in range(2 * LOOKS) if window.add(0.06)]
    assert changes == [LOOKS - 1]
    changes = [number for number in range(2 * LOOKS) if window.add(0.001)]
    assert len(changes) == 1
    assert not window.high


def test_two_late_looks_in_a_minute_are_no_lateness_and_four_are() -> None:
    for late, high in ((2, False), (4, True)):
        window = LagWindow()
        for number in range(LOOKS):
            window.add(1.0 if number < late else 0.0)
        assert window.high is high


@given(st.lists(st.floats(0, 2), min_size=LOOKS, max_size=LOOKS))
def test_it_is_high_exactly_when_more_than_one_in_a_hundred_is_late(lags: list[float]) -> None:
    """R-051: the loop's lateness, p99 of a minute against 50 ms."""
    window = LagWindow()
    for lag_s in lags:
        window.add(lag_s)
    late = sum(lag_s > LAG_LIMIT_S for lag_s in lags)
    assert window.high is (late > LOOKS - int(LOOKS * 0.99))
