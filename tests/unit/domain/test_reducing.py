"""What of a plan may go on without the journal: everything that shrinks, nothing that opens (R-071, R-072)."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.journal import SignalPlanned
from kopitra.domain.plan import plan
from kopitra.domain.reducing import AWAY, entries_of, reducing, shrinks
from tests.unit.domain.copy_world import World, d, rule, signal

acts = st.lists(
    st.tuples(
        st.sampled_from(["enter", "add", "reduce", "exit", "reverse"]),
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=5,
)


@given(
    acts, st.sampled_from(["exit", "reduce", "reverse", "enter", "flatten"]), st.sampled_from(["buy", "sell"])
)
def test_the_shrinking_part_of_a_plan_opens_nothing_and_closes_all_the_same(
    before: list[tuple[str, str, int, bool]], action: str, side: str
) -> None:
    """R-071, R-072: closes and cancels as planned, no entry, and a target that nobody has to reach by opening."""
    world = World([rule("a1"), rule("a2")])
    for act, way, quantity, fills in before:
        world.say(act, side=way, quantity=Decimal(quantity))
        if fills:
            world.settle()
    told = signal(action, "last", side=side, quantity=d(2), occurred_at=world.now, received_at=world.now)
    whole = plan(told, world.book, world.rules, world.inputs())
    cut = reducing(whole, world.book)

    assert entries_of(cut) == 0
    assert shrinks(cut) or all(not leg.orders for leg in cut.legs)
    for leg, made in zip(cut.legs, whole.legs, strict=True):
        closes = [o.intent for o in made.orders if o.intent.role == "exit"]
        assert [o.intent for o in leg.orders if o.intent.role == "exit"] == closes
        assert leg.cancels == made.cancels
        opened = sum(o.intent.qty for o in made.orders if o.intent.role == "entry")
        if opened:
            assert leg.reason == AWAY
            assert made.target is not None
            assert leg.target is not None
            assert abs(leg.target - made.target) == opened
        else:
            assert leg.target == made.target
    assert reducing(cut, world.book) == cut
    world.note(SignalPlanned(told, cut))  # it folds like any plan
    world.settle()
