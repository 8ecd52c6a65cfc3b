"""Partial fills and partial closes: targets come from what the leader holds in all, closes from what is there."""

from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.attribution import close_by_hand
from kopitra.domain.copy_rules import Sizing
from kopitra.domain.orders import ZERO, ChildOrder
from kopitra.domain.react import overdue
from kopitra.domain.rounding import RoundingPolicy, round_quantity
from kopitra.domain.signals import StopLoss, sign
from tests.unit.domain.copy_world import ESZ6, World, d, rule

MODES: tuple[Literal["down", "half_up", "half_even", "up"], ...] = ("down", "half_up", "half_even", "up")


def _world(scale: Decimal, mode: Literal["down", "half_up", "half_even", "up"], **fields: object) -> World:
    rounding = RoundingPolicy(mode, max_risk_ratio=None)
    return World([rule(sizing=Sizing("multiplier", scale), rounding=rounding, **fields)])


def _fills(world: World, before: Decimal, after: Decimal) -> None:
    """The leader's fill from one position to another, as its drop copy tells it."""
    grows = abs(after) > abs(before)
    action = "enter" if before == 0 else "exit" if after == 0 else "add" if grows else "reduce"
    side = "buy" if after > before else "sell"
    world.say(action, side=side, quantity=abs(after - before), leader_position=after, is_fill=True)


@given(
    scale=st.sampled_from(["0.1", "0.3", "0.33", "0.5", "0.7", "1", "1.5", "2.25"]).map(Decimal),
    mode=st.sampled_from(MODES),
    slices=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    out=st.lists(st.integers(1, 4), max_size=12),
    short=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_r036_slices_of_a_leaders_fill_do_not_drift(
    scale: Decimal,
    mode: Literal["down", "half_up", "half_even", "up"],
    slices: list[int],
    out: list[int],
    short: bool,
) -> None:
    """R-036: After every slice the follower has what one fill of everything so far would have given it."""
    world, position = _world(scale, mode), ZERO
    side = -1 if short else 1
    for part in [*slices, *(-x for x in out)]:
        after = side * max(ZERO, abs(position) + part)
        if after == position:
            continue
        _fills(world, position, after)
        world.settle()
        position = after
        wanted = round_quantity(abs(position) * scale, d(1), RoundingPolicy(mode, max_risk_ratio=None)).qty
        assert world.held() == side * wanted


@given(
    mode=st.sampled_from(MODES), slices=st.lists(st.integers(1, 3), min_size=1, max_size=8), data=st.data()
)
@settings(max_examples=80, deadline=None)
def test_r039_whatever_fills_first_the_follower_ends_within_one_lot(
    mode: Literal["down", "half_up", "half_even", "up"], slices: list[int], data: st.DataObject
) -> None:
    """R-039: Slices come faster than the follower's broker answers; fills come in parts and in any order."""
    world, position = _world(d("0.5"), mode), ZERO
    for part in slices:
        _fills(world, position, position + part)
        position += part
        working = [o for o in world.working("entry") if o.leaves_qty > 0]
        if working and data.draw(st.booleans()):
            child = data.draw(st.sampled_from(working))
            world.fill(child, d(data.draw(st.integers(1, int(child.leaves_qty)))))
    world.settle()
    assert abs(world.held() - position * d("0.5")) <= 1


@pytest.mark.parametrize("mode", MODES)
def test_r037_a_flat_leader_leaves_exactly_nothing_whatever_rounding_says(
    mode: Literal["down", "half_up", "half_even", "up"],
) -> None:
    rounding = RoundingPolicy(mode, minimum=d(1), max_risk_ratio=None)
    world = World([rule(sizing=Sizing("multiplier", d("0.3")), rounding=rounding)])
    _fills(world, ZERO, d(5))
    world.settle()
    _fills(world, d(5), d(1))
    world.settle()
    _fills(world, d(1), ZERO)
    world.settle()
    assert (world.held(), world.open()) == (ZERO, [])
    assert ("L", "a1", "ES") not in world.book.episodes


def test_r037_a_close_for_a_follower_that_holds_nothing_sends_nothing() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1))
    world.end(world.child(), "rejected")
    before = len(world.book.orders)
    leg = world.leg("exit", leader_position=ZERO)
    assert (leg.orders, leg.cancels, len(world.book.orders)) == ((), (), before)


