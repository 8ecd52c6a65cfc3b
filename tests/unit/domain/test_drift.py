"""Drift is told apart by whose it is, and nothing is judged while anything of ours is on its way (R-041)."""

import pytest

from kopitra.domain.attribution import closable, lost_of
from kopitra.domain.book import Position
from kopitra.domain.drift import fills_now, waits_for
from kopitra.domain.executions import PositionReport
from kopitra.domain.journal import Doubted, EntriesBlocked, ExitPending, OrderParked, PositionDiffers
from kopitra.domain.orders import ZERO
from kopitra.domain.react import refit
from kopitra.domain.signals import StopLoss
from tests.unit.domain.copy_world import ESZ6, World, account, d, rule
from tests.unit.domain.drift_world import by_hand, compared, kinds, lost_fill, note, planned


def _long(qty: int = 2, **fields: object) -> World:
    """The leader is long, and so is its follower."""
    world = World([rule(**fields)])
    world.say("enter", side="buy", quantity=d(qty), leader_position=d(qty))
    world.settle()
    return world


def test_an_account_that_is_where_it_should_be_has_no_drift() -> None:
    assert compared(_long()) == ((), (), ())


def test_r041_what_the_leader_has_and_the_follower_never_got_is_a_missed_open() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.end(world.child(), "rejected")
    assert kinds(compared(world)) == [("missed_open", d(2))]


def test_r041_an_entry_that_was_refused_before_it_left_is_missed_all_the_same() -> None:
    world = World([rule()])
    world.accounts["a1"] = account(switch="reducing")
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    assert kinds(compared(world)) == [("missed_open", d(2))]


def test_a_resting_copy_is_neither_missing_nor_on_its_way() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o1")
    world.accept(world.child())
    assert compared(world) == ((), (), ())


def test_r041_what_is_left_when_the_leader_is_out_is_an_orphan() -> None:
    world = _long()
    world.say("exit", leader_position=ZERO)
    world.end(world.child("exit"), "rejected")
    world.end(world.child("exit"), "rejected")  # the close that followed it
    assert kinds(compared(world)) == [("orphan", d(-2))]


def test_r041_more_than_the_leader_asks_for_is_excess() -> None:
    world = _long(3)
    world.say("reduce", quantity=d(1), leader_position=d(2))
    for _ in range(2):
        world.end(world.child("exit"), "rejected")
    assert kinds(compared(world)) == [("excess", d(-1))]


def test_r041_what_is_held_on_the_other_side_is_opposite() -> None:
    world = _long()
    world.book.holdings["a1", "L"][ESZ6].qty = d(-1)
    world.ledger["a1", ESZ6] = d(-1)
    found = compared(world)
    assert ("opposite", d(1)) in kinds(found)
    assert {drift.target for drift in found.drifts if drift.kind == "opposite"} == {d(2)}


def test_r041_what_we_did_not_open_is_external_and_goes_to_no_leader() -> None:
    world = _long()
    by_hand(world, "buy", d(3), heard=False)
    found = compared(world)
    assert kinds(found) == [("external", d(-3))]
    assert found.drifts[0].leader == ""
    assert compared(world, leads=True).drifts == ()


def test_what_a_person_accepted_is_not_told_again_until_it_grows() -> None:
    world = _long()
    by_hand(world, "buy", d(3), heard=False)
    note(world, *compared(world).drifts)
    world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    assert compared(world).drifts == ()
    by_hand(world, "sell", d(1), heard=False)
    assert compared(world).drifts == ()
    by_hand(world, "buy", d(2), heard=False)
    assert kinds(compared(world)) == [("external", d(-4))]


@pytest.mark.parametrize("how", ["claimed", "in_doubt", "exit on its way", "cancel on its way"])
def test_r043_nothing_is_judged_while_an_order_of_ours_is_on_its_way(how: str) -> None:
    world = _long()
    by_hand(world, "buy", d(3), heard=False)
    match how:
        case "claimed" | "in_doubt":
            world.say("add", side="buy", quantity=d(1), leader_position=d(3))
            if how == "in_doubt":
                world.note(Doubted(world.child().intent.cl_ord_id, "a1", "no answer"))
        case "exit on its way":
            world.say("exit", leader_position=ZERO)
            world.accept(world.child("exit"))
        case _:
            world.say(
                "enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o1"
            )
            world.accept(world.child())
            world.say("cancel", leader_order_id="o1")
    found = compared(world)
    assert found.drifts == ()
    assert [contract for contract, _ in found.waiting] == [ESZ6]


