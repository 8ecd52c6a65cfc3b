"""R-102: an account that may only reduce has no entries that wait at the market."""

from kopitra.domain.withdrawing import withdrawn_entries
from tests.unit.domain.copy_world import World, d, rule


def resting(world: World) -> None:
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="L1")


def test_r102_resting_entries_of_this_account_are_canceled_once_and_others_stay() -> None:
    world = World([rule("a1"), rule("a2")])
    resting(world)
    mine, other = world.child(), world.child(account_id="a2")
    world.accept(mine)
    made = withdrawn_entries(world.book, "a1")
    assert [cancel.orig_cl_ord_id for cancel in made.cancels] == [mine.intent.cl_ord_id]
    world.follow(made)
    assert withdrawn_entries(world.book, "a1").is_empty, "it was asked to go"
    world.settle()
    assert (mine.state, other.cancel) == ("canceled", None)


def test_r102_what_is_held_and_its_protection_stay() -> None:
    world = World([rule("a1")])
    world.say("enter", side="buy", quantity=d(1))
    world.fill(world.child())
    assert withdrawn_entries(world.book, "a1").is_empty


def test_r102_a_cancel_that_was_refused_is_asked_again_by_what_follows_and_not_from_here() -> None:
    world = World([rule("a1")])
    resting(world)
    mine = world.child()
    world.accept(mine)
    world.follow(withdrawn_entries(world.book, "a1"))
    world.report(mine, "cancel_rejected", "new")
    assert mine.cancel is not None, "what was to go once is asked again"
    assert withdrawn_entries(world.book, "a1").is_empty
