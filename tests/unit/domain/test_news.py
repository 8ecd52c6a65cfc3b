"""What a listing tells anew (R-003, R-004, R-021, I-12), and orders that the journal lost (R-077)."""

from decimal import Decimal

import pytest

from kopitra.domain.executions import ExecutionReport, OrdStatus
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.journal import Doubted, Reported, StrangerSeen
from kopitra.domain.news import filled_by, is_news, regained, strangers
from kopitra.domain.orders import ChildOrder
from tests.unit.domain.copy_world import ESZ6, World, d, rule


def listed(world: World, child: ChildOrder, status: OrdStatus, **more: object) -> ExecutionReport:
    """How a broker's list shows one of our orders."""
    name = child.intent.cl_ord_id
    report = ExecutionReport(
        "a1", f"b-{name}", "order_status", status, ESZ6, "buy", world.now, cl_ord_id=name
    )
    return report._replace(**more)


def execution(world: World, child: ChildOrder, **more: object) -> ExecutionReport:
    made = listed(world, child, "filled")._replace(
        exec_type="trade", exec_id="x1", last_qty=d(2), last_px=d(5000), cum_qty=d(2)
    )
    return made._replace(**more)


def entered() -> tuple[World, ChildOrder]:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    return world, world.child()


def test_what_was_told_is_no_news_r_021() -> None:
    world, entry = entered()
    assert is_news(world.book, listed(world, entry, "new"))
    world.accept(entry)
    assert not is_news(world.book, listed(world, entry, "new"))
    assert is_news(world.book, execution(world, entry))
    world.hear(execution(world, entry))
    assert not is_news(world.book, execution(world, entry))
    assert not is_news(world.book, listed(world, entry, "filled"))
    assert not is_news(world.book, listed(world, entry, "new"))


def test_a_doubt_ends_by_what_the_list_shows_found_by_id_only_r_009() -> None:
    world, entry = entered()
    world.note(Doubted(entry.intent.cl_ord_id, "a1", "no answer"))
    assert is_news(world.book, listed(world, entry, "new"))
    twin = listed(world, entry, "new", cl_ord_id=None, order_id="b-another")  # same symbol, side and quantity
    assert not is_news(world.book, twin)


def test_a_status_from_an_older_list_never_lowers_what_is_filled_r_004() -> None:
    world, entry = entered()
    world.hear(execution(world, entry))
    world.note(Reported(listed(world, entry, "partially_filled", cum_qty=d(1))))
    assert (entry.state, entry.cum_qty, world.held()) == ("filled", d(2), d(2))


@pytest.mark.parametrize("exec_id", ["x1", None], ids=["by id", "by hash of order, quantity, price and time"])
def test_each_execution_counts_once_r_003(exec_id: str | None) -> None:
    world, entry = entered()
    for _ in range(3):
        world.hear(execution(world, entry, exec_id=exec_id))
    assert world.held() == 2
    assert not is_news(world.book, execution(world, entry, exec_id=exec_id))


def test_another_price_under_the_same_id_adds_no_quantity_r_003() -> None:
    world, entry = entered()
    world.hear(execution(world, entry))
    world.hear(execution(world, entry, last_px=d(5001)))
    assert world.held() == 2
    assert world.book.positions["a1", ESZ6].avg_px == d(5000)


def test_without_ids_two_fills_that_differ_count_both_r_003() -> None:
    world, entry = entered()
    first = execution(world, entry, exec_id=None, last_qty=d(1), cum_qty=d(1))
    world.hear(first)
    world.hear(first._replace(cum_qty=d(2)))
    assert world.held() == 2


def test_an_order_of_ours_that_the_book_lost_is_a_stranger_once_r_077() -> None:
    world, entry = entered()
    mine = listed(world, entry, "filled")
    lost = mine._replace(cl_ord_id=cl_ord_id("ls1", "a1", "e"), order_id="b-9")
    foreign = mine._replace(cl_ord_id="byhand-1", order_id="b-8")
    assert strangers(world.book, [mine, lost, foreign]) == [lost]
    world.note(StrangerSeen("a1", lost.cl_ord_id or "", "b-9"))
    assert strangers(world.book, [lost]) == []


def test_a_plan_that_names_a_stranger_adopts_it_instead_of_writing_it_r_077() -> None:
    _, entry = entered()
    again = World([rule()])
    again.note(StrangerSeen("a1", entry.intent.cl_ord_id, "b-1"))
    again.say("enter", side="buy", quantity=d(2))
    adopted = again.child()
    assert adopted.intent.cl_ord_id == entry.intent.cl_ord_id
    assert adopted.state == "in_doubt"
    again.fill(adopted, d(2))
    assert (adopted.state, again.held()) == ("filled", Decimal(2))


def test_what_lost_orders_filled_is_summed_by_contract_r_077() -> None:
    world, entry = entered()
    bought = listed(world, entry, "partially_filled", cum_qty=d(3))
    sold = bought._replace(side="sell", cum_qty=d(1))
    nothing = bought._replace(symbol="NQZ6", cum_qty=d(0))
    assert filled_by([bought, sold, nothing]) == {ESZ6: d(2)}


def test_a_lost_close_of_a_known_list_is_its_leaders_again_r_077() -> None:
    """Its fills close what is attributed there; nobody writes it."""
    world, entry = entered()
    world.hear(execution(world, entry))
    name = cl_ord_id(entry.intent.list_id, "a1", "g4")
    lost = listed(world, entry, "filled")._replace(
        cl_ord_id=name, order_id="b-9", side="sell", order_qty=d(2), cum_qty=d(2)
    )
    world.note(StrangerSeen("a1", name, "b-9"))
    follow = regained(world.book, lost)
    assert follow is not None
    world.note(follow)
    close = world.book.orders[name]
    assert (close.state, close.intent.leader, close.intent.role) == ("in_doubt", "L", "exit")
    fill = execution(world, entry)._replace(
        cl_ord_id=name, order_id="b-9", side="sell", exec_id="x9", last_qty=d(2)
    )
    assert is_news(world.book, fill)
    world.hear(fill)
    assert (close.state, world.held()) == ("filled", 0)


@pytest.mark.parametrize(
    "other",
    [{"cl_ord_id": cl_ord_id("ls1", "a1", "g4")}, {"symbol": "NQZ6"}, {"order_qty": None}, {"leg": "e"}],
)
def test_a_lost_order_that_no_list_explains_stays_a_stranger_r_077(other: dict[str, object]) -> None:
    world, entry = entered()
    name = cl_ord_id(entry.intent.list_id, "a1", str(other.pop("leg", "g4")))
    lost = listed(world, entry, "filled")._replace(cl_ord_id=name, order_id="b-9", order_qty=d(2))
    world.note(StrangerSeen("a1", name, "b-9"))
    assert regained(world.book, lost._replace(**other)) is None