def test_r041_a_parked_order_holds_up_no_judgement() -> None:
    """A person has it, and may never settle it: what the account really holds is judged all the same."""
    world = _long()
    world.say("exit", leader_position=ZERO)
    name = world.child("exit").intent.cl_ord_id
    world.note(Doubted(name, "a1", "no answer in time"))
    assert waits_for(world.book, "a1", ESZ6) == f"{name} is in doubt"
    world.note(OrderParked(name, "a1", "ann", "asked the broker"))
    assert waits_for(world.book, "a1", ESZ6) == ""
    assert kinds(compared(world)) == [("orphan", d(-2))]
    assert planned(world).steps[0].verdict == "approved"


def test_r041_what_a_parked_entry_may_have_opened_is_not_opened_again() -> None:
    world = World([rule(repair="top_up")])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    name = world.child().intent.cl_ord_id
    world.note(Doubted(name, "a1", "no answer in time"))
    world.note(OrderParked(name, "a1", "ann", "asked the broker"))
    assert compared(world) == ((), (), ())


def test_a_doubt_that_may_stay_for_ever_holds_up_judgement_but_no_evidence() -> None:
    """Simulation, seed 1028: a stop in doubt hid for ever that a person had traded there."""
    world = _long()
    world.say("add", side="buy", quantity=d(1), leader_position=d(3))
    name = world.child().intent.cl_ord_id
    assert fills_now(world.book, "a1", ESZ6)
    world.note(Doubted(name, "a1", "no answer"))
    assert waits_for(world.book, "a1", ESZ6) == f"{name} is in doubt"
    assert not fills_now(world.book, "a1", ESZ6)


def test_r064_an_exit_that_waits_for_its_market_is_left_to_its_own_ladder() -> None:
    world = _long()
    world.say("exit", leader_position=ZERO)
    close = world.child("exit")
    world.note(ExitPending("a1", "L", ESZ6, close.intent.cl_ord_id, "market-closed", 1, world.now))
    for _ in range(2):
        world.end(world.child("exit"), "rejected")
    found = compared(world)
    assert (found.drifts, [contract for contract, _ in found.waiting]) == ((), [ESZ6])


def test_r042_an_execution_that_only_the_list_tells_is_ours_once_it_is_imported() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1))
    told_late = lost_fill(world, "buy", d(1))
    assert compared(world).waiting
    world.note(told_late)
    assert compared(world).drifts == ()
    world.note(told_late)
    assert world.held() == 1


# closed by hand --------------------------------------------------------------------------------------------------


def test_what_a_person_closed_is_attributed_to_nobody_as_soon_as_the_stream_tells() -> None:
    world = _long(2)
    by_hand(world, "sell", d(2))
    assert (world.held(), compared(world).drifts) == (ZERO, ())
    leg = world.leg("exit", leader_position=ZERO)
    assert leg.orders == ()


def test_a_part_closed_by_hand_leaves_the_rest_with_its_leader() -> None:
    world = _long(3)
    by_hand(world, "sell", d(1))
    assert (world.held(), compared(world).drifts) == (d(2), ())
    world.say("exit", leader_position=ZERO)
    assert world.child("exit").qty == 2


def test_what_a_person_closed_unheard_shows_in_the_comparison_and_then_ends() -> None:
    world = _long(2)
    by_hand(world, "sell", d(2), heard=False)
    found = compared(world)
    assert kinds(found) == [("closed_by_hand", d(2))]
    note(world, *found.drifts)
    assert world.held() == 0
    again = compared(world)
    assert again.drifts == ()
    assert [(x.kind, x.qty) for x in again.reopenable] == [("closed_by_hand", d(2))]


def test_r037_what_a_person_closed_is_gone_once_however_often_the_journal_says_so() -> None:
    """I-08: the rest stays with its leader, and is all that its exit closes."""
    world = _long(3)
    by_hand(world, "sell", d(1), heard=False)
    found = compared(world)
    note(world, *found.drifts, *found.drifts)
    (target,) = [episode.target for episode in world.book.episodes.values()]
    assert (world.held(), target, list(world.book.sync.by_hand.values())) == (d(2), d(2), [d(1)])
    world.say("exit", leader_position=ZERO)
    assert world.child("exit").qty == 2


