"""R-038, I-09: the leader's own resting stops and targets, resized, replaced and moved: their mirrors cover what is
held, and no more."""

from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kopitra.domain.orders import ZERO
from kopitra.domain.protecting import unmirrored
from kopitra.domain.react import react
from kopitra.domain.signals import OrdType
from tests.unit.domain.copy_world import World, d
from tests.unit.domain.copy_world import rule as copy_rule

KINDS: tuple[tuple[str, OrdType], ...] = (("stop", "stop"), ("target", "limit"))
kinds = pytest.mark.parametrize("role, ord_type", KINDS)


def rests(world: World, name: str, qty: int, ord_type: OrdType = "stop", away: int = 20) -> None:
    """The leader, who is long, rests a stop or a target."""
    level = {"price": d(5000 + away)} if ord_type == "limit" else {"stop_price": d(5000 - away)}
    world.say("exit", side="sell", quantity=d(qty), ord_type=ord_type, leader_order_id=name, **level)


def held(qty: int) -> World:
    """The follower is long."""
    world = World([copy_rule()])
    world.say("enter", side="buy", quantity=d(qty))
    world.settle()
    return world


def covered(world: World, role: str) -> Decimal:
    """Contracts of all working orders of a role."""
    return sum((o.leaves_qty for o in world.working(role)), ZERO)


@kinds
def test_r038_a_leaders_resize_after_a_partial_exit_is_scaled_once(role: str, ord_type: OrdType) -> None:
    world = held(4)
    rests(world, "st", 4, ord_type)
    world.settle()
    world.say("reduce", quantity=d(1))
    world.settle()
    world.say("replace", leader_order_id="st", ord_type=ord_type, quantity=d(3))
    world.settle()
    assert (covered(world, role), world.held()) == (3, 3)
    world.say("add", side="buy", quantity=d(1))
    world.settle()
    world.say("replace", leader_order_id="st", ord_type=ord_type, quantity=d(4))
    world.settle()
    assert (covered(world, role), world.held()) == (4, 4)


def test_r038_a_leaders_resize_to_a_part_is_the_same_part_of_what_is_held() -> None:
    world = held(4)
    rests(world, "st", 4)
    world.settle()
    world.say("replace", leader_order_id="st", ord_type="stop", quantity=d(2))
    world.settle()
    assert (covered(world, "stop"), world.held()) == (2, 4)


@kinds
@pytest.mark.parametrize("qty", [1, 3])
def test_r038_a_leader_that_rests_its_new_stop_before_it_cancels_the_old_leaves_no_follower_without(
    qty: int, role: str, ord_type: OrdType
) -> None:
    world = held(qty)
    rests(world, "A", qty, ord_type)
    world.settle()
    rests(world, "B", qty, ord_type, away=25)
    old = world.working(role)[0]
    world.follow(react(world.book, old))  # something else happens while the broker has not answered
    assert [o.cancel for o in world.working(role)] == [None, None]
    world.settle()
    assert [o.intent.leader_order_id for o in world.working(role)] == ["B"]
    world.say("cancel", leader_order_id="A")
    world.settle()
    assert covered(world, role) == world.held() == qty


@kinds
def test_r038_a_new_stop_that_the_broker_refuses_ends_no_other(role: str, ord_type: OrdType) -> None:
    world = held(3)
    rests(world, "A", 3, ord_type)
    world.settle()
    rests(world, "B", 3, ord_type, away=25)
    world.end(world.child(role), "rejected")
    world.settle()
    assert [o.intent.leader_order_id for o in world.working(role)] == ["A"]
    assert covered(world, role) == 3


def test_r038_a_new_stop_of_a_part_leaves_the_rest_to_the_old_one() -> None:
    world = held(3)
    rests(world, "A", 3)
    world.settle()
    rests(world, "B", 2, away=25)
    world.settle()
    assert {o.intent.leader_order_id: o.leaves_qty for o in world.working("stop")} == {"A": 1, "B": 2}
    world.say("cancel", leader_order_id="B")
    world.settle()
    assert {o.intent.leader_order_id: o.leaves_qty for o in world.working("stop")} == {"A": 3}


def test_r038_an_old_stop_whose_cancel_is_refused_is_asked_again_while_the_new_one_covers_all() -> None:
    world = held(3)
    rests(world, "A", 3)
    world.settle()
    old = world.child("stop")
    rests(world, "B", 3, away=25)
    world.accept(world.child("stop"))
    assert old.cancel is not None
    world.report(old, "cancel_rejected", "new")
    world.settle()
    assert covered(world, "stop") == world.held() == 3


