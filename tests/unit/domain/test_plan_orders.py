"""Products, inverse followers, and mirrored resting orders."""

import pytest

from kopitra.domain.copy_rules import CopyRule, MapEntry
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.rounding import RoundingPolicy
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.unit.domain.copy_world import MESZ6, World, account, d, rule

HALF_UP = RoundingPolicy(mode="half_up", max_risk_ratio=None)


def _entry(one: CopyRule, world: World | None = None, /, **act: object) -> OrderIntent | str:
    """The entry that one rule makes of an act (buy 2 at market unless told), or the reason against it."""
    world = world or World([one])
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    entries = [a.intent for a in leg.orders if a.intent.role == "entry"]
    return entries[0] if entries else leg.reason


def test_a_map_changes_product_and_size() -> None:
    made = _entry(rule(symbol_map=(MapEntry("ES", "MES", d(10)),)))
    assert isinstance(made, OrderIntent)
    assert (made.symbol, made.qty) == (MESZ6, 20)


def test_prices_go_along_within_a_family_and_snap_to_the_followers_tick() -> None:
    world = World([rule(symbol_map=(MapEntry("6E", "E7", d(2)),))])
    leg = world.leg("enter", symbol="6E", side="buy", quantity=d(1), ord_type="limit", price=d("1.08525"))
    assert leg.orders[0].intent.price == d("1.0853")


def test_another_familys_prices_are_never_sent() -> None:
    world = World([rule(symbol_map=(MapEntry("ES", "NQ"),))])
    resting = world.leg(
        "enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o"
    )
    assert resting.reason == "waits_for_fill"
    assert (
        world.leg("enter", side="buy", quantity=d(1), stop_loss=StopLoss(offset=d(9))).reason
        == "prices_differ"
    )
    filled = world.leg("enter", side="buy", quantity=d(1), is_fill=True, leader_order_id="o", price=d(4990))
    assert [a.intent.symbol[:2] for a in filled.orders] == ["NQ"]
    assert filled.orders[0].intent.price is None


def test_another_familys_month_is_not_taken_over() -> None:
    world = World([rule(symbol_map=(MapEntry("ES", "CL"),))])
    leg = world.leg("enter", contract="ESZ6", side="buy", quantity=d(1))
    assert leg.orders[0].intent.symbol == "CLF7"


def test_a_product_that_a_map_feeds_has_one_source() -> None:
    world = World([rule(symbol_map=(MapEntry("ES", "MES"),))])
    assert world.leg("enter", symbol="MES", side="buy", quantity=d(1)).reason == "symbol_taken"


def test_the_leaders_own_month_is_followed() -> None:
    made = _entry(rule(), contract="ESH7")
    assert isinstance(made, OrderIntent)
    assert made.symbol == "ESH7"


def test_an_expired_contract_is_skipped() -> None:
    assert _entry(rule(), contract="ESU6") == "expired"


def test_an_inverse_follower_sells_and_swaps_stop_and_target() -> None:
    world = World([rule(inverse=True)])
    leg = world.leg(
        "enter", side="buy", quantity=d(1), stop_loss=StopLoss(price=d(4990)), take_profits=(TakeProfit(price=d(5020)),)
    )  # fmt: skip
    entry, stop, target = [a.intent for a in leg.orders]
    assert entry.side == "sell"
    assert (stop.role, stop.side, stop.stop_price) == ("stop", "buy", 5020)
    assert (target.role, target.side, target.price) == ("target", "buy", 4990)


@pytest.mark.parametrize(
    "leader, price, stop, follower, f_price, f_stop",
    [
        ("limit", 4990, None, "stop", None, 4990),
        ("stop", None, 5010, "limit", 5010, None),
        ("stop_limit", 5011, 5010, "limit", 5010, None),
    ],
)
def test_an_inverse_follower_rests_the_same_level_from_the_other_side(
    leader: str, price: int | None, stop: int | None, follower: str, f_price: int | None, f_stop: int | None
) -> None:
    made = _entry(
        rule(inverse=True),
        ord_type=leader,
        price=None if price is None else d(price),
        stop_price=None if stop is None else d(stop),
    )
    assert isinstance(made, OrderIntent)
    assert (made.side, made.ord_type, made.price, made.stop_price) == ("sell", follower, f_price, f_stop)


