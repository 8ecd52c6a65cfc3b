"""R-060: what the way out costs is known before an entry leaves, and the exits never need more."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import StopLoss, TakeProfit
from kopitra.domain.way_out import of_entry
from tests.unit.domain.copy_world import World, account, assert_way_out, d
from tests.unit.domain.copy_world import rule as copy_rule

PROTECTION: dict[str, dict[str, object]] = {
    "plain": {},
    "stop": {"stop_loss": StopLoss(price=d(4900))},
    "both": {"stop_loss": StopLoss(price=d(4900)), "take_profits": (TakeProfit(price=d(5100)),)},
}


def kept(world: World) -> int:
    return world.book.way_out.requests.get("a1", 0)


def requests_since(world: World, before: dict[str, ChildOrder]) -> int:
    """Cancels that were asked for and closes that left."""
    cancels = sum(o.requests for o in world.book.orders.values() if o.state != "planned")
    closes = [n for n, o in world.book.orders.items() if n not in before and o.intent.role == "exit"]
    return cancels + len(closes)


def entered(protection: str, *, linked: bool, rests: bool, qty: int = 3) -> World:
    world = World([copy_rule()], {"a1": account(brackets=linked)})
    more: dict[str, object] = {"ord_type": "limit", "price": d(4990)} if rests else {}
    world.say("enter", side="buy", quantity=d(qty), **more, **PROTECTION[protection])
    return world


@given(st.sampled_from(sorted(PROTECTION)), st.booleans(), st.booleans())
def test_r060_an_entry_is_counted_whole_when_it_is_decided(
    protection: str, linked: bool, rests: bool
) -> None:
    """Before it is written: its close, its cancel where it rests, and whatever protects it."""
    world = entered(protection, linked=linked, rests=rests)
    entry = world.child()
    others = [o for o in world.open() if o is not entry]
    held_back = sum(1 for o in others if o.state == "planned")
    assert kept(world) == of_entry(entry.intent.ord_type, len(others) - held_back, held_back)


def test_r060_a_filled_bracket_is_a_close_and_two_cancels_and_then_nothing() -> None:
    world = entered("both", linked=True, rests=False)
    assert kept(world) == 3
    world.fill(world.child())
    assert kept(world) == 3
    world.say("exit", leader_position=d(0))
    world.settle()
    assert kept(world) == 0


def test_r060_protection_that_follows_one_by_one_is_counted_with_its_placement() -> None:
    world = entered("both", linked=False, rests=False)
    assert kept(world) == 5
    world.fill(world.child())
    assert kept(world) == 3, "placed: what is left are two cancels and a close"


def test_r060_an_entry_that_never_left_needs_no_way_out() -> None:
    world = entered("both", linked=False, rests=True)
    world.not_sent(world.child().intent, "rate_budget")
    assert kept(world) == 0


@given(
    st.sampled_from(sorted(PROTECTION)), st.booleans(), st.booleans(),
    st.lists(st.integers(1, 2), max_size=2), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=200)
def test_r060_the_exits_of_all_that_is_open_never_need_more_than_was_kept(
    protection: str, linked: bool, rests: bool, fills: list[int], flatten: bool, late: bool
) -> None:
    """Whatever has filled when the leader leaves, and also when a fill outruns a cancel."""
    world = entered(protection, linked=linked, rests=rests)
    entry = world.child()
    for qty in fills:
        if entry.leaves_qty:
            world.fill(entry, min(d(qty), entry.leaves_qty))
    before, budget = dict(world.book.orders), kept(world)
    asked = requests_since(world, before)
    world.say("flatten") if flatten else world.say("exit", leader_position=Decimal(0))
    if late and entry.leaves_qty:
        world.fill(entry)  # in parts each would need a close: for that entries leave a tenth of the window
    world.settle()
    assert world.held() == 0
    assert requests_since(world, before) - asked <= budget
    assert_way_out(world)
    assert kept(world) == 0
