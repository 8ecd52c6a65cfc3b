from hypothesis import given
from hypothesis import strategies as st

from brokers._kit.sliding import SlidingCount

WINDOW_NS = 60_000
events = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 5)), max_size=200)


@given(events)
def test_it_never_counts_less_than_the_true_window_nor_more_than_a_slot_longer(
    steps: list[tuple[int, int]],
) -> None:
    count, now_ns, seen = SlidingCount(WINDOW_NS), 0, list[tuple[int, int]]()
    for step_ns, amount in steps:
        now_ns += step_ns
        count.add(now_ns, amount)
        seen.append((now_ns, amount))
        exact = sum(amount for at_ns, amount in seen if at_ns > now_ns - WINDOW_NS)
        loose = sum(amount for at_ns, amount in seen if at_ns > now_ns - WINDOW_NS - 2 * WINDOW_NS // 60)
        assert exact <= count.total(now_ns) <= loose


@given(events, st.integers(0, 300))
def test_the_wait_it_names_is_enough_and_not_a_nanosecond_too_long(
    steps: list[tuple[int, int]], target: int
) -> None:
    count, now_ns = SlidingCount(WINDOW_NS), 0
    for step_ns, amount in steps:
        now_ns += step_ns
        count.add(now_ns, amount)
    wait_ns = count.ns_until(now_ns, target)
    if wait_ns == 0:
        assert count.total(now_ns) <= target
    else:
        assert count.total(now_ns + wait_ns - 1) > target
        assert count.total(now_ns + wait_ns) <= target


def test_after_a_long_silence_it_is_empty() -> None:
    count = SlidingCount(WINDOW_NS)
    count.add(1, 7)
    assert count.total(10**15) == 0


def test_an_earlier_time_is_taken_as_the_latest() -> None:
    count = SlidingCount(WINDOW_NS)
    count.add(50_000, 1)
    count.add(0, 1)
    assert count.total(50_000) == 2
