"""Every reason to refuse a placement, and that a refused one moves nothing but is written down."""

import pytest

from brokers._kit.matching import (
    AccountSpec,
    CoreRules,
    Instrument,
    NewOrder,
    OrderAccepted,
    OrderRejected,
    RejectReason,
    SimSettings,
)
from tests.unit.kit.matching_world import ACCOUNT, World, d, fills, id_of, names, only, order, world

LOCKED, FUNDED, COPIER, REDUCING, SMALL = 11, 12, 13, 14, 15


def strict_world() -> World:
    made = world(SimSettings(halted_symbols=("HALTED",)), CoreRules(unique_tags=True))
    for spec in (
        AccountSpec(LOCKED, "L", "trader", d(0), can_trade=False),
        AccountSpec(FUNDED, "F", "trader", d(0), live_funded=True),
        AccountSpec(COPIER, "C", "trader", d(0), copy_follower=True),
        AccountSpec(REDUCING, "R", "trader", d(0), liquidation_only=True),
        AccountSpec(SMALL, "S", "trader", d(0), max_position_qty=3),
    ):
        made.core.add_account(spec)
    for symbol in ("HALTED", "QUIET"):
        made.core.add_instrument(Instrument(symbol, d("0.25"), d("1")))
    return made


REFUSED: list[tuple[NewOrder, RejectReason]] = [
    (order(account_id=99), "unknown_account"),
    (order(symbol="NOPE"), "unknown_symbol"),
    (order(account_id=LOCKED), "trading_locked"),
    (order(account_id=FUNDED), "account_rejected"),
    (order(account_id=COPIER), "account_rejected"),
    (order(account_id=REDUCING), "liquidation_only"),
    (order(account_id=SMALL, qty=4), "max_position"),
    (order(qty=0), "bad_qty"),
    (order(qty=-1), "bad_qty"),
    (order(ord_type="limit"), "bad_price"),
    (order(ord_type="stop"), "bad_price"),
    (order(ord_type="stop_limit", price=101), "bad_price"),
    (order(ord_type="stop_limit", stop=101), "bad_price"),
    (order(ord_type="trailing_stop"), "bad_price"),
    (order(ord_type="trailing_stop", trail=0), "bad_price"),
    (order(ord_type="limit", price="100.1"), "off_tick"),
    (order(ord_type="limit", price="NaN"), "off_tick"),
    (order(ord_type="limit", price="Infinity"), "off_tick"),
    (order(ord_type="stop", stop="101.13"), "off_tick"),
    (order(ord_type="stop", stop="100"), "wrong_side_stop"),
    (order("sell", "stop", stop="100"), "wrong_side_stop"),
    (order(symbol="HALTED"), "halted"),
    (order(symbol="QUIET"), "no_quote"),
]


@pytest.mark.parametrize("asked,reason", REFUSED)
def test_a_refused_order_is_recorded_and_moves_nothing(asked: NewOrder, reason: RejectReason) -> None:
    market = strict_world()

    events = market.place(asked)

    (rejected,) = only(OrderRejected, events)
    assert names(events) == ["OrderRejected"]
    assert (rejected.reason, rejected.late, rejected.order.status) == (reason, False, "rejected")
    (row,) = market.core.ledger.placements()
    assert (row.outcome, row.reason, row.order_id) == ("rejected", reason, rejected.order.order_id)
    assert market.core.positions() == ()


def test_a_tag_works_once_per_account_even_if_its_order_was_rejected() -> None:
    market = strict_world()
    market.place(order(ord_type="limit", tag="a"))

    again = market.place(order(tag="a"))
    elsewhere = market.place(order(tag="a", account_id=SMALL))

    assert only(OrderRejected, again)[0].reason == "duplicate_tag"
    assert len(fills(elsewhere)) == 1
    assert [row.outcome for row in market.core.ledger.placements_by_tag(ACCOUNT)["a"]] == ["rejected"] * 2


def test_two_orders_of_one_bracket_cannot_share_a_tag() -> None:
    market = strict_world()

    events = market.place(order(tag="a"), order("sell", "stop", offset="-5", tag="a"))

    assert only(OrderRejected, events)[0].reason == "duplicate_tag"
    assert market.net() == 0


def test_a_broker_without_unique_tags_takes_the_same_tag_twice() -> None:
    market = world()
    market.place(order(tag="a"))
    market.place(order(tag="a"))

    assert market.net() == 2
    assert len(market.core.ledger.placements_by_tag()["a"]) == 2


def test_a_reducing_account_may_close_but_not_reverse() -> None:
    market = world()
    market.place(order(qty=2))
    market.core.set_account(ACCOUNT, market.tick(), liquidation_only=True)

    assert only(OrderRejected, market.place(order("sell", qty=4)))[0].reason == "liquidation_only"
    assert len(fills(market.place(order("sell", qty=2)))) == 1


def test_planned_refusals_hit_the_next_placements_of_their_account() -> None:
    market = world()
    market.core.reject_next(2, account_id=ACCOUNT, text="no margin")

    seen = [market.place(order(account_id=account)) for account in (2, ACCOUNT, ACCOUNT, ACCOUNT)]

    rejected = [only(OrderRejected, events) for events in seen]
    assert [len(found) for found in rejected] == [0, 1, 1, 0]
    assert {found[0].text for found in rejected[1:3]} == {"no margin"}


def test_a_late_refusal_follows_an_acceptance() -> None:
    market = world()
    market.core.reject_next(late=True)

    events = market.place(order(), order("sell", "stop", offset="-5"))

    assert names(events) == ["OrderAccepted"] * 2 + ["OrderRejected"] * 2
    assert all(event.late for event in only(OrderRejected, events))
    assert {market.state(event.order.order_id).status for event in only(OrderAccepted, events)} == {
        "rejected"
    }
    assert market.net() == 0


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_planned_refusals_are_counted_and_bounded(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        world().core.reject_next(count)


def test_a_face_can_record_a_refusal_of_its_own() -> None:
    market = world()

    events = market.core.refuse(order(tag="x"), "other", "Invalid stop loss ticks (40).", market.tick())

    assert only(OrderRejected, events)[0].text == "Invalid stop loss ticks (40)."
    assert market.state(id_of(events)).status == "rejected"
    assert len(market.core.ledger.placements_by_tag()["x"]) == 1


def test_stops_on_the_wrong_side_trigger_at_once_where_the_broker_allows_them() -> None:
    market = world(rules=CoreRules(wrong_side_stops_refused=False))

    assert fills(market.place(order("sell", "stop", 1, stop="101"))) == [(1, d("100"))]
