"""A leader's sender: signals told twice, late, or not at all (R-029 to R-033), and the reset by snapshot."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from kopitra.domain.journal import LeaderTold, SignalPlanned
from kopitra.domain.leader_snapshot import LeaderSnapshot, reductions
from kopitra.domain.orders import ZERO
from kopitra.domain.plan import plan
from kopitra.domain.streams import MISSING_MAX, PARKED_FOR, LeaderStream, waits
from tests.unit.domain.copy_world import NOW, World, d, rule, signal


@pytest.fixture
def world() -> World:
    return World([rule()])


def entered(world: World, order: str = "t1", **more: object) -> None:
    leg = world.leg("enter", side="buy", quantity=d(1), leader_order_id=order, **more)
    assert leg.outcome == "approved", leg.reason
    world.settle()


def told(
    world: World, root: str, qty: Decimal, sequence: int | None = None, **more: object
) -> LeaderSnapshot:
    values: dict[str, object] = {"orders": None, **more}
    return LeaderSnapshot("w", "L", "ea", world.now, ((root, qty),), sequence=sequence, **values)  # pyright: ignore[reportArgumentType]


class TestToldTwice:
    """R-029: two copies of one EA, each with its own idempotency keys."""

    def test_the_same_ticket_opens_once(self, world: World) -> None:
        entered(world)
        leg = world.leg("enter", side="buy", quantity=d(1), leader_order_id="t1")
        assert (leg.outcome, leg.reason) == ("skipped", "semantic_duplicate")
        world.settle()
        assert world.held() == 1
        assert world.book.leader("L", "ES").qty == 1

    def test_another_ticket_opens_again(self, world: World) -> None:
        entered(world)
        entered(world, "t2")
        assert world.held() == 2

    def test_a_copy_that_counts_ahead_does_not_enter_the_ticket_again(self, world: World) -> None:
        entered(world, sequence=1)
        leg = world.leg(
            "enter", side="buy", quantity=d(1), leader_order_id="t1", sequence=2, leader_position=d(1)
        )
        assert (leg.outcome, leg.reason) == ("skipped", "semantic_duplicate")
        world.settle()
        assert world.held() == 1

    def test_a_ticket_that_was_closed_may_be_entered_under_a_later_number(self, world: World) -> None:
        entered(world, sequence=1)
        world.leg("exit", leader_order_id="t1", sequence=2)
        world.settle()
        assert world.held() == 0
        entered(world, sequence=3)
        assert world.held() == 1

    def test_one_ticket_with_two_numbers_of_the_sender_are_two_acts(self, world: World) -> None:
        entered(world, sequence=1)
        assert (
            world.leg("add", side="buy", quantity=d(1), leader_order_id="t1", sequence=2).outcome
            == "approved"
        )

    def test_adds_that_name_different_positions_are_two_acts(self, world: World) -> None:
        entered(world)
        for position in (2, 3):
            leg = world.leg(
                "add", side="buy", quantity=d(1), leader_order_id="t1", leader_position=d(position)
            )
            assert leg.outcome == "approved"
            world.settle()
        assert world.held() == 3

    def test_an_exit_told_twice_still_exits(self, world: World) -> None:
        """Exits stay possible: the second finds nothing to do."""
        entered(world)
        assert world.leg("exit", leader_order_id="t1").outcome == "approved"
        world.settle()
        assert world.leg("exit", leader_order_id="t1").reason == "flat"
        assert world.held() == 0

    @pytest.mark.parametrize("source", ["webhook", "drop_copy", "operator"])
    def test_only_terminals_have_tickets(self, world: World, source: str) -> None:
        """A strategy's order name ("Long") comes again with every trade."""
        for expected in (1, 2):
            leg = world.leg("add", side="buy", quantity=d(1), leader_order_id="Long", source=source)
            assert leg.outcome == "approved"
            world.settle()
            assert world.held() == expected


