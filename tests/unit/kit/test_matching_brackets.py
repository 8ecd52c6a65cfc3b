"""Parents and children, OCO siblings, and what partial fills and early ends do to them."""

from brokers._kit.matching import (
    AccountSpec,
    NewOrder,
    OrderAccepted,
    OrderCanceled,
    OrderRejected,
    OrderReplaced,
    OrderWorking,
    Replacement,
    SimSettings,
)
from tests.unit.kit.matching_world import ACCOUNT, World, d, fills, id_of, names, only, order, world


def stop_leg(qty: int = 2, offset: str = "-5") -> NewOrder:
    return order("sell", "stop", qty, offset=offset)


def target_leg(qty: int = 2, offset: str = "5") -> NewOrder:
    return order("sell", "limit", qty, offset=offset)


def bracketed(market: World, entry: NewOrder) -> tuple[int, int, int]:
    """Ids of entry, stop and target."""
    events = market.place(entry, stop_leg(entry.qty), target_leg(entry.qty))
    return id_of(events), id_of(events, 1), id_of(events, 2)


def test_children_wait_for_the_parent_and_get_their_prices_from_its_fill() -> None:
    market = world()
    events = market.place(order("buy", qty=2), stop_leg(), target_leg())

    accepted = only(OrderAccepted, events)
    assert [event.order.status for event in accepted] == ["pending_new", "suspended", "suspended"]
    assert [event.order.order_id for event in accepted] == [id_of(events) + step for step in range(3)]
    assert [event.order.parent_id for event in accepted] == [None, id_of(events), id_of(events)]
    started = [event.order for event in only(OrderWorking, events)]
    assert [leg.stop_price or leg.price for leg in started[1:]] == [d("95.25"), d("105.25")]
    assert started[1].oco_group == started[2].oco_group is not None


def test_children_of_a_resting_parent_do_not_trade_before_it() -> None:
    market = world()
    entry_id, stop_id, target_id = bracketed(market, order("buy", "limit", 2, "99"))

    market.quote(110, "110.25", 110)
    assert {market.state(leg).status for leg in (stop_id, target_id)} == {"suspended"}
    market.quote("98.75", "99", 99)

    assert market.state(entry_id).status == "filled"
    assert market.state(stop_id).stop_price == d("94")
    assert market.state(target_id).price == d("104")


def test_absolute_child_prices_stay_as_given() -> None:
    market = world()
    events = market.place(
        order("buy"), order("sell", "stop", 1, stop="97.5"), order("sell", "limit", 1, "120")
    )

    assert market.state(id_of(events, 1)).stop_price == d("97.5")
    assert market.state(id_of(events, 2)).price == d("120")


def test_a_filled_leg_cancels_its_sibling() -> None:
    market = world()
    _, stop_id, target_id = bracketed(market, order("buy", qty=2))

    events = market.quote(106, "106.25", 106)

    assert fills(events) == [(2, d("105.25"))]
    canceled = only(OrderCanceled, events)
    assert [(event.order.order_id, event.cause) for event in canceled] == [(stop_id, "oco")]
    assert market.state(target_id).status == "filled"
    assert market.net() == 0


def test_a_partial_parent_releases_exactly_what_it_filled() -> None:
    market = world(SimSettings(liquidity_qty=1))
    entry_id, stop_id, target_id = bracketed(market, order("buy", "limit", 3, "100.25"))

    assert market.state(entry_id).cum_qty == 1
    assert [market.state(leg).released_qty for leg in (stop_id, target_id)] == [1, 1]
    market.quote(100, "100.25")
    assert [market.state(leg).released_qty for leg in (stop_id, target_id)] == [2, 2]


def test_a_leg_never_sells_more_than_the_parent_bought() -> None:
    market = world(SimSettings(liquidity_qty=1))
    _, stop_id, target_id = bracketed(market, order("buy", "limit", 3, "100.25"))
    market.core.change_settings(SimSettings(), market.tick())

    assert fills(market.quote(106, "106.25", 106)) == [(1, d("105.25"))]
    assert market.net() == 0
    assert (market.state(target_id).status, market.state(stop_id).qty) == ("working", 2)

    market.quote(100, "100.25", 100)
    assert market.net() == 2
    assert fills(market.quote(95, "95.25", 95)) == [(2, d("95"))]
    assert market.net() == 0


def test_canceling_a_partly_filled_parent_cuts_the_children_to_what_it_filled() -> None:
    market = world(SimSettings(liquidity_qty=1))
    entry_id, stop_id, target_id = bracketed(market, order("buy", "limit", 3, "100.25"))

    events = market.core.cancel(entry_id, market.tick())

    assert [event.cause for event in only(OrderReplaced, events)] == ["parent", "parent"]
    assert [(market.state(leg).qty, market.state(leg).status) for leg in (stop_id, target_id)] == [
        (1, "working"),
        (1, "working"),
    ]


