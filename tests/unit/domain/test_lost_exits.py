"""R-012: an exit in doubt that nobody finds is closed anew, or given up; whatever it did, the follower ends flat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.catch_up import unfollowed
from kopitra.domain.doubt import given_up, renewed_close
from kopitra.domain.journal import FollowUp, OrderNotSent, SignalPlanned
from kopitra.domain.orders import ZERO, ChildOrder
from kopitra.domain.plan import plan
from kopitra.domain.react import PROCESS_ENDED, react
from tests.unit.domain.copy_world import ESZ6, World, d, rule, signal
from tests.unit.domain.test_doubt import leaving
from tests.unit.domain.test_partial_fills import stop_begins


@pytest.mark.parametrize(
    "net, wanted",
    [(2, 2), (1, 1), (0, 0), (-2, 0), (5, 2)],
    ids=["still open", "part is closed", "closed unseen", "turned", "more than ours"],
)
def test_a_lost_exit_is_renewed_for_what_the_broker_shows_r_012(net: int, wanted: int) -> None:
    world, exit_ = leaving()
    follow = renewed_close(world.book, exit_, d(net))
    assert (follow.released[0].qty if follow else ZERO) == wanted
    if follow:
        (close,) = follow.released
        assert close.reduce_only
        assert close.cl_ord_id != exit_.intent.cl_ord_id
        assert close.side == "sell"


def test_a_renewed_exit_is_not_renewed_again_and_counts_no_more_r_012() -> None:
    world, exit_ = leaving()
    follow = renewed_close(world.book, exit_, d(2))
    assert follow is not None
    world.note(follow)
    assert exit_.superseded
    assert exit_.leaves_qty == 0
    assert renewed_close(world.book, exit_, d(2)) is None
    assert world.book.exposure("a1", "L", "ES") == 0


@given(st.integers(1, 5), st.integers(0, 5), st.sampled_from(["before the read", "after the close", "never"]))
def test_old_and_new_close_together_converge_to_flat_r_012(qty: int, done: int, when: str) -> None:
    """Whatever the old close did after all, and whenever that is told, the position ends at zero."""
    world, exit_ = leaving(qty)
    part = d(min(done, qty)) if when != "never" else ZERO
    shown = d(qty) - (part if when == "before the read" else ZERO)
    follow = renewed_close(world.book, exit_, shown)
    world.follow(follow or FollowUp("", ""))
    world.settle_closes_of(exit_)
    if part:
        world.fill(exit_, part)
    world.settle_closes_of(exit_)
    assert follow is not None or part == qty
    assert world.ledger["a1", ESZ6] == world.held() == 0


def turned(qty: int = 2) -> tuple[World, ChildOrder]:
    """A follower whose exit is in doubt and whose leader then went as far to the other side: it is short by `qty`."""
    world, exit_ = leaving(qty)
    world.say("enter", side="sell", quantity=d(2 * qty))
    world.fill(world.child())
    return world, exit_


def test_an_exit_in_doubt_closes_nothing_of_what_is_held_on_its_own_side_r_012() -> None:
    world, exit_ = turned()
    assert exit_.state == "in_doubt"
    assert world.held() == d(-2)
    assert world.book.exposure("a1", "L", "ES") == d(-2)
    (close,) = world.leg("exit").orders
    assert (close.intent.side, close.intent.qty) == ("buy", d(2))


@given(st.integers(1, 5), st.booleans())
def test_a_close_on_the_other_side_ends_flat_whatever_the_doubt_did_r_012(qty: int, filled: bool) -> None:
    """Not one contract too many while nobody knows; a fill that comes after all is closed then (R-013)."""
    world, exit_ = turned(qty)
    world.say("exit")
    world.settle_closes_of(exit_)
    assert world.ledger["a1", ESZ6] == world.held() == 0
    if filled:
        world.fill(exit_)
        world.settle_closes_of(exit_)
    assert world.ledger["a1", ESZ6] == world.held() == 0


@pytest.mark.parametrize(
    "net, over",
    [(-2, True), (0, False), (-3, False), (-4, False), (1, False)],
    ids=["as counted", "bought by somebody", "part was done", "it was done", "turned by somebody"],
)
def test_an_exit_with_nothing_left_to_close_counts_no_more_r_012(net: int, over: bool) -> None:
    world, exit_ = turned()
    follow = given_up(world.book, exit_, d(net))
    assert (follow is not None) is over
    if follow is not None:
        assert not follow.is_empty
        world.note(follow)
        assert exit_.superseded
        assert exit_.state == "in_doubt"
        assert given_up(world.book, exit_, d(net)) is None


def test_an_exit_is_not_given_up_while_what_it_closes_is_held_r_012() -> None:
    """Another leader's short hides our long at the broker: a person has to look."""
    world, exit_ = leaving()
    world.book.positions["a1", ESZ6].qty = ZERO
    assert given_up(world.book, exit_, ZERO) is None


