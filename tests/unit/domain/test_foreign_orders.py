"""R-043, R-047: working orders that nobody here sent stop the entries of their contract; ours are never among them."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.book import Book
from kopitra.domain.executions import ExecutionReport, OrdStatus
from kopitra.domain.foreign_orders import (
    EXTERNAL,
    FOREIGN_ORDERS,
    Foreign,
    blocks,
    foreign_orders,
    shown_twice,
)
from kopitra.domain.journal import Doubted, EntriesBlocked, OrdersSent, SentFact
from kopitra.domain.orders import ZERO, ChildOrder
from kopitra.domain.signals import Side, StopLoss
from kopitra.domain.sync import ACCEPTED_ORDERS_MAX
from tests.unit.domain.copy_world import ESZ6, MESZ6, NOW, World, d, rule
from tests.unit.domain.drift_world import by_hand, compared, note

#: nanoseconds that two reads lie apart here
APART_NS = 5
NONE: Foreign = Foreign({}, frozenset())


def listed(
    order_id: str,
    qty: str = "1",
    side: Side = "buy",
    *,
    price: str | None = "4000",
    symbol: str = ESZ6,
    status: OrdStatus = "new",
    cl_ord_id: str | None = None,
    parent_order_id: str | None = None,
) -> ExecutionReport:
    """An order as a broker's list shows it."""
    return ExecutionReport(
        "a1", order_id, "order_status", status, symbol, side, NOW,
        order_qty=d(qty), price=None if price is None else d(price),
        cl_ord_id=cl_ord_id, parent_order_id=parent_order_id,
    )  # fmt: skip


def seen(world: World, *reports: ExecutionReport) -> Foreign:
    """What one list shows of account a1."""
    return foreign_orders(world.book, "a1", reports)


def resting(**fields: object) -> tuple[World, ChildOrder]:
    """A copy of a resting order that has left and was not answered."""
    world = World([rule(**fields)])
    world.say("enter", side="buy", quantity=d(2), ord_type="limit", price=d(4990), leader_order_id="o1")
    return world, world.child()


def is_claimed(child: ChildOrder) -> bool:
    """The broker has not answered."""
    return child.state == "claimed" and child.order_id is None


# whose is it -------------------------------------------------------------------------------------------------


def test_r047_a_working_order_that_no_order_of_ours_explains_is_foreign() -> None:
    world, _ = resting()
    assert seen(world, listed("7"), listed("8", cl_ord_id="theirs"), listed("6", symbol=MESZ6)) == Foreign(
        {MESZ6: ("6",), ESZ6: ("7", "8")}, frozenset()
    )


@pytest.mark.parametrize("status", ["filled", "canceled", "rejected", "expired"])
def test_an_order_that_is_over_stops_nothing(status: OrdStatus) -> None:
    assert seen(World([rule()]), listed("7", status=status)) == NONE


def test_ours_are_known_by_our_id_by_the_brokers_and_by_their_entrys() -> None:
    world, child = resting()
    name = child.intent.cl_ord_id
    assert seen(world, listed("b-x", cl_ord_id=name)) == NONE
    world.accept(child)
    assert seen(world, listed(f"b-{name}"), listed("leg", parent_order_id=f"b-{name}")) == NONE


def test_an_id_of_our_making_that_the_journal_lost_is_told_elsewhere_and_blocks_nothing() -> None:
    """R-077: a plan that names it adopts it, which a block would prevent."""
    assert seen(World([rule()]), listed("7", cl_ord_id="kp00aa-e")) == NONE


@pytest.mark.parametrize("state", ["claimed", "in_doubt"])
@pytest.mark.parametrize(
    "qty, price, unsure", [("2", "4000", True), ("1", "4990", True), ("1", "4000", False)]
)
def test_an_order_that_may_be_ours_by_size_or_price_is_not_judged_while_ours_has_no_name_at_the_broker(
    state: str, qty: str, price: str, unsure: bool
) -> None:
    world, child = resting()
    if state == "in_doubt":
        world.note(Doubted(child.intent.cl_ord_id, "a1", "no answer"))
    else:
        assert is_claimed(child)
    found = seen(world, listed("7", qty, price=price))
    assert found == (Foreign({}, frozenset({ESZ6})) if unsure else Foreign({ESZ6: ("7",)}, frozenset()))


def test_an_order_with_a_name_of_somebody_else_is_foreign_whatever_its_size() -> None:
    world, _ = resting()
    assert seen(world, listed("7", "2", price="4990", cl_ord_id="theirs")).orders == {ESZ6: ("7",)}


@pytest.mark.parametrize("side, symbol", [("sell", ESZ6), ("buy", MESZ6)])
def test_another_side_or_contract_is_never_ours(side: Side, symbol: str) -> None:
    world, _ = resting()
    assert seen(world, listed("7", "2", side, price="4990", symbol=symbol)).orders == {symbol: ("7",)}


