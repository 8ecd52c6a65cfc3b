"""R-019, R-068: an entry that waited for a close is judged by its leader's act, not by what let it go."""

from datetime import timedelta
from decimal import Decimal

import pytest

from kopitra.domain.lateness import is_stale
from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import StopLoss
from tests.unit.domain.copy_world import World, d, rule


def held_entry(**act: object) -> tuple[World, ChildOrder]:
    """The leader turns; the entry on the new side waits for the stop to go and the old side to be closed."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), stop_loss=StopLoss(price=d(4980)))
    world.fill(world.child())
    world.accept(world.child("stop"))
    world.say("reverse", side="sell", quantity=d(1), leader_position=d(-1), **act)
    entry = world.child()
    assert entry.state == "planned"
    return world, entry


@pytest.mark.parametrize(
    "fields, act, oldest_s",
    [
        ({}, {}, 3),
        ({"max_age_s": Decimal("0.5")}, {}, 0.5),
        ({}, {"ord_type": "limit", "price": d(5001)}, 30),
        ({"collar_ticks": 4}, {"ord_type": "limit", "price": d(5001)}, 3),
    ],
    ids=["market", "rule", "limit", "collar"],
)
def test_r068_a_held_entry_is_as_old_as_its_leader_s_act(
    fields: dict[str, object], act: dict[str, object], oldest_s: float
) -> None:
    world, entry = held_entry(**act)
    oldest = world.now + timedelta(seconds=oldest_s)
    rules = [rule(**fields)]
    assert not is_stale(entry, rules, oldest)
    assert is_stale(entry, rules, oldest + timedelta(milliseconds=1))
    assert is_stale(entry, rules, oldest, ahead_ms=1)


def test_r068_without_its_rule_a_held_entry_is_too_old() -> None:
    world, entry = held_entry()
    assert is_stale(entry, [], world.now)
    assert is_stale(entry, [rule("another")], world.now)


def test_r048_the_book_remembers_when_the_signal_was_accepted() -> None:
    world, entry = held_entry()
    assert entry.accepted_at == world.now
    found = world.refolded().orders[entry.intent.cl_ord_id]
    assert (found.acted_at, found.accepted_at) == (entry.acted_at, entry.accepted_at)


def test_r019_no_entry_is_younger_than_its_acceptance_whatever_its_sender_s_clock_says() -> None:
    """After a start nobody knows how far a sender's clock is ahead; the row knows when we took its signal."""
    _world, entry = held_entry()
    assert entry.accepted_at is not None
    entry.acted_at = entry.accepted_at + timedelta(seconds=2)
    oldest = entry.accepted_at + timedelta(seconds=3)
    assert not is_stale(entry, [rule()], oldest)
    assert is_stale(entry, [rule()], oldest + timedelta(milliseconds=1))
