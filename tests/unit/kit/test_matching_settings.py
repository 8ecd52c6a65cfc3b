"""The knobs of a simulator, its dice, and the knobs that the core itself honours."""

import dataclasses

import pytest

from brokers._kit.matching import (
    FaultDice,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    Replacement,
    SimSettings,
)
from brokers._kit.matching.engine import slices_of
from tests.unit.kit.matching_world import d, fills, id_of, names, only, order, world

MS = 1_000_000


def test_every_knob_is_off_by_default() -> None:
    on = {spec.name: spec.default for spec in dataclasses.fields(SimSettings) if spec.default}

    assert on == {
        "partial_fill_slices": 1,
        "reject_text": "rejected by simulator setting",
        "penalty_ticket_s": 15,
    }


@pytest.mark.parametrize(
    "name,value",
    [
        ("no_such_knob", 1),
        ("ack_delay_ms", -1),
        ("ack_delay_ms", 600_001),
        ("ack_delay_ms", 1.5),
        ("ack_delay_ms", True),
        ("reject_ratio", 1.01),
        ("reject_ratio", -0.1),
        ("reject_ratio", float("nan")),
        ("partial_fill_slices", 0),
        ("liquidity_qty", -1),
        ("stream_down", 1),
        ("reject_text", 7),
        ("halted_symbols", "MNQZ6"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        SimSettings().with_changes({name: value})


def test_settings_are_changed_in_a_copy() -> None:
    before = SimSettings()

    after = before.with_(reject_ratio=1, halted_symbols=["A"], ack_delay_ms=20, stream_down=True)

    assert (after.reject_ratio, after.halted_symbols, after.ack_delay_ms) == (1.0, ("A",), 20)
    assert before == SimSettings()


def test_the_same_seed_draws_the_same_faults() -> None:
    one, two, other = FaultDice(5), FaultDice(5), FaultDice(6)
    drawn = [one.hits(0.5) for _ in range(200)]

    assert drawn == [two.hits(0.5) for _ in range(200)]
    assert drawn != [other.hits(0.5) for _ in range(200)]
    assert 60 < sum(drawn) < 140
    assert one.shuffled(range(20)) == two.shuffled(range(20))
    assert one.between(1, 100) == two.between(1, 100)


def test_a_knob_that_is_off_draws_nothing() -> None:
    with_off, without = FaultDice(5), FaultDice(5)
    for _ in range(10):
        assert not with_off.hits(0.0)
        assert with_off.hits(1.0)

    assert [with_off.hits(0.5) for _ in range(50)] == [without.hits(0.5) for _ in range(50)]


def test_a_reject_ratio_refuses_about_its_share_and_repeats_after_a_reset() -> None:
    market = world(SimSettings(reject_ratio=0.3, reject_text="no"))

    def rejected() -> list[bool]:
        return [bool(only(OrderRejected, market.place(order()))) for _ in range(200)]

    first = rejected()
    market.core.reset()
    assert rejected() == first
    assert 30 < sum(first) < 90


@pytest.mark.parametrize(
    "qty,count,parts", [(10, 3, [4, 3, 3]), (2, 5, [1, 1]), (5, 1, [5]), (6, 3, [2, 2, 2])]
)
def test_slices_add_up_and_differ_by_one_at_most(qty: int, count: int, parts: list[int]) -> None:
    assert slices_of(qty, count) == parts


def test_a_match_is_split_into_separate_executions() -> None:
    market = world(SimSettings(partial_fill_slices=3))

    events = market.place(order(qty=10))

    filled = only(OrderFilled, events)
    assert [event.execution.qty for event in filled] == [4, 3, 3]
    assert [event.execution.cum_qty for event in filled] == [4, 7, 10]
    assert [event.execution.leaves_qty for event in filled] == [6, 3, 0]
    assert [event.order.status for event in filled] == ["working", "working", "filled"]


def test_a_delayed_fill_comes_when_it_is_due() -> None:
    market = world(SimSettings(fill_delay_ms=20, partial_fill_slices=2))
    placed = market.place(order(qty=2))
    placed_ns = market.now_ns

    assert names(placed) == ["OrderAccepted", "OrderWorking"]
    assert market.core.next_due_ns() == placed_ns + 20 * MS
    assert market.core.advance(placed_ns + 20 * MS - 1) == []
    assert fills(market.core.advance(placed_ns + 20 * MS)) == [(1, d("100.25"))]
    assert fills(market.core.advance(placed_ns + 40 * MS)) == [(1, d("100.25"))]
    assert market.core.next_due_ns() is None


def test_a_cancel_can_win_against_a_delayed_fill() -> None:
    market = world(SimSettings(fill_delay_ms=20, partial_fill_slices=2))
    order_id = id_of(market.place(order(qty=2)))
    start_ns = market.now_ns
    market.core.advance(start_ns + 20 * MS)

    market.core.cancel(order_id, start_ns + 21 * MS)

    assert market.core.advance(start_ns + 99 * MS) == []
    assert (market.state(order_id).status, market.state(order_id).cum_qty) == ("canceled", 1)
    assert market.net() == 1


def test_a_delayed_fill_whose_price_went_away_puts_the_order_back_to_rest() -> None:
    market = world(SimSettings(fill_delay_ms=20))
    order_id = id_of(market.place(order("buy", "limit", 1, "100.25")))
    market.quote(105, "105.25", 105)

    assert market.core.advance(market.now_ns + 50 * MS) == []
    assert market.state(order_id).status == "working"
    market.quote(100, "100.25", 100)
    assert fills(market.core.advance(market.now_ns + 50 * MS)) == [(1, d("100.25"))]


def test_a_replace_during_a_delayed_fill_never_overfills() -> None:
    market = world(SimSettings(fill_delay_ms=20, partial_fill_slices=2))
    order_id = id_of(market.place(order("buy", "limit", 4, "100.25")))

    market.core.replace(order_id, Replacement(qty=3), market.tick())
    events = market.core.advance(market.now_ns + 99 * MS)

    assert [qty for qty, _ in fills(events)] == [2, 1]
    assert market.state(order_id).status == "filled"


def test_an_immediate_order_is_ended_after_its_delayed_fills() -> None:
    market = world(SimSettings(fill_delay_ms=20, liquidity_qty=2))
    market.place(order("buy", "limit", 5, "100.25", tif="ioc"))

    events = market.core.advance(market.now_ns + 50 * MS)

    assert [qty for qty, _ in fills(events)] == [2]
    assert [event.cause for event in only(OrderCanceled, events)] == ["ioc"]


def test_bracket_legs_start_with_a_delayed_parent() -> None:
    market = world(SimSettings(fill_delay_ms=20))
    placed = market.place(order(qty=2), order("sell", "stop", 2, offset="-5"))
    assert market.state(id_of(placed, 1)).status == "suspended"

    market.core.advance(market.now_ns + 20 * MS)

    assert market.state(id_of(placed, 1)).stop_price == d("95.25")
