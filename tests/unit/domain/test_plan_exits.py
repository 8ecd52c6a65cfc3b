"""Exits always go, sized by what is held; protective orders follow the holding."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.plan import plan
from kopitra.domain.rounding import RoundingPolicy
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.unit.domain.copy_world import World, account, d, rule, signal

HALF_UP = RoundingPolicy(mode="half_up", max_risk_ratio=None)


def _entry(one: CopyRule, world: World | None = None, /, **act: object) -> OrderIntent | str:
    """The entry that one rule makes of an act (buy 2 at market unless told), or the reason against it."""
    world = world or World([one])
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    entries = [a.intent for a in leg.orders if a.intent.role == "entry"]
    return entries[0] if entries else leg.reason


def _qty(one: CopyRule, world: World | None = None, /, **act: object) -> Decimal | str:
    made = _entry(one, world, **act)
    return made if isinstance(made, str) else made.qty


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


def test_a_leader_that_turned_and_adds_is_followed_while_the_old_entry_is_on_its_way() -> None:
    """R-036, R-039: what is closed as it fills was subtracted from the target as well, so that it was traded twice."""
    world = World([rule()])
    world.say("enter", side="sell", quantity=d(3))
    old = world.child()
    world.say("reverse", side="buy", quantity=d(2))
    leg = world.leg("add", side="buy", quantity=d(3))
    assert (leg.target, [a.intent.qty for a in leg.orders]) == (5, [3])
    world.fill(old)
    world.settle()
    assert world.held() == 5


def test_a_reversal_takes_the_stop_of_an_entry_on_its_way_along() -> None:
    world = World([rule()])
    world.say("enter", side="sell", quantity=d(3), stop_loss=StopLoss(price=d(5010)))
    old, stop = world.open()
    world.say("reverse", side="buy", quantity=d(2))
    assert stop.cancel_requested or stop.state == "skipped"
    world.fill(old)
    world.settle()
    assert (world.held(), world.open()) == (2, [])


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


def test_a_reversal_whose_entry_fills_before_its_close_is_whole_for_what_is_added() -> None:
    """The close fills too: then it has opened what the entry has closed."""
    world = World([rule()])
    world.say("enter", side="sell", quantity=d(1), leader_position=d(-1))
    world.settle()
    world.say("reverse", side="buy", quantity=d(2), leader_position=d(1))
    world.fill(world.child())
    assert (world.held(), world.child("exit").leaves_qty) == (0, 1)
    world.say("add", side="buy", quantity=d(1), leader_position=d(2))
    world.settle()
    assert world.held() == 2


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


BRACKET: dict[str, object] = {
    "stop_loss": StopLoss(price=d(4990)),
    "take_profits": (TakeProfit(price=d(5020)),),
}


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
def test_stops_and_targets_are_copied_as_the_rule_says(changes: dict[str, object], roles: list[str]) -> None:
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
