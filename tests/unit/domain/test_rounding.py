"""Rounding is exact, monotone, capped, and says why it changed a quantity."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kopitra.domain.rounding import (
    BELOW_STEP,
    BELOW_STEP_CAPPED,
    CAPPED,
    TO_MINIMUM,
    TO_STEP_DOWN,
    TO_STEP_UP,
    RoundingMode,
    RoundingPolicy,
    round_quantity,
    split_shares,
)

ONE = Decimal(1)
quantities = st.decimals(min_value=0, max_value=100_000, places=6)
steps = st.sampled_from(
    [Decimal(1), Decimal("0.1"), Decimal("0.01"), Decimal("0.3"), Decimal(5), Decimal("0.001")]
)
policies = st.builds(
    RoundingPolicy,
    mode=st.sampled_from(["down", "half_up", "half_even", "up"]),
    minimum=st.one_of(st.just(Decimal(0)), st.decimals(min_value=0, max_value=50, places=2)),
    max_risk_ratio=st.one_of(st.none(), st.decimals(min_value=1, max_value=4, places=2)),
)


@pytest.mark.parametrize(
    "mode, raw, qty, reason",
    [
        ("down", "2.9", "2", TO_STEP_DOWN),
        ("up", "2.1", "3", TO_STEP_UP),
        ("half_up", "2.5", "3", TO_STEP_UP),
        ("half_up", "2.4", "2", TO_STEP_DOWN),
        ("half_even", "2.5", "2", TO_STEP_DOWN),
        ("half_even", "3.5", "4", TO_STEP_UP),
        ("half_even", "2.6", "3", TO_STEP_UP),
        ("down", "3", "3", None),
        ("up", "0", "0", None),
        ("down", "0.9", "0", BELOW_STEP),
    ],
)
def test_each_mode_rounds_and_says_why(mode: RoundingMode, raw: str, qty: str, reason: str | None) -> None:
    rounded = round_quantity(Decimal(raw), ONE, RoundingPolicy(mode))
    assert (str(rounded.qty), rounded.raw, rounded.reason) == (qty, Decimal(raw), reason)


def test_the_minimum_lifts_a_small_quantity_within_the_risk_cap() -> None:
    policy = RoundingPolicy(minimum=ONE)
    assert round_quantity(Decimal("0.7"), ONE, policy) == (ONE, Decimal("0.7"), TO_MINIMUM)


def test_the_minimum_never_lifts_past_the_risk_cap() -> None:
    policy = RoundingPolicy(minimum=ONE)
    assert round_quantity(Decimal("0.6"), ONE, policy) == (Decimal(0), Decimal("0.6"), BELOW_STEP_CAPPED)


def test_the_minimum_lifts_any_quantity_when_there_is_no_cap() -> None:
    policy = RoundingPolicy(minimum=ONE, max_risk_ratio=None)
    assert round_quantity(Decimal("0.01"), ONE, policy).qty == ONE


def test_a_minimum_off_the_step_is_rounded_up_to_it() -> None:
    policy = RoundingPolicy(minimum=Decimal("2.5"), max_risk_ratio=None)
    assert round_quantity(ONE, ONE, policy).qty == Decimal(3)


def test_a_minimum_out_of_reach_leaves_the_quantity_rounded_down() -> None:
    policy = RoundingPolicy(minimum=Decimal(5))
    assert round_quantity(Decimal("2.2"), ONE, policy) == (Decimal(2), Decimal("2.2"), CAPPED)


def test_rounding_up_past_the_risk_cap_becomes_rounding_down() -> None:
    policy = RoundingPolicy("up", max_risk_ratio=Decimal("1.5"))
    assert round_quantity(Decimal("1.3"), ONE, policy) == (ONE, Decimal("1.3"), CAPPED)
    assert round_quantity(Decimal("1.4"), ONE, policy) == (Decimal(2), Decimal("1.4"), TO_STEP_UP)


@pytest.mark.parametrize("raw", ["-1", "NaN", "sNaN", "Infinity", "-Infinity", "1E+400"])
def test_what_is_no_quantity_is_refused_with_a_remedy(raw: str) -> None:
    with pytest.raises(ValueError, match="send a"):
        round_quantity(Decimal(raw), ONE, RoundingPolicy())


@pytest.mark.parametrize("step", ["0", "-1", "NaN", "Infinity"])
def test_what_is_no_step_is_refused(step: str) -> None:
    with pytest.raises(ValueError, match="step"):
        round_quantity(ONE, Decimal(step), RoundingPolicy())


@pytest.mark.parametrize("ratio", ["0.99", "0", "-1", "NaN", "Infinity"])
def test_a_cap_that_no_quantity_could_keep_is_refused(ratio: str) -> None:
    with pytest.raises(ValueError, match="max_risk_ratio"):
        RoundingPolicy(max_risk_ratio=Decimal(ratio))


@pytest.mark.parametrize("minimum", ["-1", "NaN", "Infinity", "1E+400"])
def test_a_minimum_that_is_no_quantity_is_refused(minimum: str) -> None:
    with pytest.raises(ValueError, match="minimum"):
        RoundingPolicy(minimum=Decimal(minimum))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="half_even"):
        RoundingPolicy("nearest")  # pyright: ignore[reportArgumentType]


@given(quantities, steps, policies)
def test_the_result_lies_on_the_step(raw: Decimal, step: Decimal, policy: RoundingPolicy) -> None:
    assert round_quantity(raw, step, policy).qty % step == 0


@given(quantities, quantities, steps, policies)
def test_more_asked_is_never_less_given(
    one: Decimal, other: Decimal, step: Decimal, policy: RoundingPolicy
) -> None:
    low, high = sorted((one, other))
    assert round_quantity(low, step, policy).qty <= round_quantity(high, step, policy).qty


@given(quantities, steps, policies)
def test_the_risk_cap_holds_whatever_the_mode_and_minimum(
    raw: Decimal, step: Decimal, policy: RoundingPolicy
) -> None:
    assume(policy.max_risk_ratio is not None)
    assert policy.max_risk_ratio is not None
    assert round_quantity(raw, step, policy).qty <= raw * policy.max_risk_ratio


@given(steps, policies)
def test_zero_stays_zero_even_with_a_minimum(step: Decimal, policy: RoundingPolicy) -> None:
    assert round_quantity(Decimal(0), step, policy) == (Decimal(0), Decimal(0), None)


@given(quantities, steps, policies)
def test_a_reason_is_given_exactly_when_the_quantity_changed(
    raw: Decimal, step: Decimal, policy: RoundingPolicy
) -> None:
    rounded = round_quantity(raw, step, policy)
    held_back = rounded.reason in (CAPPED, BELOW_STEP_CAPPED)
    assert (rounded.reason is None) == (rounded.qty == raw and not held_back)


@given(quantities, steps, policies)
def test_without_a_minimum_less_than_one_step_is_gained_or_lost(
    raw: Decimal, step: Decimal, policy: RoundingPolicy
) -> None:
    plain = RoundingPolicy(policy.mode, max_risk_ratio=policy.max_risk_ratio)
    assert abs(round_quantity(raw, step, plain).qty - raw) < step


# Shares


@pytest.mark.parametrize(
    "total, shares, parts",
    [
        ("3", ("0.5", "0.25", "0.25"), ("1", "1", "1")),
        ("10", ("50", "25", "25"), ("5", "3", "2")),
        ("1", ("0.5", "0.5"), ("1", "0")),
        ("2", ("1", "1", "1"), ("1", "1", "0")),
        ("5", ("1", "0"), ("5", "0")),
        ("0", ("1", "2"), ("0", "0")),
        ("7", ("0.1",), ("7",)),
    ],
)
def test_shares_go_to_the_largest_remainders_first(
    total: str, shares: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    split = split_shares(Decimal(total), [Decimal(share) for share in shares], ONE)
    assert tuple(map(str, split)) == parts


@pytest.mark.parametrize(
    "total, shares",
    [
        ("1.5", ["1"]),
        ("-1", ["1"]),
        ("NaN", ["1"]),
        ("1E+400", ["1"]),
        ("1", []),
        ("1", ["0"]),
        ("1", ["-1", "2"]),
        ("1", ["Infinity"]),
        ("1", ["1E+999999"]),
        ("1", ["1E-999999", "1"]),
    ],
)
def test_what_cannot_be_split_is_refused_with_a_remedy(total: str, shares: list[str]) -> None:
    with pytest.raises(ValueError, match=r"send|round"):
        split_shares(Decimal(total), [Decimal(share) for share in shares], ONE)


@given(
    st.integers(0, 10_000),
    st.lists(st.decimals(min_value=0, max_value=100, places=4), min_size=1, max_size=8),
    steps,
)
def test_the_parts_sum_exactly_and_stay_within_a_step_of_their_share(
    units: int, shares: list[Decimal], step: Decimal
) -> None:
    assume(any(shares))
    total = units * step
    parts = split_shares(total, shares, step)
    assert sum(parts) == total
    whole = sum(shares)
    for part, share in zip(parts, shares, strict=True):
        assert part % step == 0
        assert abs(part * whole - total * share) < step * whole
        assert share or not part
