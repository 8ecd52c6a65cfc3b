"""What follows when an order could not be sent, or nobody knows what became of a cancel: exits go on, bounded."""

from kopitra.domain.journal import Doubted, RequestFailed
from kopitra.domain.react import CANCELS_OF_ONE_MAX, react, still_there
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.unit.domain.copy_world import World, d, rule


def _held(*, target: bool = False, qty: int = 2) -> World:
    """A follower that holds two, with a stop and perhaps a target that work."""
    world = World([rule()])
    levels: dict[str, object] = {"stop_loss": StopLoss(price=d(4980))}
    if target:
        levels["take_profits"] = (TakeProfit(price=d(5020)),)
    world.say("enter", side="buy", quantity=d(qty), **levels)
    world.fill(world.child())
    for child in world.open():
        world.accept(child)
    return world


def test_a_close_that_waits_for_a_lost_cancel_goes_at_once() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(3), ord_type="limit", price=d(4990), leader_order_id="o")
    entry = world.child()
    world.accept(entry)
    world.fill(entry, d(1))
    world.say("exit")
    close = world.child("exit")
    assert close.state == "planned"
    world.lose(entry)
    assert (close.state, close.qty) == ("claimed", 1)
    assert entry.cancel is not None  # and its cancel is asked for again


def test_the_cancel_of_an_entry_that_outlived_its_leader_is_asked_for_a_few_times_only() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(3), ord_type="limit", price=d(4990), leader_order_id="o")
    entry = world.child()
    world.accept(entry)
    world.say("exit")
    names = {entry.cancel}
    for _ in range(CANCELS_OF_ONE_MAX - 1):
        world.lose(entry)
        assert entry.cancel is not None
        names.add(entry.cancel)
    world.lose(entry)
    assert entry.cancel is None
    assert len(names) == CANCELS_OF_ONE_MAX


def test_a_read_that_still_shows_an_order_asks_for_its_cancel_once_more() -> None:
    """I-03: every cancel was lost, however often."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(3), ord_type="limit", price=d(4990), leader_order_id="o")
    entry = world.child()
    world.accept(entry)
    world.say("exit")
    for _ in range(CANCELS_OF_ONE_MAX):
        world.lose(entry)
    for _ in range(3):
        assert entry.cancel is None
        world.follow(still_there(world.book, entry))
        assert entry.cancel is not None
        world.lose(entry)


def test_an_order_that_was_to_go_is_not_counted_on_i_09() -> None:
    """Its cancel was lost while the leader held something: the holding stays, and the order is asked to go again."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    world.fill(world.child())
    world.say("add", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o")
    resting = next(o for o in world.open() if o.intent.role == "entry")
    world.accept(resting)
    world.say("cancel", leader_order_id="o")
    world.lose(resting)
    assert resting.cancel is not None
    assert [o for o in world.open() if o.intent.role == "exit"] == []
    assert world.book.exposure("a1", "L", "ES") == 1


def test_an_entry_in_doubt_stands_in_for_no_close_i_09() -> None:
    """The leader left; what is held on the other side of the doubt is closed all the same (R-012)."""
    world = World([rule()])
    world.say("enter", side="sell", quantity=d(2))
    lost = world.child()
    world.say("reverse", side="buy", quantity=d(2))
    world.fill(next(o for o in world.open() if o is not lost))
    world.note(Doubted(lost.intent.cl_ord_id, "a1", "no answer in time"))
    assert world.held() == 2
    world.say("exit")
    assert [(o.intent.side, o.qty) for o in world.open() if o.intent.role == "exit"] == [("sell", d(2))]


def test_a_stop_that_protects_nothing_is_canceled_again_when_its_cancel_was_lost() -> None:
    world = _held()
    stop = world.child("stop")
    world.say("exit")
    world.settle_closes()
    assert world.held() == 0
    assert stop.cancel is not None
    for _ in range(CANCELS_OF_ONE_MAX - 1):
        world.lose(stop)
        assert stop.cancel is not None
    world.lose(stop)
    assert stop.cancel is None


def test_a_stop_that_still_protects_is_left_alone_when_a_cancel_of_it_was_lost() -> None:
    world = _held()
    stop = world.child("stop")
    world.note(RequestFailed(stop.intent.cl_ord_id, "a1", "cancel", "no answer in time"))
    assert react(world.book, stop).is_empty


def test_a_close_that_could_not_leave_is_not_followed_by_another() -> None:
    world = _held()
    world.say("reduce", quantity=d(1))
    close = world.child("exit")
    made = [o for o in world.book.orders if o not in {close.intent.cl_ord_id}]
    world.not_sent(close.intent, "kill_switch")
    assert close.state == "skipped"
    assert [o for o in world.book.orders if o not in {close.intent.cl_ord_id}] == made


def test_a_stop_that_could_not_leave_keeps_its_target_working() -> None:
    world = World([rule()])
    world.say(
        "enter", side="buy", quantity=d(2), stop_loss=StopLoss(price=d(4980)),
        take_profits=(TakeProfit(price=d(5020)),),
    )  # fmt: skip
    world.fill(world.child())
    stop, target = world.child("stop"), world.child("target")
    world.not_sent(stop.intent, "stale")
    assert (stop.state, target.state, target.qty) == ("skipped", "claimed", 2)
    assert target.cancel is None


def test_a_close_goes_at_once_when_the_entry_it_waits_for_never_left() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    world.fill(world.child())
    world.say("add", side="buy", quantity=d(1), ord_type="limit", price=d(4990), leader_order_id="o")
    entry = world.child()
    world.say("exit")
    close = world.child("exit")
    assert (entry.state, close.state) == ("claimed", "planned")
    world.not_sent(entry.intent, "canceled_before_send")
    assert (close.state, close.qty) == ("claimed", 1)
    world.settle()
    assert world.held() == 0
