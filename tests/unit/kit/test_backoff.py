from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers._kit.backoff import BackoffPolicy, backoff


def test_equal_jitter_keeps_at_least_half_of_each_doubling_step() -> None:
    waits = list(islice(backoff(BackoffPolicy(first_s=1, max_s=16), Random(1)), 7))
    for wait, step in zip(waits, [1, 2, 4, 8, 16, 16, 16], strict=True):
        assert step / 2 <= wait <= step


def test_the_same_seed_gives_the_same_waits() -> None:
    policy = BackoffPolicy()
    assert list(islice(backoff(policy, Random(7)), 9)) == list(islice(backoff(policy, Random(7)), 9))


@given(
    first=st.floats(0.001, 10), growth=st.floats(1, 10), cap=st.floats(10, 600), seed=st.integers(0, 2**32)
)
def test_full_jitter_is_never_zero_and_never_above_the_cap(
    first: float, growth: float, cap: float, seed: int
) -> None:
    policy = BackoffPolicy(first, growth, cap, "full")
    assert all(0 < wait <= cap for wait in islice(backoff(policy, Random(seed)), 200))


@pytest.mark.parametrize("first_s, factor, max_s", [(0.0, 2.0, 60.0), (5.0, 2.0, 1.0), (1.0, 0.5, 60.0)])
def test_a_policy_that_cannot_work_is_refused(first_s: float, factor: float, max_s: float) -> None:
    with pytest.raises(ValueError, match="backoff needs"):
        BackoffPolicy(first_s, factor, max_s)