def test_an_exit_that_was_replaced_and_works_after_all_is_canceled_r_012() -> None:
    world, exit_ = leaving()
    follow = renewed_close(world.book, exit_, d(2))
    assert follow is not None
    world.note(follow)
    world.report(exit_, "new", "new")
    assert exit_.cancel is not None


def test_what_a_stop_is_closing_is_not_closed_again_r_012() -> None:
    """I-09: the stop filled in parts, and the close that stood in for the lost exit turned the follower."""
    world, stop = stop_begins(3, reduced=2)
    lost = world.child("exit")
    assert renewed_close(world.book, lost, d(2)) is None
    world.end(stop)
    follow = renewed_close(world.book, lost, d(2))
    assert follow is not None
    assert follow.released[0].qty == 1, "one is what the leader has"


def test_an_entry_that_is_a_stop_closes_nothing_r_012() -> None:
    """The leader turned: what is left of the long is closed although the entry has begun to fill beside it."""
    world, lost = leaving()
    world.say("enter", side="sell", quantity=d(3), ord_type="stop", stop_price=d(4990), leader_order_id="o1")
    world.fill(world.child("entry"), d(1))
    follow = renewed_close(world.book, lost, d(1))
    assert follow is not None
    assert [(close.side, close.qty) for close in follow.released] == [("sell", 1)]


def test_a_lost_exit_that_a_stop_did_instead_is_given_up_r_012() -> None:
    """I-09: the follower has what its leader has; the exit that nobody finds is not taken for the next close."""
    world, stop = stop_begins(3, reduced=2)
    lost = world.child("exit")
    assert given_up(world.book, lost, d(2)) is None
    world.fill(stop, d(1))
    world.end(stop)
    assert renewed_close(world.book, lost, d(1)) is None
    follow = given_up(world.book, lost, d(1))
    assert follow is not None
    world.note(follow)
    world.say("exit")
    world.settle_closes_of(lost)
    assert world.ledger["a1", ESZ6] == world.held() == 0


def test_a_lost_exit_is_renewed_for_what_its_own_leader_has_there_r_012() -> None:
    """Another leader's long stands in the same account: it is none of this exit's."""
    world, exit_ = leaving()
    world.book.holdings["a1", "L"][ESZ6].qty = d(1)
    world.book.positions["a1", ESZ6].qty = d(6)
    follow = renewed_close(world.book, exit_, d(6))
    assert follow is not None
    assert follow.released[0].qty == 1


# what waited when its process ended ------------------------------------------------------------------------


def left_waiting(reason: str) -> tuple[World, ChildOrder]:
    """A follower of two contracts whose close came to nothing for this reason; nothing has followed yet."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.fill(world.child())
    act = signal("exit", "out")
    made = plan(act, world.book, world.rules, world.inputs())
    world.note(SignalPlanned(act, made))
    exit_ = world.book.orders[made.legs[0].orders[0].intent.cl_ord_id]
    world.note(OrderNotSent(exit_.intent.cl_ord_id, "a1", reason))
    return world, exit_


@pytest.mark.parametrize("reason", sorted(PROCESS_ENDED))
def test_a_close_that_waited_when_its_process_ended_is_closed_by_the_next_r_019_i_09(reason: str) -> None:
    """Nobody refused it; what the next start asks for is the newest order of each place (R-018)."""
    world, exit_ = left_waiting(reason)
    assert unfollowed(world.book) == [exit_.intent.cl_ord_id]
    follow = react(world.book, exit_)
    assert [(i.role, i.side, i.qty) for i in follow.released] == [("exit", "sell", d(2))]
    world.follow(follow)
    assert react(world.book, exit_).is_empty  # a second start adds nothing
    world.settle()
    assert world.held() == world.ledger["a1", ESZ6] == 0


def test_a_close_that_something_else_stopped_is_left_to_a_person() -> None:
    world, exit_ = left_waiting("kill_switch")
    assert react(world.book, exit_).is_empty