class TestOrder:
    """R-030, R-031: numbers, gaps and tombstones."""

    def test_a_lower_or_equal_number_changes_nothing(self, world: World) -> None:
        entered(world, sequence=5)
        for number in (5, 4):
            leg = world.leg("enter", side="buy", quantity=d(1), leader_order_id=f"n{number}", sequence=number)
            assert leg.reason == "old_sequence"
        assert world.book.leader("L", "ES").qty == 1

    def test_the_first_number_is_no_gap(self, world: World) -> None:
        entered(world, sequence=700)
        assert not world.book.streams["L"].incomplete

    def test_an_entry_behind_a_gap_is_declined_and_the_leader_is_still_followed_out(
        self, world: World
    ) -> None:
        entered(world, sequence=1)
        leg = world.leg("add", side="buy", quantity=d(1), leader_order_id="t3", sequence=3)
        assert (leg.outcome, leg.reason) == ("skipped", "sequence_gap")
        assert list(world.book.streams["L"].missing) == [2]
        assert world.leg("exit", sequence=4).outcome == "approved"
        world.settle()
        assert world.held() == 0

    def test_entries_stay_declined_until_a_snapshot(self, world: World) -> None:
        entered(world, sequence=1)
        world.say("add", side="buy", quantity=d(1), leader_order_id="t3", sequence=3)
        leg = world.leg("add", side="buy", quantity=d(1), leader_order_id="t4", sequence=4)
        assert leg.reason == "sequence_gap"
        world.note(LeaderTold(told(world, "ES", d(2), 4)))
        leg = world.leg("add", side="buy", quantity=d(1), leader_order_id="t5", sequence=5)
        assert leg.outcome == "approved"

    def test_the_leaders_own_position_makes_an_entry_certain(self, world: World) -> None:
        entered(world, sequence=1)
        leg = world.leg(
            "add", side="buy", quantity=d(1), leader_order_id="t3", sequence=3, leader_position=d(3)
        )
        assert leg.outcome == "approved"
        assert leg.target == 3

    def test_a_missing_exit_that_comes_late_still_closes(self, world: World) -> None:
        entered(world, sequence=1)
        world.say("add", side="buy", quantity=d(1), leader_order_id="t3", sequence=3)
        assert world.leg("exit", sequence=2).outcome == "approved"
        world.settle()
        assert world.held() == 0

    def test_a_missing_exit_is_over_once_the_leader_has_named_its_position(self, world: World) -> None:
        entered(world, sequence=1)
        world.say("add", side="buy", quantity=d(1), leader_order_id="t3", sequence=3, leader_position=d(2))
        world.settle()
        assert world.leg("exit", sequence=2).reason == "old_sequence"
        assert world.held() == 2

    def test_a_missing_entry_never_opens_late(self, world: World) -> None:
        entered(world, sequence=1)
        world.say("exit", sequence=3)
        leg = world.leg("enter", side="buy", quantity=d(1), leader_order_id="t2", sequence=2)
        assert leg.reason == "old_sequence"

    @pytest.mark.parametrize("close", ["exit", "cancel"])
    def test_an_open_behind_its_own_close_is_superseded(self, world: World, close: str) -> None:
        """R-031, I-10: the close of an unknown open leaves a tombstone."""
        world.say(close, leader_order_id="t9")
        leg = world.leg("enter", side="buy", quantity=d(1), leader_order_id="t9")
        assert (leg.outcome, leg.reason) == ("skipped", "superseded")
        assert world.book.leader("L", "ES").qty == 0

    def test_an_open_with_a_newer_number_than_the_tombstone_is_a_new_one(self, world: World) -> None:
        world.say("exit", leader_order_id="t9", sequence=1)
        leg = world.leg("enter", side="buy", quantity=d(1), leader_order_id="t9", sequence=2)
        assert leg.outcome == "approved"

    def test_only_entries_wait_for_missing_numbers(self) -> None:
        stream = LeaderStream(sequence=4)
        assert waits(signal("enter", side="buy", sequence=6), stream)
        assert not waits(signal("enter", side="buy", sequence=5), stream)
        assert not waits(signal("exit", sequence=6), stream)
        assert not waits(signal("enter", side="buy"), stream)
        assert not waits(signal("enter", side="buy", sequence=6), None)

    def test_a_huge_gap_is_remembered_within_bounds(self, world: World) -> None:
        entered(world, sequence=1)
        world.say("exit", sequence=10**9)
        assert len(world.book.streams["L"].missing) <= MISSING_MAX