def test_an_inverse_order_moves_by_its_own_type_even_when_the_move_names_none() -> None:
    world = World([rule(inverse=True)])
    world.say("enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o")
    leg = world.leg("replace", leader_order_id="o", price=d(4995))
    assert (leg.replaces[0].price, leg.replaces[0].stop_price) == (None, 4995)


def test_fills_are_copied_as_market_orders_by_those_who_mirror_fills() -> None:
    world = World([rule("a1"), rule("a2", mirror="fills")])
    first, second = world.say(
        "enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o"
    ).legs
    assert first.orders[0].intent.ord_type == "limit"
    assert second.reason == "waits_for_fill"
    first, second = world.say("enter", side="buy", quantity=d(1), leader_order_id="o", is_fill=True).legs
    assert first.reason == "on_target"
    assert second.orders[0].intent.ord_type == "market"


def test_a_breakout_pair_rests_one_side_and_follows_the_other_when_it_fills() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), ord_type="stop", stop_price=d(5010), leader_order_id="up")
    other = world.leg(
        "enter", side="sell", quantity=d(1), ord_type="stop", stop_price=d(4990), leader_order_id="down"
    )
    assert (other.reason, other.cancels) == ("waits_for_fill", ())
    world.say(
        "enter", side="sell", quantity=d(1), is_fill=True, leader_position=d(-1), leader_order_id="down"
    )
    world.say("cancel", leader_order_id="up")
    world.settle()
    assert world.held() == -1
    assert world.open() == []


def test_a_resting_order_beyond_the_position_closes_nothing_before_it_fills() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    world.settle()
    leg = world.leg("enter", side="sell", quantity=d(3), ord_type="limit", price=d(5010), leader_order_id="o")
    assert (leg.orders, leg.cancels) == ((), ())
    world.settle()
    assert world.held() == 1
    world.say("reverse", side="sell", quantity=d(3), is_fill=True, leader_position=d(-2), leader_order_id="o")
    world.settle()
    assert world.held() == -2


def test_a_canceled_order_of_the_leader_takes_back_what_only_the_follower_filled() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o")
    world.fill(world.child(), d(1))
    world.say("cancel", leader_order_id="o")
    world.settle()
    assert (world.held(), world.open()) == (0, [])


def test_a_canceled_order_leaves_the_protection_of_what_it_filled() -> None:
    world = World([rule()])
    world.say(
        "enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990),
        leader_order_id="o", stop_loss=StopLoss(offset=d(5)),
    )  # fmt: skip
    world.say("enter", side="buy", quantity=d(1), is_fill=True, leader_order_id="o")
    world.fill(world.child(), d(1))
    world.say("cancel", leader_order_id="o")
    world.settle()
    assert world.held() == 1
    assert [(o.intent.role, o.leaves_qty) for o in world.open()] == [("stop", 1)]


def test_a_larger_order_of_the_leader_needs_the_followers_limits_again() -> None:
    limits = RiskLimits(max_position_qty=d(2))
    world = World([rule()], {"a1": account(limits=limits)})
    world.say("enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o")
    leg = world.leg("replace", leader_order_id="o", price=d(4991), quantity=d(2))
    assert leg.replaces[0].qty == 2
    leg = world.leg("replace", leader_order_id="o", price=d(4992), quantity=d(5))
    assert (leg.replaces[0].qty, leg.replaces[0].price) == (None, 4992)
    world.settle()
    assert world.child().qty == 2


def test_an_order_told_twice_rests_once() -> None:
    world = World([rule()])
    leg = None
    for _ in range(2):
        leg = world.leg(
            "enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o"
        )
    assert leg is not None
    assert leg.orders == ()
    assert world.book.leader("L", "ES").exposure == 1