def test_a_move_that_is_on_its_way_may_have_made_a_new_order_of_ours() -> None:
    world, child = resting()
    world.accept(child)
    moved = listed("b-new", "2", price="4980")
    assert seen(world, moved).orders == {ESZ6: ("b-new",)}
    world.say("replace", price=d(4980), leader_order_id="o1")
    assert child.replace is not None
    fact = SentFact(child.replace.cl_ord_id, 0, 0, 0, orig_cl_ord_id=child.intent.cl_ord_id)
    world.note(OrdersSent("", (fact,)))
    assert seen(world, moved) == Foreign({}, frozenset({ESZ6}))


def test_a_list_that_tells_no_size_may_show_ours() -> None:
    world, _ = resting()
    assert seen(world, listed("7")._replace(order_qty=None)).unsure == {ESZ6}


# two reads ---------------------------------------------------------------------------------------------------


def test_r043_one_read_is_not_believed_and_a_second_one_far_enough_apart_is() -> None:
    book, foreign = Book(), Foreign({ESZ6: ("7",)}, frozenset())
    first = shown_twice(book, "a1", foreign, {}, 100, APART_NS)
    early = shown_twice(book, "a1", foreign, first.since_ns, 104, APART_NS)
    second = shown_twice(book, "a1", foreign, early.since_ns, 105, APART_NS)
    assert (first.confirmed, early.confirmed, second.confirmed) == ({}, {}, {ESZ6: ("7",)})


def test_a_read_between_that_shows_nothing_begins_anew_and_one_that_is_unsure_does_not() -> None:
    book, foreign = Book(), Foreign({ESZ6: ("7",)}, frozenset())
    for between, believed in ((NONE, False), (Foreign({}, frozenset({ESZ6})), True)):
        since = shown_twice(book, "a1", foreign, {}, 100, APART_NS).since_ns
        since = shown_twice(book, "a1", between, since, 103, APART_NS).since_ns
        assert bool(shown_twice(book, "a1", foreign, since, 106, APART_NS).confirmed) is believed


def test_another_copier_that_replaces_its_orders_between_the_reads_is_seen() -> None:
    since = shown_twice(Book(), "a1", Foreign({ESZ6: ("7",)}, frozenset()), {}, 100, APART_NS).since_ns
    later = shown_twice(Book(), "a1", Foreign({ESZ6: ("8",)}, frozenset()), since, 105, APART_NS)
    assert later.confirmed == {ESZ6: ("8",)}


# what follows ------------------------------------------------------------------------------------------------


def judge(
    world: World, foreign: Mapping[str, tuple[str, ...]], unsure: frozenset[str] = frozenset()
) -> list[str]:
    """Journal what a comparison stops and lifts; the reasons."""
    found = blocks(world.book, "a1", foreign, unsure)
    for entry in found:
        world.note(entry)
    return [entry.reason for entry in found]


def test_r043_entries_of_the_contract_stop_exits_and_other_contracts_go_on_and_it_lifts_itself() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2), stop_loss=StopLoss(d(4900)))
    world.settle()
    assert judge(world, {ESZ6: ("7",)}) == [FOREIGN_ORDERS]
    assert judge(world, {ESZ6: ("7",)}) == []
    added = world.leg("add", side="buy", quantity=d(1), leader_position=d(3))
    assert (added.outcome, added.reason) == ("refused", "entries_blocked")
    assert world.leg("enter", side="buy", quantity=d(1), symbol="NQ").outcome == "approved"
    less = world.leg("reduce", quantity=d(2), leader_position=d(1))
    assert less.outcome == "approved"
    world.say("exit", leader_position=ZERO)
    world.settle()
    assert world.held() == 0
    assert judge(world, {}) == [""]
    assert world.leg("enter", side="buy", quantity=d(1), leader_position=d(1)).outcome == "approved"


def test_a_block_stays_while_it_cannot_be_told_whose_the_order_is() -> None:
    world = World([rule()])
    judge(world, {ESZ6: ("7",)})
    assert judge(world, {}, frozenset({ESZ6})) == []
    assert world.book.sync.blocked == {("a1", ESZ6): FOREIGN_ORDERS}
    assert judge(world, {}) == [""]


def test_orders_that_a_person_accepted_are_not_told_again_and_new_ones_are() -> None:
    world = World([rule()])
    judge(world, {ESZ6: ("7",)})
    judge(world, {ESZ6: ("7", "8")})
    world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    assert seen(world, listed("7"), listed("8")) == NONE
    assert seen(world, listed("7"), listed("9")).orders == {ESZ6: ("9",)}
    judge(world, {ESZ6: ("9",)})
    world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    assert seen(world, listed("7"), listed("8"), listed("9")) == NONE
    assert world.refolded().sync == world.book.sync


def test_what_lifts_itself_accepts_nothing() -> None:
    world = World([rule()])
    judge(world, {ESZ6: ("7",)})
    judge(world, {})
    assert seen(world, listed("7")).orders == {ESZ6: ("7",)}


def test_so_many_accepted_orders_are_remembered() -> None:
    world = World([rule()])
    for number in range(ACCEPTED_ORDERS_MAX + 1):
        judge(world, {ESZ6: (str(number),)})
        world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    assert seen(world, listed("0"), listed("1")).orders == {ESZ6: ("0",)}


