"""I-09, R-032: a move of the leader's prices that came to nothing is asked for again, as the prices are by then."""

import pytest

from gateway_container.engine.recovery import unanswered
from kopitra.domain.catch_up import unfollowed
from kopitra.domain.moving import MOVES_OF_ONE_MAX
from kopitra.domain.orders import ChildOrder
from kopitra.domain.react import react
from tests.unit.domain.copy_world import World, d
from tests.unit.domain.copy_world import rule as copy_rule
from tests.unit.domain.test_protection_sizes import FAILURES, Failure, fails

both_ways = pytest.mark.parametrize("how", FAILURES)


def with_a_stop() -> tuple[World, ChildOrder]:
    """Three are held, and the leader's own stop of them is mirrored."""
    world = World([copy_rule()])
    world.say("enter", side="buy", quantity=d(3))
    world.settle()
    world.say("exit", side="sell", quantity=d(3), ord_type="stop", stop_price=d(4980), leader_order_id="st")
    world.settle()
    return world, world.child("stop")


def moves(world: World, stop_price: int) -> None:
    """The leader moves its stop."""
    world.say("replace", leader_order_id="st", ord_type="stop", stop_price=d(stop_price))


@both_ways
def test_a_price_that_came_to_nothing_is_asked_for_again(how: Failure) -> None:
    world, stop = with_a_stop()
    moves(world, 4990)
    assert world.move(stop)
    fails(world, stop, how)
    world.settle()
    assert (stop.stop_price, stop.leaves_qty, stop.asked, stop.moves_failed) == (4990, 3, None, 0)


@both_ways
def test_a_newer_price_takes_the_place_of_the_one_that_came_to_nothing(how: Failure) -> None:
    world, stop = with_a_stop()
    moves(world, 4990)
    assert world.move(stop)
    moves(world, 4995)
    fails(world, stop, how)
    world.settle()
    assert stop.stop_price == 4995


@both_ways
def test_a_price_and_a_size_that_are_due_leave_together(how: Failure) -> None:
    world, stop = with_a_stop()
    moves(world, 4990)
    assert world.move(stop)
    world.say("reduce", quantity=d(1))
    world.settle_closes()
    fails(world, stop, how)
    assert world.move(stop)
    moving = world.moving[stop.intent.cl_ord_id]
    assert (moving.qty, moving.stop_price) == (2, 4990)
    world.settle()
    assert (stop.stop_price, stop.leaves_qty) == (4990, 2)


@both_ways
def test_a_price_is_asked_for_so_often_in_a_row(how: Failure) -> None:
    world, stop = with_a_stop()
    moves(world, 4990)
    asked = 0
    while world.move(stop):
        asked += 1
        fails(world, stop, how)
    assert (asked, stop.stop_price) == (MOVES_OF_ONE_MAX, 4980)


@both_ways
def test_what_is_to_be_canceled_by_now_is_not_moved_again(how: Failure) -> None:
    world, stop = with_a_stop()
    moves(world, 4990)
    assert world.move(stop)
    world.say("cancel", leader_order_id="st")
    fails(world, stop, how)
    assert stop.replace is None
    world.settle()
    assert stop.state == "canceled"


@both_ways
def test_an_entrys_price_is_asked_for_again_without_its_size(how: Failure) -> None:
    world = World([copy_rule()])
    world.say("enter", side="buy", quantity=d(3), ord_type="limit", price=d(4990), leader_order_id="in")
    world.settle()
    entry = world.child()
    world.say("replace", leader_order_id="in", ord_type="limit", price=d(4991), quantity=d(4))
    assert world.move(entry)
    fails(world, entry, how)
    world.settle()
    assert (entry.price, entry.qty) == (4991, 3)


def test_a_restart_asks_again_for_the_move_that_nobody_answered() -> None:
    world, stop = with_a_stop()
    moves(world, 4990)
    assert world.move(stop)
    world.say("add", side="buy", quantity=d(1))
    world.fill(world.child())  # the stop is not the newest order
    world.book = world.refolded()
    world.moving.clear()
    for failed in unanswered(world.book):
        world.note(failed)
    for name in unfollowed(world.book):
        world.follow(react(world.book, world.book.orders[name]))
    world.settle()
    assert world.child("stop").stop_price == 4990
