"""The plan, rule by rule: sizing, filters, mirroring, exits, limits."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.copy_rules import CopyRule, InvalidRule, MapEntry, Sizing, check_acyclic
from kopitra.domain.journal import Doubted
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.plan import plan
from kopitra.domain.risk import Approved, Refused, approve_exit, check_entry
from kopitra.domain.rounding import RoundingPolicy
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.unit.domain.copy_world import ESZ6, MESZ6, World, account, d, rule, signal

HALF_UP = RoundingPolicy(mode="half_up", max_risk_ratio=None)


def _entry(one: CopyRule, world: World | None = None, **act: Any) -> OrderIntent | str:
    """The entry that one rule makes of an act (buy 2 at market unless told), or the reason against it."""
    world = world or World([one])
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    entries = [a.intent for a in leg.orders if a.intent.role == "entry"]
    return entries[0] if entries else leg.reason


def _qty(one: CopyRule, world: World | None = None, **act: Any) -> Decimal | str:
    made = _entry(one, world, **act)
    return made if isinstance(made, str) else made.qty


# sizing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, value, expected",
    [
        ("fixed", "3", "3"),
        ("multiplier", "1.5", "3"),
        ("equity_proportional", "2", "2"),  # 2 x 2 x 50,000 / 100,000
        ("percent_of_equity", "1000", "2"),  # 500,000 of 250,000 each
        ("risk_from_stop", "4", "2"),  # 2,000 of 10 points x 50 x 2 each
    ],
)
def test_each_sizing_mode(mode: str, value: str, expected: str) -> None:
    one = rule(sizing=Sizing(mode, d(value)))  # pyright: ignore[reportArgumentType]
    stop = StopLoss(offset=d(20)) if mode == "risk_from_stop" else None
    assert _qty(one, stop_loss=stop) == d(expected)


def test_risk_is_measured_from_the_stop_price_where_no_distance_is_given() -> None:
    one = rule(sizing=Sizing("risk_from_stop", d(4)))
    assert _qty(one, price=d(5000), ord_type="limit", stop_loss=StopLoss(price=d(4980))) == 2


def test_an_inverse_follower_risks_the_distance_to_the_leaders_target() -> None:
    one = rule(sizing=Sizing("risk_from_stop", d(4)), inverse=True)
    levels: dict[str, Any] = {"stop_loss": StopLoss(offset=d(5)), "take_profits": (TakeProfit(offset=d(20)),)}
    assert _qty(one, **levels) == 2
    assert _qty(one, stop_loss=StopLoss(offset=d(5))) == "no_stop_loss"


@pytest.mark.parametrize("mode", ["equity_proportional", "percent_of_equity", "risk_from_stop"])
@pytest.mark.parametrize("equity", [None, d(0), d(-100)])
def test_an_unknown_or_used_up_equity_skips_its_follower_only(mode: str, equity: Decimal | None) -> None:
    rules = [rule("a1", sizing=Sizing(mode, d(1))), rule("a2")]  # pyright: ignore[reportArgumentType]
    world = World(rules, {"a1": account(equity=equity)})
    first, second = world.say("enter", side="buy", quantity=d(1), stop_loss=StopLoss(offset=d(5))).legs
    assert (first.outcome, first.reason) == ("skipped", "equity_unknown")
    assert second.outcome == "approved"


@pytest.mark.parametrize("price", [None, d(0), d(-37)])
def test_a_price_that_values_nothing_sizes_nothing(price: Decimal | None) -> None:
    world = World([rule(sizing=Sizing("percent_of_equity", d(1000)))])
    world.prices = {} if price is None else {"ES": price}
    assert world.leg("enter", side="buy", quantity=d(1)).reason == "price_unknown"


def test_a_missing_leader_equity_skips() -> None:
    world = World([rule(sizing=Sizing("equity_proportional", d(1)))], leader_equity=None)
    assert world.leg("enter", side="buy", quantity=d(1)).reason == "equity_unknown"


def test_a_fixed_size_is_kept_against_the_largest_exposure() -> None:
    world = World([rule(sizing=Sizing("fixed", d(4)))])
    seen: list[Decimal] = []
    for action, qty in (("enter", 2), ("add", 2), ("reduce", 1), ("reduce", 2), ("add", 2)):
        world.say(action, side="buy", quantity=d(qty))
        world.settle()
        seen.append(world.held())
    assert seen == [4, 4, 3, 1, 3]


def test_a_stretch_keeps_its_scale_when_equities_move() -> None:
    world = World([rule(sizing=Sizing("equity_proportional", d(2)))])
    world.say("enter", side="buy", quantity=d(4))
    world.settle()
    world.accounts["a1"] = account(equity=d(500_000))
    world.say("reduce", quantity=d(2))
    world.settle()
    assert world.held() == 2


def test_a_stretch_goes_on_after_a_target_that_rounds_to_nothing() -> None:
    world = World([rule(sizing=Sizing("fixed", d(2)))])
    world.say("enter", side="buy", quantity=d(10))
    world.say("reduce", quantity=d(9))
    world.settle()
    assert world.held() == 0
    assert world.leg("add", side="buy", quantity=d(1)).reason == "below_step"


@given(
    scale=st.decimals(min_value="0.1", max_value=5, places=2),
    moves=st.lists(st.integers(-5, 5).filter(bool), min_size=1, max_size=12),
    mode=st.sampled_from(["down", "half_up", "half_even", "up"]),
)
def test_targets_follow_the_cumulative_position_without_drift(
    scale: Decimal, moves: list[int], mode: str
) -> None:
    rounding = RoundingPolicy(mode=mode, max_risk_ratio=None)  # pyright: ignore[reportArgumentType]
    world = World([rule(sizing=Sizing("multiplier", scale), rounding=rounding)])
    position = 0
    for move in moves:
        side = "buy" if move > 0 else "sell"
        world.say("enter", side=side, quantity=d(abs(move)))
        world.settle()
        position += move
    assert abs(world.held() - position * scale) <= 1
    assert position != 0 or world.held() == 0


# filters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"pace": "close_only"}, "close_only"),
        ({"pace": "paused"}, "paused"),
        ({"exclude": ("ES",)}, "symbol_filtered"),
        ({"include": ("NQ",)}, "symbol_filtered"),
        ({"strategies": ("trend",)}, "strategy_filtered"),
        ({"side_filter": "short"}, "side_filtered"),
        ({"side_filter": "long", "inverse": True}, "side_filtered"),
        ({"min_order": d(3)}, "below_min_order"),
        ({"sizing": Sizing("multiplier", d("0.1"))}, "below_step"),
    ],
)
def test_a_filter_skips_the_entry_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    leg = World([rule(**changes)]).leg("enter", side="buy", quantity=d(2))
    assert (leg.outcome, leg.reason, leg.orders) == ("skipped", reason, ())
    assert leg.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"include": ("ES",)},
        {"strategies": ("trend",)},
        {"side_filter": "long"},
        {"min_order": d(2)},
        {"exclude": ("NQ",)},
    ],
)
def test_a_filter_lets_pass_what_it_names(changes: dict[str, Any]) -> None:
    assert _qty(rule(**changes), strategy="trend") == 2


@pytest.mark.parametrize("pace", ["close_only", "paused"])
@pytest.mark.parametrize("also", [{}, {"exclude": ("ES",)}, {"side_filter": "short"}, {"min_order": d(9)}])
def test_exits_pass_every_filter(pace: str, also: dict[str, Any]) -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    world.rules = [rule(pace=pace, **also)]
    world.say("exit")
    world.settle()
    assert world.held() == 0


def test_close_only_moves_stops_and_paused_leaves_them() -> None:
    for pace, expected in (("close_only", "approved"), ("paused", "skipped")):
        world = World([rule()])
        world.say("enter", side="buy", quantity=d(1), leader_order_id="o", stop_loss=StopLoss(price=d(4990)))
        world.settle()
        world.rules = [rule(pace=pace)]
        leg = world.leg("replace", leader_order_id="o", stop_loss=StopLoss(price=d(4995)))
        assert leg.outcome == expected


def test_max_order_cuts_and_max_position_caps() -> None:
    assert _qty(rule(max_order=d(1))) == 1
    world = World([rule(max_position=d(3))])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    assert _qty(world.rules[0], world) == 1
    world.settle()
    assert world.held() == 3


def test_delay_is_written_into_the_intent() -> None:
    made = _entry(rule(delay_ms=1500))
    assert isinstance(made, OrderIntent)
    assert made.delay_ms == 1500


# products --------------------------------------------------------------------------------------------------


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


# inverse ---------------------------------------------------------------------------------------------------


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


# resting orders --------------------------------------------------------------------------------------------


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


# exits -----------------------------------------------------------------------------------------------------


def test_an_exit_cancels_first_and_closes_what_is_then_held() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(3), ord_type="limit", price=d(4990), leader_order_id="o")
    entry = world.child()
    world.accept(entry)
    world.fill(entry, d(1))
    leg = world.leg("exit")
    assert [c.orig_cl_ord_id for c in leg.cancels] == [entry.intent.cl_ord_id]
    close = leg.orders[0].intent
    assert (close.qty, close.after) == (1, (entry.intent.cl_ord_id,))
    world.fill(entry, d(1))  # the cancel loses a race
    world.end(entry)
    world.settle()
    assert (world.held(), world.open()) == (0, [])


def test_a_fill_after_the_leader_has_left_is_closed_at_once() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    entry = world.child()
    assert world.leg("exit").reason == "closing"
    world.fill(entry)
    assert [(o.intent.role, o.intent.side, o.leaves_qty) for o in world.open()] == [("exit", "sell", 2)]
    world.settle()
    assert world.held() == 0


def test_a_partial_exit_before_the_entry_filled_trims_the_late_fill() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.say("reduce", quantity=d(1))
    world.settle()
    assert world.held() == 1


def test_an_entry_on_its_way_serves_a_leader_that_left_and_came_back() -> None:
    world = World([rule()])
    for action in ("enter", "exit", "enter"):
        world.say(action, side="buy", quantity=d(1))
    world.settle()
    assert world.held() == 1


def test_an_exit_for_a_flat_follower_sends_nothing() -> None:
    leg = World([rule()]).leg("exit")
    assert (leg.outcome, leg.reason, leg.orders) == ("skipped", "flat", ())


@pytest.mark.parametrize("action", ["exit", "reduce", "flatten"])
@given(position=st.integers(-9, 9), quantity=st.integers(1, 9))
def test_an_exit_never_opens_anything(action: str, position: int, quantity: int) -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    leg = world.leg(action, quantity=d(quantity), leader_position=d(position))
    assert all(a.intent.reduce_only for a in leg.orders)


def test_an_exit_covers_resting_entries_whose_fills_nobody_told() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o")
    world.fill(world.child(), d(2))
    world.say("reduce", quantity=d(1))
    world.settle()
    assert world.held() == 1
    world.say("exit")
    world.settle()
    assert world.held() == 0


def test_a_leaders_position_tells_of_unheard_fills() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o")
    world.fill(world.child(), d(2))
    world.say("add", side="buy", quantity=d(1), leader_position=d(3))
    world.settle()
    assert world.held() == 3


def test_a_reversal_closes_and_opens() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    world.settle()
    leg = world.leg("reverse", side="sell", quantity=d(2))
    assert [(a.intent.role, a.intent.side, a.intent.qty) for a in leg.orders] == [
        ("exit", "sell", 1),
        ("entry", "sell", 2),
    ]
    world.settle()
    assert world.held() == -2


def test_a_reversal_whose_close_waits_for_cancels_opens_after_it() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), stop_loss=StopLoss(price=d(4990)))
    world.settle()
    leg = world.leg("reverse", side="sell", quantity=d(2))
    close, entry = [a.intent for a in leg.orders]
    assert close.after
    assert entry.after == (close.cl_ord_id,)
    world.settle()
    assert (world.held(), world.open()) == (-2, [])


def test_a_reversal_against_a_limit_closes_and_does_not_reopen() -> None:
    world = World([rule()], {"a1": account(limits=RiskLimits(max_position_qty=d(1)))})
    world.say("enter", side="buy", quantity=d(1))
    world.settle()
    leg = world.leg("reverse", side="sell", quantity=d(2))
    assert (leg.outcome, leg.reason) == ("approved", "max_position_qty")
    world.settle()
    assert world.held() == 0


def test_a_missed_entry_is_never_opened_late() -> None:
    world = World([rule()], {"a1": account(session_live=False)})
    assert world.leg("enter", side="buy", quantity=d(3)).reason == "session_down"
    world.accounts["a1"] = account()
    assert _qty(rule(), world, quantity=d(1)) == 1
    assert world.leg("reduce", quantity=d(1)).orders == ()


def test_two_leaders_on_one_account_are_kept_apart() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    other = CopyRule("r2", 1, "w", "M", "a1")
    act = signal("enter", "m1", leader="M", side="sell", quantity=d(1))
    made = plan(act, world.book, [other], world.inputs())
    assert [(a.intent.role, a.intent.side) for a in made.legs[0].orders] == [("entry", "sell")]
    assert (
        plan(signal("exit", "m2", leader="M"), world.book, [other], world.inputs()).legs[0].reason == "flat"
    )


# protection ------------------------------------------------------------------------------------------------

BRACKET: dict[str, Any] = {"stop_loss": StopLoss(price=d(4990)), "take_profits": (TakeProfit(price=d(5020)),)}


def test_a_bracket_is_attached_where_the_broker_links_it_and_held_elsewhere() -> None:
    for brackets in (True, False):
        world = World([rule()], {"a1": account(brackets=brackets)})
        leg = world.leg("enter", side="buy", quantity=d(2), **BRACKET)
        entry, *children = [a.intent for a in leg.orders]
        assert all(c.parent == c.oco == entry.cl_ord_id and c.reduce_only for c in children)
        assert {c.after for c in children} == ({()} if brackets else {(entry.cl_ord_id,)})


def test_a_held_stop_grows_with_the_fills_of_its_entry() -> None:
    world = World([rule()])
    world.say(
        "enter", side="buy", quantity=d(3), ord_type="limit", price=d(4990), stop_loss=StopLoss(offset=d(10))
    )
    for filled in (1, 2, 3):
        world.fill(world.child(), d(1), d(4990))
        world.settle()
        assert [(o.leaves_qty, o.stop_price) for o in world.working("stop")] == [(filled, 4980)]


def test_a_held_target_that_fills_ends_its_stop() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), **BRACKET)
    world.settle()
    world.fill(world.working("target")[0])
    world.settle()
    assert (world.held(), world.open()) == (0, [])


def test_targets_share_the_entry_and_leave_a_runner() -> None:
    targets = (TakeProfit(price=d(5010), share=d("0.5")), TakeProfit(price=d(5020), share=d("0.25")))
    leg = World([rule()]).leg("enter", side="buy", quantity=d(4), take_profits=targets)
    assert [(a.intent.role, a.intent.qty) for a in leg.orders] == [("entry", 4), ("target", 2), ("target", 1)]


def test_protective_orders_together_never_exceed_what_is_left() -> None:
    targets = (TakeProfit(price=d(5010), share=d("0.5")), TakeProfit(price=d(5020), share=d("0.5")))
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), stop_loss=StopLoss(price=d(4980)))
    world.settle()
    world.say("add", side="buy", quantity=d(4), stop_loss=StopLoss(price=d(4990)), take_profits=targets)
    world.settle()
    assert sum(o.leaves_qty for o in world.working("stop")) == 5
    world.say("reduce", quantity=d(4))
    world.settle()
    assert world.held() == 1
    for role in ("stop", "target"):
        assert sum(o.leaves_qty for o in world.working(role)) == 1


@pytest.mark.parametrize(
    "changes, roles",
    [({"copy_stop_loss": False}, ["entry", "target"]), ({"copy_take_profit": False}, ["entry", "stop"])],
)
def test_stops_and_targets_are_copied_as_the_rule_says(changes: dict[str, Any], roles: list[str]) -> None:
    leg = World([rule(**changes)]).leg("enter", side="buy", quantity=d(1), **BRACKET)
    assert [a.intent.role for a in leg.orders] == roles


def test_a_leaders_resting_stop_is_mirrored_moved_and_canceled() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    leg = world.leg(
        "exit", side="sell", quantity=d(2), ord_type="stop", stop_price=d(4990), leader_order_id="st"
    )
    assert (leg.orders[0].intent.role, leg.orders[0].intent.qty) == ("stop", 2)
    for stop in (4992, 4994, 4996):
        world.say("replace", leader_order_id="st", ord_type="stop", stop_price=d(stop))
        world.settle()
        assert world.child("stop").stop_price == stop
    world.say("cancel", leader_order_id="st")
    world.settle()
    assert (world.held(), world.open()) == (2, [])


def test_the_leaders_partial_target_is_not_closed_twice() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    world.say("exit", side="sell", quantity=d(1), ord_type="limit", price=d(5010), leader_order_id="t")
    world.settle()
    world.say("reduce", side="sell", quantity=d(1), is_fill=True, leader_order_id="t")
    world.fill(world.working("target")[0])  # ours fills before the cancel arrives
    world.settle()
    assert world.held() == 1


# limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given_account, limits, act, reason",
    [
        ({"switch": "reducing"}, {}, {}, "kill_switch"),
        ({"switch": "halted"}, {}, {}, "kill_switch"),
        ({"session_live": False}, {}, {}, "session_down"),
        ({"in_hours": False}, {}, {}, "outside_hours"),
        ({}, {"symbols": ("NQ",)}, {}, "symbol_not_allowed"),
        ({}, {"max_orders_per_minute": 0}, {}, "order_rate"),
        ({}, {"max_order_qty": d(1)}, {}, "max_order_qty"),
        ({}, {"max_position_qty": d(1)}, {}, "max_position_qty"),
        ({"reported": {ESZ6: d(5)}}, {"max_position_qty": d(6)}, {}, "max_position_qty"),
        ({}, {"max_notional": d(499_999)}, {}, "max_notional"),
        ({"day_pnl": d(-500)}, {"daily_loss": d(500)}, {}, "daily_loss"),
        ({"day_pnl": None}, {"daily_loss": d(500)}, {}, "daily_loss"),
        ({}, {"price_collar_ticks": 39}, {"ord_type": "limit", "price": d(4990)}, "price_collar"),
    ],
)  # fmt: skip
def test_a_limit_refuses_with_its_reason_and_what_it_looked_at(
    given_account: dict[str, Any], limits: dict[str, Any], act: dict[str, Any], reason: str
) -> None:
    held = RiskLimits(**({"max_orders_per_minute": 60} | limits))  # pyright: ignore[reportArgumentType]
    world = World([rule()], {"a1": account(limits=held, **given_account)})
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    assert (leg.outcome, leg.reason, leg.orders) == ("refused", reason, ())
    assert leg.checks is not None
    assert leg.detail


def test_missing_prices_fail_closed() -> None:
    for limits in (RiskLimits(max_notional=d(10**9)), RiskLimits(price_collar_ticks=1000)):
        world = World([rule()], {"a1": account(limits=limits)}, prices={})
        resting = world.leg("enter", side="buy", quantity=d(1), ord_type="limit", price=d(5000))
        market = World([rule()], {"a1": account(limits=limits)}, prices={}).leg(
            "enter", side="buy", quantity=d(1)
        )
        assert "refused" in (resting.outcome, market.outcome)


def test_open_entries_of_every_leader_count_against_the_position_limit() -> None:
    world = World([rule()], {"a1": account(limits=RiskLimits(max_position_qty=d(3)))})
    world.say("enter", side="buy", quantity=d(2))
    act = signal(
        "enter", "m1", leader="M", side="buy", quantity=d(2), received_at=world.now, occurred_at=world.now
    )
    made = plan(act, world.book, [CopyRule("r2", 1, "w", "M", "a1")], world.inputs())
    assert made.legs[0].reason == "max_position_qty"


def test_a_doubt_stops_entries_in_its_contract_for_every_leader() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    world.note(Doubted(world.child().intent.cl_ord_id, "a1", "timeout"))
    act = signal(
        "enter", "m1", leader="M", side="buy", quantity=d(1), received_at=world.now, occurred_at=world.now
    )
    made = plan(act, world.book, [CopyRule("r2", 1, "w", "M", "a1")], world.inputs())
    assert made.legs[0].reason == "in_doubt"


def test_age_is_judged_both_ways_and_limits_may_wait_longer() -> None:
    def reason(seconds: float, **act: Any) -> str:
        world = World([rule()])
        act = {"occurred_at": world.now - timedelta(seconds=seconds)} | act
        return world.leg("enter", **({"side": "buy", "quantity": d(1)} | act)).reason

    assert [reason(s) for s in (1.9, 2.1, -2.9, -3.1)] == ["", "too_old", "", "too_old"]
    limit = {"ord_type": "limit", "price": d(4990)}
    assert [reason(s, **limit) for s in (28, 30)] == ["", "too_old"]


@given(
    qty=st.integers(1, 9),
    limits=st.builds(
        RiskLimits,
        max_order_qty=st.none() | st.integers(1, 9).map(Decimal),
        max_position_qty=st.none() | st.integers(1, 9).map(Decimal),
        max_notional=st.none() | st.integers(1, 3_000_000).map(Decimal),
        daily_loss=st.none() | st.integers(1, 900).map(Decimal),
    ),
    pnl=st.none() | st.integers(-1000, 1000).map(Decimal),
)
def test_a_decision_re_evaluates_to_the_same_answer(
    qty: int, limits: RiskLimits, pnl: Decimal | None
) -> None:
    world = World([rule()], {"a1": account(limits=limits, day_pnl=pnl)})
    leg = world.leg("enter", side="buy", quantity=d(qty))
    if leg.outcome == "approved":
        made = leg.orders[0]
        assert made.checks is not None
        assert check_entry(made.intent, made.checks, limits) == made
        assert limits.max_order_qty is None or made.intent.qty <= limits.max_order_qty
    else:
        assert leg.checks is not None
        intent = _entry(rule(), quantity=d(qty))
        assert isinstance(intent, OrderIntent)
        again = check_entry(intent, leg.checks, limits)
        assert isinstance(again, Refused)
        assert again.reason == leg.reason


def test_an_exit_without_reduce_only_cannot_be_approved() -> None:
    made = _entry(rule())
    assert isinstance(made, OrderIntent)
    with pytest.raises(ValueError, match="send it through check_entry"):
        approve_exit(made)
    assert isinstance(approve_exit(made._replace(reduce_only=True)), Approved)


# rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"sizing": Sizing("multiplier", d(0))}, "sizing.value"),
        ({"sizing": Sizing("risk_from_stop", d(101))}, "sizing.value"),
        ({"min_order": d(-1)}, "min_order"),
        ({"max_order": d(0)}, "max_order"),
        ({"max_position": d(0)}, "max_position"),
        ({"delay_ms": 60_001}, "delay_ms"),
        ({"max_age_s": d(61)}, "max_age_s"),
        ({"symbol_map": (MapEntry("ES", "MES", d(0)),)}, "symbol_map"),
        ({"symbol_map": (MapEntry("ES", "XYZ"),)}, "symbol_map"),
        ({"symbol_map": (MapEntry("ES", "MES"), MapEntry("ES", "NQ"))}, "symbol_map"),
        ({"symbol_map": (MapEntry("ES", "MES"), MapEntry("NQ", "MES"))}, "symbol_map"),
    ],
)
def test_a_rule_that_cannot_be_meant_names_its_field(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRule, match=name) as caught:
        rule(**changes)
    assert caught.value.field == name


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=14))
def test_a_copy_graph_is_refused_exactly_when_an_account_would_follow_itself(
    edges: list[tuple[int, int]],
) -> None:
    named = [(str(a), str(b)) for a, b in edges]
    reach = {(a, b) for a, b in named}
    for _ in range(9):
        reach |= {(a, d_) for a, b in reach for c, d_ in named if b == c}
    if any(a == b for a, b in reach):
        with pytest.raises(InvalidRule, match="circular"):
            check_acyclic(named)
    else:
        check_acyclic(named)