def test_foreign_contracts_and_foreign_orders_hold_the_block_for_each_other() -> None:
    world = World([rule()])
    by_hand(world, "buy", d(1), heard=False)
    note(world, *compared(world).drifts)
    assert judge(world, {ESZ6: ("7",)}) == [EXTERNAL]
    world.book.sync.drifts.clear()  # it was closed
    assert judge(world, {ESZ6: ("7",)}) == [FOREIGN_ORDERS]
    assert judge(world, {}) == [""]


def test_a_flatten_that_confirmed_flat_leaves_no_block_behind() -> None:
    world = World([rule()])
    by_hand(world, "buy", d(1), heard=False)
    note(world, *compared(world).drifts)
    judge(world, {ESZ6: ("7",)})
    world.book.went_flat("a1")
    assert judge(world, {}) == [""]
    assert world.book.sync.foreign_orders == {}


def test_blocks_with_other_reasons_are_left_alone() -> None:
    world = World([rule()])
    world.note(EntriesBlocked("a1", "execution x1 was 1, is now 2", ESZ6))
    assert judge(world, {ESZ6: ("7",)}) == []
    assert judge(world, {}) == []


# properties --------------------------------------------------------------------------------------------------

#: what one read shows in two contracts, and how long after the one before it began
READS = st.lists(
    st.tuples(
        st.integers(1, 7), st.sets(st.sampled_from("123")), st.sets(st.sampled_from("45")), st.booleans()
    ),
    max_size=25,
)


@given(READS)
def test_r043_a_contract_is_stopped_exactly_while_reads_agree_on_foreign_orders(
    reads: list[tuple[int, set[str], set[str], bool]],
) -> None:
    """R-043, R-047: it begins with the first read that lies far enough after one that showed foreign orders too,
    with none between that showed none; it ends with the first that shows none, or by a person's word."""
    world = World([rule()])
    began_ns, since = 0, dict[str, int]()
    expected: dict[str, int | None] = {}
    accepted: set[str] = set()
    for gap_ns, es, mes, lifts in reads:
        began_ns += gap_ns
        shown = [listed(i) for i in sorted(es)] + [listed(i, symbol=MESZ6) for i in sorted(mes)]
        foreign = seen(world, *shown)
        told = shown_twice(world.book, "a1", foreign, since, began_ns, APART_NS)
        since = dict(told.since_ns)
        judge(world, told.confirmed)
        for contract, ids in ((ESZ6, es - accepted), (MESZ6, mes - accepted)):
            first = expected.get(contract)
            expected[contract] = None if not ids else began_ns if first is None else first
            is_blocked = world.book.sync.blocked.get(("a1", contract)) == FOREIGN_ORDERS
            at = expected[contract]
            assert is_blocked is (at is not None and began_ns - at >= APART_NS)
        if lifts and ("a1", ESZ6) in world.book.sync.blocked:
            accepted |= es
            world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    assert world.refolded().sync == world.book.sync


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["rest", "move", "accept", "fill", "cancel", "doubt", "exit"]), st.integers(1, 4)
    ),
    max_size=12,
)


@given(ACTS, st.booleans())
def test_r047_an_order_of_ours_is_never_foreign_whatever_the_broker_lists_of_it(
    acts: list[tuple[str, int]], names: bool
) -> None:
    """R-043: with our id or without it, before its answer was heard, while it moves and after it is over."""
    world = World([rule()])
    for number, (act, qty) in enumerate(acts):
        _do(world, act, number, d(qty))
        shown = [
            _as_listed(o, names) for o in world.book.orders.values() if o.state not in ("planned", "skipped")
        ]
        assert seen(world, *shown).orders == {}


def _do(world: World, act: str, number: int, qty: Decimal) -> None:
    live = [o for o in world.open() if o.state != "planned"]
    match act:
        case "rest":
            world.say(
                "enter",
                side="buy",
                quantity=qty,
                ord_type="limit",
                price=4990 - qty,
                leader_order_id=f"o{number}",
            )
        case "move":
            if live and live[0].intent.leader_order_id:
                world.say("replace", price=4900 - qty, leader_order_id=live[0].intent.leader_order_id)
        case "exit":
            world.say("exit", leader_position=ZERO)
        case "cancel":
            world.say("cancel")
        case "doubt" if live:
            world.note(Doubted(live[-1].intent.cl_ord_id, "a1", "no answer"))
        case "accept" if live:
            world.accept(live[-1])
        case "fill" if live:
            world.fill(live[0])
        case _:
            pass


def _as_listed(order: ChildOrder, names: bool) -> ExecutionReport:
    """The broker lists it as working all the same: its list may be old, and it knows ids that we have not heard."""
    intent, move = order.intent, order.replace
    price = move.price if move is not None and move.price is not None else order.price or intent.price
    report = listed(f"b-{intent.cl_ord_id}", str(order.qty), intent.side, symbol=intent.symbol, price=None)
    return report._replace(price=price, cl_ord_id=intent.cl_ord_id if names else None)