def test_the_stop_of_what_a_person_closed_is_withdrawn() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1), stop_loss=StopLoss(price=d(4990)))
    world.fill(world.child())
    stop = world.child("stop")
    world.accept(stop)
    by_hand(world, "sell", d(1))
    world.follow(refit(world.book, stop))
    assert stop.cancel is not None


def test_the_next_stretch_begins_anew_after_one_that_was_closed_by_hand() -> None:
    world = _long(2)
    by_hand(world, "sell", d(2))
    world.say("exit", leader_position=ZERO)
    world.say("enter", side="buy", quantity=d(1), leader_position=d(1))
    world.settle()
    assert (world.held(), world.book.sync.by_hand, compared(world)) == (d(1), {}, ((), (), ()))


def test_an_add_after_a_close_by_hand_opens_the_added_part_only() -> None:
    world = _long(2)
    by_hand(world, "sell", d(2))
    world.say("add", side="buy", quantity=d(1), leader_position=d(3))
    world.settle()
    assert world.held() == 1
    assert compared(world).drifts == ()


@pytest.mark.parametrize(
    "held, there, wanted, lost",
    [
        ({"A": 2}, 2, {}, {}),
        ({"A": 2}, 5, {}, {}),
        ({"A": 2}, 0, {"A": 2}, {"A": 2}),
        ({"A": 2}, -1, {"A": 2}, {"A": 2}),
        ({"A": 2, "B": 2}, 2, {"A": 2, "B": 0}, {"B": 2}),
        ({"A": 2, "B": 2}, 1, {"A": 2, "B": 0}, {"A": 1, "B": 2}),
        ({"A": 2, "B": -2}, 0, {}, {}),
        ({"A": 3, "B": -2}, 0, {"A": 2}, {"A": 1}),
        ({"A": -3}, -1, {"A": -3}, {"A": -2}),
    ],
)
def test_what_is_gone_is_taken_first_from_what_exceeds_a_target(
    held: dict[str, int], there: int, wanted: dict[str, int], lost: dict[str, int]
) -> None:
    found = lost_of({k: d(v) for k, v in held.items()}, d(there), {k: d(v) for k, v in wanted.items()})
    assert found == {k: d(v) for k, v in lost.items()}


def _reads(world: World, net: int) -> None:
    """A read of the broker shows so many contracts."""
    report = PositionReport("a1", ESZ6, d(net), None, world.now)
    world.note(PositionDiffers(report, world.book.positions["a1", ESZ6].qty))


@pytest.mark.parametrize("net, left", [(2, 2), (5, 2), (1, 1), (0, 0), (-1, 0)])
def test_a_close_fits_what_a_read_showed_r_012(net: int, left: int) -> None:
    world = _long()
    assert closable(world.book, "a1", ESZ6, "L") == 2
    _reads(world, net)
    assert closable(world.book, "a1", ESZ6, "L") == left
    assert world.held() == 2  # what is attributed goes when a second read has confirmed it


def test_no_entry_is_counted_against_what_a_read_did_not_show() -> None:
    world = _long()
    _reads(world, 0)
    assert world.leg("reverse", side="sell", quantity=d(1)).reason == "position_differs"
    _reads(world, 2)
    assert world.leg("reverse", side="buy", quantity=d(1)).reason != "position_differs"


def test_a_close_of_one_leader_is_not_cut_by_what_another_is_short() -> None:
    """The account is net long one: the first leader's two are there all the same."""
    world = _long()
    world.book.holdings["a1", "M"] = {ESZ6: Position(qty=d(-1))}
    _reads(world, 1)
    assert (closable(world.book, "a1", ESZ6, "L"), closable(world.book, "a1", ESZ6, "M")) == (2, -1)


def test_what_has_not_left_hides_no_difference_of_positions() -> None:
    """Nor does an order in doubt, which may stay so for ever; what is on its way does."""
    world = _long()
    world.say("exit")
    close = world.child("exit")
    assert fills_now(world.book, "a1", ESZ6)
    close.hops.clear()
    assert close.unsent
    assert not fills_now(world.book, "a1", ESZ6)
    assert waits_for(world.book, "a1", ESZ6)


def test_a_stop_that_is_being_canceled_hides_no_difference_of_positions() -> None:
    world = _long(copy_stop_loss=True)
    world.say("add", side="buy", quantity=d(1), stop_loss=StopLoss(price=d(4990)))
    world.settle()
    world.accept(world.child("stop"))
    world.say("exit")
    assert world.child("stop").cancel_requested
    assert waits_for(world.book, "a1", ESZ6)
    assert not fills_now(world.book, "a1", ESZ6)
