"""R-038, I-09: a stop never exceeds the holding for long, in whatever order the broker answers."""

from collections.abc import Callable
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kopitra.domain.moving import MOVES_OF_ONE_MAX
from kopitra.domain.orders import TERMINAL, ZERO, ChildOrder
from kopitra.domain.signals import StopLoss, sign
from tests.unit.domain.copy_world import ESZ6, World, d
from tests.unit.domain.copy_world import rule as copy_rule

Failure = Literal["refused", "unknown"]
FAILURES: tuple[Failure, ...] = ("refused", "unknown")
STOP = StopLoss(price=d(4980))


def held_with_a_stop(qty: int = 3) -> World:
    """The follower is long, and all of it is protected."""
    world = World([copy_rule()])
    world.say("enter", side="buy", quantity=d(qty), stop_loss=STOP)
    world.fill(world.child())
    for child in world.open():
        world.accept(child)
    return world


def fails(world: World, child: ChildOrder, how: Failure) -> None:
    """The move that is under way comes to nothing."""
    del world.moving[child.intent.cl_ord_id]
    if how == "refused":
        world.report(child, "replace_rejected", "new")
    else:
        world.lose(child, "replace")


def reduced(world: World) -> ChildOrder:
    """The leader closes one, and the stop's new size is on its way."""
    world.say("reduce", quantity=d(1))
    world.settle_closes()
    stop = world.child("stop")
    assert world.move(stop)
    return stop


def test_r038_a_stop_whose_holding_shrank_while_it_was_resized_is_resized_again() -> None:
    world = held_with_a_stop()
    stop = reduced(world)
    reduced(world)
    assert (world.held(), stop.qty) == (1, 3)
    world.settle()
    assert (world.held(), stop.leaves_qty) == (1, 1)


@pytest.mark.parametrize("how", FAILURES)
def test_r038_a_resize_that_came_to_nothing_is_asked_for_again(how: Failure) -> None:
    world = held_with_a_stop()
    stop = reduced(world)
    fails(world, stop, how)
    world.settle()
    assert (world.held(), stop.leaves_qty) == (2, 2)


@pytest.mark.parametrize("how", FAILURES)
def test_r038_resizes_are_asked_for_so_often_in_a_row_and_again_after_the_next_change(how: Failure) -> None:
    world = held_with_a_stop()
    stop = reduced(world)
    asked = 1
    fails(world, stop, how)
    while world.move(stop):
        asked += 1
        fails(world, stop, how)
    assert (asked, stop.leaves_qty) == (MOVES_OF_ONE_MAX, 3)
    reduced(world)
    world.settle()
    assert (world.held(), stop.leaves_qty, stop.moves_failed) == (1, 1, 0)


def test_r038_what_is_added_while_a_stop_shrinks_is_protected_too() -> None:
    world = held_with_a_stop(1)
    world.say("add", side="buy", quantity=d(2), stop_loss=STOP)
    world.settle()
    reduced(world)
    world.say("add", side="buy", quantity=d(1), stop_loss=STOP)
    world.settle()
    assert sum(o.leaves_qty for o in world.working("stop")) == world.held() == 3


class ProtectionMachine(RuleBasedStateMachine):
    """A protected follower whose broker answers requests late, in any order, or not at all."""

    @initialize(qty=st.integers(2, 5))
    def begin(self, qty: int) -> None:
        self.world = held_with_a_stop(qty)
        self.qty = d(qty)

    def _pick(self, data: st.DataObject, which: Callable[[ChildOrder], bool]) -> ChildOrder | None:
        found = [o for o in self.world.open() if o.state != "planned" and which(o)]
        return data.draw(st.sampled_from(found), label="child") if found else None

    @precondition(lambda self: self.qty > 1)
    @rule(filled=st.booleans(), moved=st.booleans())
    def leader_reduces(self, filled: bool, moved: bool) -> None:
        self.qty -= 1
        self.world.say("reduce", quantity=d(1), leader_position=self.qty)
        if filled:
            self.world.settle_closes()
        for stop in self.world.working("stop") if moved else ():
            self.world.move(stop)

    @rule()
    def leader_adds(self) -> None:
        self.qty += 1
        self.world.say("add" if self.qty > 1 else "enter", side="buy", quantity=d(1), stop_loss=STOP,
                       leader_position=self.qty)  # fmt: skip

    @rule()
    def leader_exits(self) -> None:
        self.qty = ZERO
        self.world.say("exit", leader_position=ZERO)

    @rule(data=st.data())
    def broker_accepts(self, data: st.DataObject) -> None:
        if child := self._pick(data, lambda o: o.state == "claimed"):
            self.world.accept(child)

    @rule(data=st.data(), whole=st.booleans())
    def broker_fills(self, data: st.DataObject, whole: bool) -> None:
        if child := self._pick(data, lambda o: o.intent.ord_type == "market" and o.leaves_qty > 0):
            self.world.fill(child, child.leaves_qty if whole else d(1))

    @rule(data=st.data(), whole=st.booleans())
    def a_stop_is_hit(self, data: st.DataObject, whole: bool) -> None:
        """For no more than is there."""
        if child := self._pick(data, lambda o: o.intent.role == "stop"):
            held = self.world.ledger.get(("a1", ESZ6), ZERO)
            qty = min(child.leaves_qty, max(ZERO, -held * sign(child.intent.side)))
            if qty > 0:
                self.world.fill(child, qty if whole else d(1))

    @rule(data=st.data())
    def a_move_leaves(self, data: st.DataObject) -> None:
        if child := self._pick(data, lambda o: o.replace is not None and o.cancel is None):
            self.world.move(child)

    @rule(data=st.data(), how=st.sampled_from(FAILURES))
    def a_move_fails(self, data: st.DataObject, how: Failure) -> None:
        may_fail = MOVES_OF_ONE_MAX - 1
        if child := self._pick(data, lambda o: o.replace_sent and not o.cancel and o.moves_failed < may_fail):
            fails(self.world, child, how)

    @rule(data=st.data())
    def broker_answers(self, data: st.DataObject) -> None:
        if child := self._pick(data, lambda o: o.replace_sent or o.cancel is not None):
            self.world.answer(child)

    @rule()
    def all_is_answered(self) -> None:
        self.world.settle()
        held = self.world.held()
        assert held == self.world.ledger.get(("a1", ESZ6), ZERO)
        stops = self.world.working("stop")
        assert all(o.intent.side == "sell" and o.state not in TERMINAL for o in stops)
        assert sum((o.leaves_qty for o in stops), Decimal(0)) <= held, "a stop is larger than the holding"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.all_is_answered()


TestProtectionMachine = ProtectionMachine.TestCase
TestProtectionMachine.settings = settings(
    max_examples=150, stateful_step_count=10, deadline=None, report_multiple_bugs=False
)
