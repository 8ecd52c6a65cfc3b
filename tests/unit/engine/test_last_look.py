"""The last look at orders that waited until the lease of their process was over (R-073, I-11)."""

from typing import NamedTuple

import pytest

from gateway_container.engine.last_look import HELD_BACK, LastLook
from gateway_container.engine.queue import Place, Stamp
from kopitra.ports import Encoded
from tests.unit.domain.copy_world import d, rule
from tests.unit.engine.test_exits_together import Away

BROKER = "x"


class Lease(NamedTuple):
    """Entries until 100, exits until 200."""

    valid_until_ns: int = 100
    exits_until_ns: int = 200


def refused(role: str, at_ns: int, *, reducing: bool = False) -> str | None:
    """Why a follower's order that waited for its session may not leave at that moment."""
    world = Away([rule()])
    if role == "exit":
        world.say("enter", side="buy", quantity=d(2))
        world.settle()
    world.down = True
    world.say("exit") if role == "exit" else world.say("enter", side="buy", quantity=d(2))
    (intent,) = world.waiting
    assert intent.role == role
    state = world.state
    state.book = world.book
    if reducing:
        state.reducing_brokers = frozenset({BROKER})
    place = Place(intent, (), Encoded(intent.cl_ord_id, intent.account_id, b""), Stamp(0, 0, 0), 2**62)
    return LastLook(state, Lease()).refusal(place, at_ns)


@pytest.mark.parametrize("at_ns", [100, 200])
def test_no_entry_leaves_past_the_lease_i_11(at_ns: int) -> None:
    assert refused("entry", 99) != "lease_lost"
    assert refused("entry", at_ns) == "lease_lost"


def test_an_exit_leaves_in_the_grace_only_where_the_broker_cuts_it_r_073() -> None:
    """A successor may send the same: a plain market order of both would turn the position."""
    assert refused("exit", 99) is None
    assert refused("exit", 100) == HELD_BACK
    assert refused("exit", 199, reducing=True) is None


@pytest.mark.parametrize("reducing", [False, True])
def test_nothing_leaves_past_the_grace_r_073(reducing: bool) -> None:
    assert refused("exit", 200, reducing=reducing) == "lease_lost"