def test_canceling_an_unfilled_parent_cancels_its_children() -> None:
    market = world()
    entry_id, stop_id, target_id = bracketed(market, order("buy", "limit", 2, "99"))

    events = market.core.cancel(entry_id, market.tick())

    assert [event.cause for event in only(OrderCanceled, events)] == ["request", "parent", "parent"]
    assert {market.state(leg).qty for leg in (stop_id, target_id)} == {2}


def test_a_partial_fill_of_one_leg_shrinks_the_other() -> None:
    market = world()
    _, stop_id, target_id = bracketed(market, order("buy", qty=3))
    market.core.change_settings(SimSettings(liquidity_qty=2), market.tick())

    events = market.quote(106, "106.25", 106)

    assert fills(events) == [(2, d("105.25"))]
    shrunk = only(OrderReplaced, events)
    assert [(event.order.order_id, event.order.qty, event.cause) for event in shrunk] == [(stop_id, 1, "oco")]
    assert market.state(target_id).leaves_qty == 1
    market.quote(106, "106.25", 106)
    assert (market.net(), market.state(stop_id).status) == (0, "canceled")


def test_canceling_or_moving_one_leg_leaves_the_other() -> None:
    market = world()
    _, stop_id, target_id = bracketed(market, order("buy", qty=2))

    market.core.replace(stop_id, Replacement(stop_price=d("97")), market.tick())
    market.core.cancel(target_id, market.tick())

    assert market.state(stop_id).status == "working"
    assert fills(market.quote(97, "97.25", 97)) == [(2, d("97"))]


def test_closing_the_position_leaves_the_legs_unless_told_otherwise() -> None:
    market = world()
    _, stop_id, _ = bracketed(market, order("buy", qty=2))
    market.core.close_position(ACCOUNT, "MNQZ6", market.tick())
    assert (market.net(), market.state(stop_id).status) == (0, "working")

    _, second_stop_id, _ = bracketed(market, order("buy", qty=2))
    market.core.close_position(ACCOUNT, "MNQZ6", market.tick(), cancel_working=True)

    assert market.net() == 0
    assert {market.state(leg).status for leg in (stop_id, second_stop_id)} == {"canceled"}


def test_a_plain_oco_pair_cancels_the_other_order() -> None:
    market = world()
    events = market.core.place_oco(
        [order("buy", "limit", 1, "99"), order("buy", "stop", 1, stop="101")], market.tick()
    )
    assert market.state(id_of(events)).oco_group == market.state(id_of(events, 1)).oco_group

    filled = market.quote(101, "101.25", 101)

    assert names(filled) == ["OrderReplaced", "OrderFilled", "PositionChanged", "OrderCanceled"]
    assert market.state(id_of(events)).status == "canceled"


def test_of_an_oco_pair_that_could_both_fill_at_once_only_one_does() -> None:
    market = world()

    events = market.core.place_oco([order("buy", "limit", 1, "101"), order("buy", "limit", 1, "102")], 1)

    assert len(fills(events)) == 1
    assert market.net() == 1


def test_a_child_sent_later_starts_with_what_its_parent_already_filled() -> None:
    market = world()
    entry_id = id_of(market.place(order("buy", qty=2)))

    late = market.place(order("sell", "stop", 2, stop="95", suspended=True, parent_id=entry_id))

    assert (market.state(id_of(late)).status, market.state(id_of(late)).released_qty) == ("working", 2)


def test_a_child_without_a_parent_is_rejected() -> None:
    market = world()
    for asked in (
        order("sell", "stop", 1, stop="95", suspended=True),
        order("sell", "stop", 1, stop="95", suspended=True, parent_id=5),
    ):
        events = market.place(asked)
        assert [event.reason for event in only(OrderRejected, events)] == ["parent_rejected"]


def test_one_bad_child_refuses_the_whole_bracket() -> None:
    market = world()

    events = market.place(order("buy"), order("sell", "stop", 1, stop="95.1"))

    assert [event.reason for event in only(OrderRejected, events)] == ["off_tick", "parent_rejected"]
    assert market.net() == 0


def test_an_account_in_position_bracket_mode_refuses_brackets_only() -> None:
    market = world()
    market.core.add_account(AccountSpec(9, "SIM-9", "trader", d(1000), position_brackets=True))

    refused = market.place(order("buy", account_id=9), order("sell", "stop", 1, stop="95", account_id=9))
    taken = market.place(order("buy", account_id=9))

    assert only(OrderRejected, refused)[0].reason == "brackets_refused"
    assert len(fills(taken)) == 1


def test_a_trailing_child_takes_its_distance_from_the_offset() -> None:
    market = world()
    events = market.place(order("buy"), order("sell", "trailing_stop", 1, offset="-3"))

    assert market.state(id_of(events, 1)).stop_price == d("97")
    market.quote(104, "104.25", 104)
    assert market.state(id_of(events, 1)).stop_price == d("101")