class TestParked:
    """R-032: a move before its order."""

    def moved(self, world: World, price: int) -> None:
        leg = world.leg("replace", leader_order_id="o1", ord_type="limit", price=d(price))
        assert leg.reason == "parked"

    def rest(self, world: World) -> None:
        world.say("enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o1")

    def test_the_order_takes_the_newest_numbers(self, world: World) -> None:
        self.moved(world, 4991)
        self.moved(world, 4992)
        self.rest(world)
        assert world.child().intent.price == 4992

    def test_a_move_that_waited_too_long_is_forgotten(self, world: World) -> None:
        self.moved(world, 4991)
        world.now += PARKED_FOR
        self.rest(world)
        assert world.child().intent.price == 4990

    def test_a_move_of_a_known_order_goes_at_once(self, world: World) -> None:
        self.rest(world)
        leg = world.leg("replace", leader_order_id="o1", ord_type="limit", price=d(4993))
        assert leg.outcome == "approved"

    def test_a_move_of_an_entry_that_nobody_copied_is_not_parked(self, world: World) -> None:
        world.rules[:] = [rule(side_filter="short")]
        world.say("enter", side="buy", quantity=d(1), leader_order_id="o1")
        assert world.leg("replace", leader_order_id="o1", price=d(1)).reason == "no_mirrored_order"

    def test_a_move_of_a_closed_order_is_over(self, world: World) -> None:
        world.say("cancel", leader_order_id="o1")
        assert world.leg("replace", leader_order_id="o1", price=d(4993)).reason == "superseded"


class TestSnapshot:
    """R-033: the snapshot is the reset; only what shrinks follows by itself."""

    def apply(self, world: World, snapshot: LeaderSnapshot) -> list[str]:
        acts = reductions(snapshot, world.book, world.now)
        for act in acts:
            made = plan(act, world.book, world.rules, world.inputs())
            world.note(SignalPlanned(act, made))
            for leg in made.legs:
                world.write([approved.intent for approved in leg.orders])
        world.note(LeaderTold(snapshot))
        world.settle()
        return [act.action for act in acts]

    def test_a_leader_that_is_out_takes_its_followers_out(self, world: World) -> None:
        entered(world, sequence=1)
        assert self.apply(world, LeaderSnapshot("w", "L", "ea", world.now, (), sequence=9)) == ["exit"]
        assert world.held() == 0
        assert world.book.streams["L"].sequence == 9

    def test_a_smaller_leader_shrinks_its_followers(self, world: World) -> None:
        world.say("enter", side="buy", quantity=d(3))
        world.settle()
        assert self.apply(world, told(world, "ES", d(1), 2)) == ["reduce"]
        assert world.held() == 1

    def test_a_turned_leader_closes_and_opens_nothing(self, world: World) -> None:
        entered(world)
        assert self.apply(world, told(world, "ES", d(-2), 2)) == ["exit"]
        assert world.held() == 0
        assert world.book.leader("L", "ES").qty == -2

    def test_a_larger_leader_is_known_and_not_followed_late(self, world: World) -> None:
        entered(world)
        assert self.apply(world, told(world, "ES", d(5), 2)) == []
        assert world.held() == 1
        assert world.book.leader("L", "ES").qty == 5

    def test_resting_orders_that_are_gone_are_canceled(self, world: World) -> None:
        for name in ("o1", "o2"):
            world.say(
                "enter", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id=name
            )
            world.settle()
        kept = told(world, "ES", ZERO, 2, orders=frozenset({"o2"}))
        assert self.apply(world, kept) == ["cancel"]
        assert [o.intent.leader_order_id for o in world.open()] == ["o2"]

    def test_the_same_snapshot_twice_is_one(self, world: World) -> None:
        entered(world)
        first = reductions(told(world, "ES", ZERO, 2), world.book, world.now)
        assert [s.signal_id for s in first] == [
            s.signal_id for s in reductions(told(world, "ES", ZERO, 2), world.book, world.now)
        ]
        self.apply(world, told(world, "ES", ZERO, 2))
        assert self.apply(world, told(world, "ES", ZERO, 2)) == []

    def test_a_replayed_journal_remembers_the_stream(self, world: World) -> None:
        entered(world, sequence=1)
        world.say("exit", leader_order_id="t1", sequence=3)
        world.note(LeaderTold(told(world, "ES", ZERO, 3)))
        assert world.refolded().streams == world.book.streams
        late = replace(signal("enter", "x", side="buy", quantity=d(1), leader_order_id="t1"), occurred_at=NOW)
        assert plan(late, world.refolded(), world.rules, world.inputs()).verdict == "superseded"
        assert timedelta(0) < PARKED_FOR
