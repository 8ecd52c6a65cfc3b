"""Every order type, on both sides, at and away from the market, at 100.00 / 100.25 with last 100.00."""

from decimal import Decimal

import pytest

from brokers._kit.matching import (
    OrderCanceled,
    OrderExpired,
    OrderRejected,
    OrderReplaced,
    OrdType,
    Replacement,
    RequestRefused,
    Side,
    SimSettings,
    TimeInForce,
)
from tests.unit.kit.matching_world import MNQ, d, fills, id_of, names, only, order, world

FILLS_AT_ONCE: list[tuple[Side, OrdType, str | None, str]] = [
    ("buy", "market", None, "100.25"),
    ("sell", "market", None, "100.00"),
    ("buy", "limit", "100.25", "100.25"),
    ("buy", "limit", "101.00", "100.25"),
    ("sell", "limit", "100.00", "100.00"),
    ("sell", "limit", "99.00", "100.00"),
]


@pytest.mark.parametrize("side,ord_type,price,filled_at", FILLS_AT_ONCE)
def test_a_marketable_order_fills_at_the_touch(
    side: Side, ord_type: OrdType, price: str | None, filled_at: str
) -> None:
    events = world().place(order(side, ord_type, 2, price))

    assert names(events) == ["OrderAccepted", "OrderWorking", "OrderFilled", "PositionChanged"]
    assert fills(events) == [(2, d(filled_at))]


# side, type, price, stop, trail, quote (bid ask last) that does nothing, quote that fills, fill price
RESTING: list[tuple[Side, OrdType, str | None, str | None, str | None, str, str, str]] = [
    ("buy", "limit", "99.00", None, None, "99 99.25 99", "98.75 99 99", "99"),
    ("buy", "limit", "99.00", None, None, "99 99.25 99", "90 90.25 90", "99"),
    ("sell", "limit", "101", None, None, "100.75 101 101", "101 101.25 101", "101"),
    ("sell", "limit", "101", None, None, "100.75 101 101", "109 109.25 109", "101"),
    ("buy", "stop", None, "101", None, "100.75 101 100.75", "100.75 101 101", "101"),
    ("buy", "stop", None, "101", None, "100.75 101 100.75", "104 104.25 104", "104.25"),
    ("sell", "stop", None, "99", None, "99 99.25 99.25", "98.75 99 99", "98.75"),
    ("sell", "stop", None, "99", None, "99 99.25 99.25", "95 95.25 95", "95"),
    ("buy", "stop_limit", "101.25", "101", None, "100.75 101 100.75", "100.75 101 101", "101"),
    ("sell", "stop_limit", "98.75", "99", None, "99 99.25 99.25", "98.75 99 99", "98.75"),
    ("buy", "trailing_stop", None, None, "2", "101.5 101.75 101.75", "102 102.25 102", "102.25"),
    ("sell", "trailing_stop", None, None, "2", "98 98.25 98.25", "97.75 98 98", "97.75"),
]


@pytest.mark.parametrize("side,ord_type,price,stop,trail,quiet,crossing,filled_at", RESTING)
def test_a_resting_order_waits_for_its_price(
    side: Side,
    ord_type: OrdType,
    price: str | None,
    stop: str | None,
    trail: str | None,
    quiet: str,
    crossing: str,
    filled_at: str,
) -> None:
    market = world()

    placed = market.place(order(side, ord_type, 3, price, stop, trail))
    waiting = market.quote(*quiet.split())
    crossed = market.quote(*crossing.split())

    assert fills(placed) == fills(waiting) == []
    assert fills(crossed) == [(3, d(filled_at))]
    assert market.state(id_of(placed)).status == "filled"


def test_a_triggered_stop_limit_that_is_passed_by_rests_at_its_limit() -> None:
    market = world()
    placed = market.place(order("buy", "stop_limit", 1, "101.25", "101"))

    gapped = market.quote(103, "103.25", 103)
    assert [event.cause for event in only(OrderReplaced, gapped)] == ["trigger"]
    assert fills(gapped) == []

    assert fills(market.quote(101, "101.25", "101.25")) == [(1, d("101.25"))]
    assert market.state(id_of(placed)).triggered


def test_a_trailing_stop_follows_and_never_steps_back() -> None:
    market = world()
    stop_id = id_of(market.place(order("sell", "trailing_stop", 1, trail="2")))
    seen: list[Decimal | None] = [market.state(stop_id).stop_price]
    for last in ("101", "103.5", "102.25", "104"):
        market.quote(last, str(d(last) + d("0.25")), last)
        seen.append(market.state(stop_id).stop_price)

    assert seen == [d("98"), d("99"), d("101.5"), d("101.5"), d("102")]
    assert fills(market.quote(102, "102.25", 102)) == [(1, d("102"))]


@pytest.mark.parametrize(
    "tif,liquidity_qty,filled,status",
    [
        ("ioc", 0, 5, "filled"),
        ("ioc", 2, 2, "canceled"),
        ("fok", 0, 5, "filled"),
        ("fok", 2, 0, "canceled"),
        ("day", 2, 2, "working"),
        ("gtc", 2, 2, "working"),
    ],
)
def test_time_in_force_decides_what_happens_to_the_rest(
    tif: TimeInForce, liquidity_qty: int, filled: int, status: str
) -> None:
    market = world(SimSettings(liquidity_qty=liquidity_qty))

    state = market.state(id_of(market.place(order("buy", "limit", 5, "100.25", tif=tif))))

    assert (state.cum_qty, state.status) == (filled, status)