def _half_filled() -> World:
    """The leader rests four, the follower's copy has filled one of them; then the leader is out."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(4), ord_type="limit", price=d(4990), leader_order_id="o1")
    world.accept(world.child())
    world.fill(world.child(), d(1))
    world.say("flatten")
    return world


def test_r038_the_rest_is_canceled_before_what_filled_is_closed() -> None:
    world = _half_filled()
    entry, close = world.child(), world.child("exit")
    assert entry.cancel is not None
    assert (close.state, close.intent.after) == ("planned", (entry.intent.cl_ord_id,))
    world.end(entry)
    assert (close.state, close.qty) == ("claimed", d(1))
    world.settle()
    assert world.held() == 0


def test_r038_a_cancel_that_loses_the_race_closes_what_really_filled() -> None:
    world = _half_filled()
    entry = world.child()
    world.fill(entry, d(3))  # the fill was faster than the cancel
    world.settle()
    assert (world.held(), world.ledger["a1", ESZ6]) == (ZERO, ZERO)
    assert sum(o.cum_qty for o in world.book.orders.values() if o.intent.role == "exit") == 4


def test_r038_after_a_second_without_an_answer_the_close_goes_and_late_fills_are_closed_too() -> None:
    world = _half_filled()
    entry, close = world.child(), world.child("exit")
    world.follow(overdue(world.book, close))
    assert (close.state, close.qty) == ("claimed", d(1))
    world.fill(close)
    world.fill(entry, d(2))
    world.end(entry)
    world.settle()
    assert (world.held(), world.ledger["a1", ESZ6], world.open()) == (ZERO, ZERO, [])


def test_r040_a_report_after_the_end_is_legal_and_moves_the_position() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o1")
    world.accept(world.child())
    world.end(world.child(), "expired")
    world.fill(world.child(), d(1))
    assert world.book.positions["a1", ESZ6].qty == 1
    assert world.book.blocked == {}
    assert sign(world.child().intent.side) * world.held() == 1


def stop_begins(qty: int, *, reduced: int = 0) -> tuple[World, ChildOrder]:
    """A follower whose stop has filled one contract of `qty`, after the leader asked for less."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(qty), stop_loss=StopLoss(offset=d(10)))
    world.settle()
    (stop,) = world.working("stop")
    if reduced:
        world.say("reduce", quantity=d(reduced))
    world.fill(stop, d(1))
    return world, stop


@pytest.mark.parametrize("rest", ["fills", "is canceled"])
def test_r038_a_stop_that_has_begun_to_fill_is_a_close_on_its_way(rest: str) -> None:
    """I-09: the exit was lost; by then the stop was filling in parts, and the close that was to follow the lost one
    turned the follower."""
    world, stop = stop_begins(3, reduced=2)
    lost = world.child("exit")
    world.end(lost, "rejected")
    assert world.open() == [stop]
    if rest == "fills":
        world.fill(stop)
        assert world.held() == 0
    else:
        world.end(stop)
        world.settle()
        assert world.held() == 1
    assert world.ledger["a1", ESZ6] == world.held()


@pytest.mark.parametrize("act", ["exit", "reverse"])
def test_r038_a_stop_that_stands_still_between_fills_keeps_nobody_in(act: str) -> None:
    """R-037: the cancel of the stop was lost, and three contracts waited behind an order that filled no more."""
    world, stop = stop_begins(4)
    world.say(act, side="sell")
    for _ in range(2):
        assert stop.cancel is not None
        world.lose(stop)
    assert (world.held(), stop.cancel is not None) == (3, True)
    world.end(stop)
    world.settle()
    assert (world.held(), world.ledger["a1", ESZ6], world.open()) == (0, 0, [])


def test_r038_a_stop_that_is_larger_than_what_is_left_is_to_go_not_to_shrink() -> None:
    """I-09: the leader is out, somebody closed a part by hand, and the cancel of the stop was lost."""
    world, stop = stop_begins(4)
    world.say("exit")
    close_by_hand(world.book, "a1", ESZ6, "L", d(1))
    world.ledger["a1", ESZ6] -= 1
    world.lose(stop)
    assert stop.cancel is not None
    world.settle()
    assert (world.held(), world.ledger["a1", ESZ6], world.open()) == (0, 0, [])


@pytest.mark.parametrize("rest", ["fills", "is canceled"])
def test_r038_what_a_stop_is_closing_is_not_closed_beside_it(rest: str) -> None:
    """I-09: the leader reduced while the stop was filling in parts, and the follower turned."""
    world, stop = stop_begins(4)
    world.say("reduce", quantity=d(3))
    assert world.open() == [stop]
    if rest == "fills":
        world.fill(stop)
    else:
        world.end(stop)
        world.settle()
    assert world.held() == world.ledger["a1", ESZ6] == (0 if rest == "fills" else 1)


def test_r038_a_stop_that_is_closing_a_part_leaves_the_rest_to_be_closed() -> None:
    """I-09: the stop covers two of what is held; only what is to go beside them is closed."""
    world, stop = stop_begins(3)
    world.say("add", side="buy", quantity=d(4), leader_position=d(6))
    world.fill(world.child())
    assert (world.held(), stop.leaves_qty) == (5, 2)
    world.say("reduce", quantity=d(5), leader_position=d(1))
    world.fill(world.child("exit"))
    assert world.held() == 3
    world.fill(stop)
    assert world.held() == world.ledger["a1", ESZ6] == 1