def test_r038_a_new_stop_without_an_answer_goes_with_the_position() -> None:
    world = held(3)
    rests(world, "A", 3)
    world.settle()
    rests(world, "B", 3, away=25)
    world.say("exit", quantity=d(3))
    world.settle()
    assert (world.held(), world.open()) == (0, [])


@kinds
def test_i09_a_leader_that_takes_its_new_stop_back_leaves_the_old_one_without_a_copy_and_that_is_known(
    role: str, ord_type: OrdType
) -> None:
    world = held(3)
    rests(world, "A", 3, ord_type)
    world.settle()
    old = world.child(role)
    rests(world, "B", 3, ord_type, away=25)
    world.settle()
    new = world.child(role)
    assert (unmirrored(world.book, old), unmirrored(world.book, new)) == ("", "")
    world.say("cancel", leader_order_id="B")
    world.settle()
    assert (world.working(role), unmirrored(world.book, new)) == ([], "A")
    world.say("exit", quantity=d(3))
    world.settle()
    assert unmirrored(world.book, new) == ""


def test_i09_a_leader_that_cancels_its_stops_itself_misses_no_copy() -> None:
    world = held(3)
    for name in ("A", "B"):
        rests(world, name, 3)
        world.settle()
    for name in ("A", "B"):
        world.say("cancel", leader_order_id=name)
        world.settle()
    assert (world.working("stop"), unmirrored(world.book, world.child("stop"))) == ([], "")


class ReplacingMachine(RuleBasedStateMachine):
    """A leader that resizes its stop and replaces it, the new one first, before brokers that answer in any order."""

    @initialize(qty=st.integers(1, 4))
    def begin(self, qty: int) -> None:
        self.world = held(qty)
        self.qty = qty
        #: the leader's resting stops, oldest first
        self.stops: dict[str, int] = {}
        self.made = 0

    @precondition(lambda self: self.qty and len(self.stops) < 2)
    @rule(part=st.booleans())
    def leader_rests_a_stop(self, part: bool) -> None:
        self.made += 1
        name = f"st{self.made}"
        self.stops[name] = max(1, self.qty - part)
        rests(self.world, name, self.stops[name], away=20 + self.made)

    @precondition(lambda self: len(self.stops) == 2)
    @rule()
    def leader_cancels_the_old_one(self) -> None:
        name = next(iter(self.stops))
        del self.stops[name]
        self.world.say("cancel", leader_order_id=name)

    @precondition(lambda self: self.qty and self.stops)
    @rule()
    def leader_resizes_its_newest(self) -> None:
        name = list(self.stops)[-1]
        self.stops[name] = self.qty
        self.world.say("replace", leader_order_id=name, ord_type="stop", quantity=d(self.qty))

    @precondition(lambda self: self.qty > 1)
    @rule()
    def leader_reduces(self) -> None:
        self.qty -= 1
        self.world.say("reduce", quantity=d(1), leader_position=d(self.qty))

    @precondition(lambda self: 0 < self.qty < 6)
    @rule()
    def leader_adds(self) -> None:
        self.qty += 1
        self.world.say("add", side="buy", quantity=d(1), leader_position=d(self.qty))

    @precondition(lambda self: self.qty)
    @rule()
    def leader_exits(self) -> None:
        self.qty = 0
        self.stops.clear()
        self.world.say("exit", leader_position=ZERO)

    @rule(data=st.data(), moves=st.booleans())
    def broker_answers(self, data: st.DataObject, moves: bool) -> None:
        found = [o for o in self.world.open() if o.state != "planned"]
        if not found:
            return
        child = data.draw(st.sampled_from(found), label="child")
        if child.intent.ord_type == "market":
            self.world.fill(child)
        elif child.state == "claimed":
            self.world.accept(child)
        elif moves and child.cancel is None:
            self.world.move(child)
        else:
            self.world.answer(child)

    @rule()
    def all_is_quiet(self) -> None:
        """The newest of the leader's stops says how much is covered at least; nothing is covered twice."""
        self.world.settle()
        assert self.world.held() == self.qty
        covers = covered(self.world, "stop")
        newest = list(self.stops.values())[-1] if self.stops else 0
        assert min(self.qty, newest) <= covers <= self.qty

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.all_is_quiet()


TestReplacingMachine = ReplacingMachine.TestCase
TestReplacingMachine.settings = settings(
    max_examples=150, stateful_step_count=15, deadline=None, report_multiple_bugs=False
)