def test_an_immediate_limit_away_from_the_market_is_canceled() -> None:
    events = world().place(order("buy", "limit", 1, "99", tif="ioc"))

    assert [event.cause for event in only(OrderCanceled, events)] == ["ioc"]


def test_limited_liquidity_fills_the_rest_at_later_prices() -> None:
    market = world(SimSettings(liquidity_qty=2))

    seen = fills(market.place(order("buy", qty=5)))
    seen += fills(market.quote("100.25", "100.50"))
    seen += fills(market.quote("100.50", "100.75"))

    assert seen == [(2, d("100.25")), (2, d("100.50")), (1, d("100.75"))]


def test_the_end_of_the_session_expires_day_orders_only() -> None:
    market = world()
    day_id = id_of(market.place(order("buy", "limit", 1, "90", tif="day")))
    gtc_id = id_of(market.place(order("buy", "limit", 1, "90", tif="gtc")))

    events = market.core.end_session(market.tick())

    assert [event.order.order_id for event in only(OrderExpired, events)] == [day_id]
    assert (market.state(day_id).status, market.state(gtc_id).status) == ("expired", "working")


@pytest.mark.parametrize(
    "change,filled_at",
    [
        (Replacement(price=d("100.25")), "100.25"),
        (Replacement(price=d("105")), "100.25"),
        (Replacement(qty=4), None),
        (Replacement(price=d("99.5")), None),
    ],
)
def test_a_replaced_limit_trades_if_its_new_price_allows(change: Replacement, filled_at: str | None) -> None:
    market = world()
    order_id = id_of(market.place(order("buy", "limit", 2, "99")))

    events = market.core.replace(order_id, change, market.tick())

    assert only(OrderReplaced, events)[0].order.version == 2
    assert fills(events) == ([(2, d(filled_at))] if filled_at else [])
    assert market.state(order_id).qty == (change.qty or 2)


@pytest.mark.parametrize(
    "change,reason",
    [
        (Replacement(price=d("99.10")), "off_tick"),
        (Replacement(price=d("NaN")), "off_tick"),
        (Replacement(qty=0), "bad_qty"),
        (Replacement(stop_price=d("100.25")), "wrong_side_stop"),
        (Replacement(trail=d("-1")), "bad_price"),
    ],
)
def test_a_wrong_replacement_changes_nothing(change: Replacement, reason: str) -> None:
    market = world()
    order_id = id_of(market.place(order("sell", "stop", 2, stop="99")))
    before = market.state(order_id)

    events = market.core.replace(order_id, change, market.tick())

    assert [event.reason for event in only(RequestRefused, events)] == [reason]
    assert market.state(order_id) == before


def test_the_quantity_cannot_be_replaced_below_what_is_filled() -> None:
    market = world(SimSettings(liquidity_qty=3))
    order_id = id_of(market.place(order("buy", "limit", 5, "100.25")))

    events = market.core.replace(order_id, Replacement(qty=3), market.tick())

    assert [event.reason for event in only(RequestRefused, events)] == ["bad_qty"]


def test_cancel_ends_a_working_order_and_is_too_late_for_a_filled_one() -> None:
    market = world()
    working_id = id_of(market.place(order("buy", "limit", 1, "99")))
    filled_id = id_of(market.place(order("buy")))

    assert names(market.core.cancel(working_id, market.tick())) == ["OrderCanceled"]
    for order_id, reason in ((working_id, "too_late"), (filled_id, "too_late"), (99, "unknown_order")):
        refused = only(RequestRefused, market.core.cancel(order_id, market.tick()))
        assert [event.reason for event in refused] == [reason]
    assert fills(market.quote(90, "90.25")) == []


def test_an_order_of_another_account_cannot_be_touched() -> None:
    market = world()
    order_id = id_of(market.place(order("buy", "limit", 1, "99")))

    events = market.core.cancel(order_id, market.tick(), account_id=2)

    assert [event.reason for event in only(RequestRefused, events)] == ["unknown_order"]
    assert market.state(order_id).is_live


def test_a_halt_refuses_orders_and_freezes_resting_ones_until_it_ends() -> None:
    market = world()
    resting_id = id_of(market.place(order("buy", "limit", 1, "99")))
    market.core.halt(MNQ, market.tick())

    refused = market.place(order("buy"))
    assert [event.reason for event in only(OrderRejected, refused)] == ["halted"]
    assert fills(market.quote(95, "95.25")) == []

    assert fills(market.core.resume(MNQ, market.tick())) == [(1, d("99"))]
    assert market.state(resting_id).status == "filled"


def test_ids_do_not_fit_32_bits_and_grow() -> None:
    market = world()
    first, second = (market.place(order("buy")) for _ in range(2))

    assert 2**32 < id_of(first) < id_of(second)
    executions = market.core.executions()
    assert 2**32 < executions[0].exec_id < executions[1].exec_id
