"""R-038, I-09: the leader's own resting stops and targets, resized, replaced and moved: their mirrors cover what is
held, and no more."""

import pytest

from kopitra.domain.orders import ZERO
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


def covered(world: World, role: str) -> object:
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
