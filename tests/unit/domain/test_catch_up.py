"""R-019, R-022: what a process left undone when it died before what follows from a report; from the book alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.catch_up import held_entries, unfollowed
from kopitra.domain.fold import fold
from kopitra.domain.journal import Reported
from kopitra.domain.react import react
from kopitra.domain.signals import StopLoss
from kopitra.store.encoding import Decoder, encode
from tests.unit.domain.copy_world import World, d, rule

ACTS = ("enter", "reduce", "exit", "reverse", "settle", "fill")


def crashed(world: World, rows: int) -> World:
    """A successor that has the first rows of a journal, and nothing else."""
    after = World([rule()])
    after._executions = 10_000
    after.now = world.now
    for entry in world.journal[:rows]:
        same = Decoder(type(entry))(encode(entry))
        after.journal.append(same)
        fold(after.book, same)
    return after


def catch_up(world: World) -> int:
    """What the engine does at a start; how many rows it made."""
    before = len(world.journal)
    for name in unfollowed(world.book):
        world.follow(react(world.book, world.book.orders[name]))
    return len(world.journal) - before


def test_a_stop_that_was_due_when_the_process_died_is_placed_r_022() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), stop_loss=StopLoss(offset=d(10)))
    world.fill(world.child())
    filled = max(n for n, e in enumerate(world.journal) if isinstance(e, Reported))
    after = crashed(world, filled + 1)
    assert [o.state for o in after.open() if o.intent.role == "stop"] == ["planned"]
    assert catch_up(after) > 0
    assert [(o.state, o.qty) for o in after.open() if o.intent.role == "stop"] == [("claimed", d(2))]


def test_a_late_fill_that_was_not_closed_when_the_process_died_is_closed_r_022() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990))
    world.accept(world.child())
    world.say("exit")
    world.fill(world.child())
    filled = max(n for n, e in enumerate(world.journal) if isinstance(e, Reported))
    after = crashed(world, filled + 1)
    assert after.held() == 2
    catch_up(after)
    after.settle()
    assert after.held() == 0


@given(st.lists(st.sampled_from(ACTS), min_size=1, max_size=10), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_second_start_finds_nothing_more_to_do_i_12_r_021(acts: list[str], cut: float) -> None:
    world = World([rule()])
    for act in acts:
        if act == "settle":
            world.settle()
        elif act == "fill":
            for child in [o for o in world.open() if o.state == "claimed" and o.intent.ord_type == "market"][
                :1
            ]:
                world.fill(child)
        elif act == "exit":
            world.say("exit")
        else:
            world.say(act, side="buy", quantity=d(2), stop_loss=StopLoss(offset=d(10)))
    after = crashed(world, int(len(world.journal) * cut))
    catch_up(after)
    assert catch_up(after) == 0


def test_held_entries_are_found_r_019() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1), stop_loss=StopLoss(offset=d(10)))
    world.settle()
    world.say("reverse", side="sell", quantity=d(1))
    assert [o.intent.role for o in held_entries(world.book)] == ["entry"]
