"""What goes past a crowd, and what it leaves behind there (I-10, R-031, R-050)."""

from dataclasses import replace

import pytest

from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import SignalPlanned
from kopitra.domain.overtaking import goes_ahead, is_late, is_overtaken, standing_still
from kopitra.domain.plan import no_news, plan
from kopitra.domain.signals import Signal
from tests.unit.domain.copy_world import NOW, World, d, rule, signal


def long_leader() -> World:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    return world


def entry(**fields: object) -> Signal:
    return signal("enter", "e1", **({"source": "webhook", "side": "buy", "quantity": d(1)} | fields))


def planned(world: World, act: Signal) -> FanoutPlan:
    return plan(act, world.book, world.rules, world.inputs())


@pytest.mark.parametrize(
    "action, fields, ahead",
    [
        ("exit", {}, True),
        ("cancel", {"leader_order_id": "o1"}, True),
        ("reverse", {"side": "sell"}, True),
        ("enter", {"side": "sell", "quantity": d(1)}, True),
        ("enter", {"side": "sell", "quantity": d(3)}, True),
        ("enter", {"side": "buy", "quantity": d(1)}, False),
        ("enter", {"side": "buy", "quantity": d(1), "ord_type": "limit", "price": d(4990)}, False),
    ],
)
def test_r050_what_closes_something_of_its_leader_goes_ahead(
    action: str, fields: dict[str, object], ahead: bool
) -> None:
    world = long_leader()
    assert goes_ahead(signal(action, **fields), world.book, ()) is ahead


def test_r050_what_counts_from_where_the_leader_stood_keeps_its_place_behind_it() -> None:
    """Else a follower would be on the other side until the first one came, or for ever if it never does."""
    world = long_leader()
    waiting = [entry()]
    sell: dict[str, object] = {"side": "sell", "quantity": d(3)}
    assert not goes_ahead(signal("enter", **sell), world.book, waiting)
    assert goes_ahead(signal("enter", **sell, leader_position=d(0)), world.book, waiting)
    assert goes_ahead(signal("reverse", side="sell"), world.book, waiting)


@pytest.mark.parametrize(
    "action, fields, over",
    [
        ("exit", {}, True),
        ("flatten", {"symbol": ""}, True),
        ("reverse", {"side": "sell"}, True),
        ("reduce", {"quantity": d(2)}, True),
        ("reduce", {"quantity": d(1)}, False),
        ("reduce", {"quantity": d(1), "leader_position": d(1)}, True),
        ("exit", {"symbol": "NQ"}, False),
        ("cancel", {"leader_order_id": "o1"}, True),
        ("cancel", {"leader_order_id": "o2"}, False),
        ("enter", {"side": "sell", "quantity": d(1)}, False),
    ],
)
def test_i10_an_entry_is_overtaken_by_what_says_where_its_leader_stands(
    action: str, fields: dict[str, object], over: bool
) -> None:
    world = long_leader()
    waiting = entry(leader_order_id="o1")
    act = signal(action, **fields)
    assert is_overtaken(waiting, act, planned(world, act)) is over


def test_i10_numbered_entries_are_judged_by_their_numbers_and_other_leaders_do_not_count() -> None:
    world = long_leader()
    act = signal("exit")
    made = planned(world, act)
    assert is_overtaken(entry(), act, made)
    assert not is_overtaken(entry(sequence=7), act, made)
    assert not is_overtaken(entry(leader="M"), act, made)


@pytest.mark.parametrize(
    "action, fields, late",
    [
        ("exit", {}, True),
        ("flatten", {"symbol": ""}, True),
        ("reverse", {"side": "sell"}, True),
        ("enter", {"side": "sell", "quantity": d(1), "leader_position": d(1)}, True),
        ("enter", {"side": "sell", "quantity": d(1)}, False),
        ("reduce", {"quantity": d(1)}, False),
        ("exit", {"symbol": "NQ"}, False),
    ],
)
def test_i10_what_came_before_the_leaders_newer_word_is_late_wherever_it_waited(
    action: str, fields: dict[str, object], late: bool
) -> None:
    """R-031: folded from the journal, so whoever takes over knows it too."""
    world = long_leader()
    waited = entry(received_at=world.now)
    world.say(action, **fields)
    assert is_late(waited, world.book) is late
    assert not is_late(entry(received_at=world.now), world.book), "received with it"
    assert not is_late(replace(waited, sequence=7), world.book), "its number tells"
    assert not is_late(replace(waited, leader="M"), world.book)
    assert not is_late(replace(waited, action="exit"), world.book), "what shrinks goes on"


def test_i10_a_flatten_of_everything_also_overtakes_the_first_entry_of_a_product() -> None:
    world = World([rule()])
    world.say("flatten", symbol="")
    assert is_late(entry(received_at=NOW), world.book)


def test_i10_a_late_act_leaves_its_leader_where_it_is() -> None:
    world = long_leader()
    world.say("exit")
    (act,) = planned(world, standing_still(entry(), world.book)).acts
    assert (act.position_after, act.exposure_after) == (0, 0)


@pytest.mark.parametrize("ord_type", ["limit", "market"])
def test_i10_what_means_nothing_any_more_moves_neither_the_leader_nor_its_resting_orders(
    ord_type: str,
) -> None:
    """A late limit entry counted as exposure for ever: a later reduction then left the follower with too much."""
    world = long_leader()
    world.say("flatten")
    world.settle()
    world.say("enter", side="sell", quantity=d(1), ord_type="limit", price=d(5010), leader_order_id="S")

    def picture() -> object:
        leader = world.book.leader("L", "ES")
        mine = [(child.intent.side, child.state) for child in world.book.open_children("a1", "L")]
        return leader.qty, leader.exposure, list(leader.working), mine

    before = picture()
    late = entry(ord_type=ord_type, price=d(4990), leader_order_id="B")
    made = no_news(late, world.rules, world.inputs(), "superseded")
    assert [(leg.outcome, leg.reason, leg.orders, leg.cancels) for leg in made.legs] == [
        ("skipped", "superseded", (), ())
    ]
    world.note(SignalPlanned(late, made))
    assert picture() == before == (0, -1, ["S"], [("sell", "claimed")])
