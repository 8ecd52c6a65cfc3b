"""What a flatten ended is opened again by nobody but the leader or a person (R-043, R-094)."""

import pytest

from kopitra.domain.journal import FlattenNoted, LeaderTold
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.orders import ZERO
from kopitra.domain.repairing import Wish
from tests.unit.domain.copy_world import World, d, rule
from tests.unit.domain.drift_world import by_hand, compared, kinds, planned, repair


def _flattened(*, fills: bool) -> World:
    """The leader is long two, and somebody flattened the follower, whose entry had filled or still rested."""
    world = World([rule(repair="top_up")])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    if fills:
        world.settle()
        by_hand(world, "sell", d(2))  # a close of the flatten is attributed like a person's
    else:
        world.accept(world.child())
        world.end(world.child(), "canceled")
    world.note(FlattenNoted("F", "a1", "flat_confirmed", "two reads", "ann"))
    return world


@pytest.mark.parametrize("fills", [True, False])
def test_r043_what_a_flatten_ended_is_not_topped_up_but_can_be_opened_again(fills: bool) -> None:
    world = _flattened(fills=fills)
    assert compared(world).drifts == ()
    assert [(s.drift.kind, s.reason) for s in planned(world).steps] == [("closed_by_hand", "closed_by_hand")]
    repair(world, planned(world, Wish(include_closed_by_hand=True)), "ann")
    world.settle()
    assert (world.held(), compared(world)) == (d(2), ((), (), ()))


def test_r043_what_is_missed_after_a_flatten_is_topped_up() -> None:
    world = _flattened(fills=True)
    world.say("add", side="buy", quantity=d(1), leader_position=d(3))
    world.end(world.child(), "rejected")
    assert kinds(compared(world)) == [("missed_open", d(1))]
    world.say("exit", leader_position=ZERO)
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.end(world.child(), "rejected")
    assert kinds(compared(world)) == [("missed_open", d(2))]


def test_r043_what_a_flatten_ended_is_over_with_a_stretch_whose_end_only_a_snapshot_told() -> None:
    world = _flattened(fills=True)
    world.note(LeaderTold(LeaderSnapshot("w", "L", "ea", world.now, ())))
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.end(world.child(), "rejected")
    assert kinds(compared(world)) == [("missed_open", d(2))]
