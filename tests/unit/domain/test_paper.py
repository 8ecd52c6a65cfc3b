"""The paper market: orders and prices in, facts out."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.orders import OrderIntent
from kopitra.domain.paper import RESTING_MAX, PaperBook, PaperFact, PaperOrder, PaperPrice, paper_order
from kopitra.domain.signals import OrdType, Side

PRICE = PaperPrice(Decimal(99), Decimal(101), Decimal(100))
INTENT = OrderIntent("kp1", "ls1", "a", "lead", "e", "entry", "ESZ6", "buy", Decimal(2))


def at(bid: int, ask: int, last: int) -> PaperPrice:
    return PaperPrice(Decimal(bid), Decimal(ask), Decimal(last))


def order(name: str, ord_type: OrdType, side: Side = "buy", **more: object) -> PaperOrder:
    intent = INTENT._replace(cl_ord_id=name, ord_type=ord_type, side=side, **more)
    return paper_order(intent, f"paper-{name}", held=intent.parent is not None)


def words(facts: list[PaperFact]) -> list[tuple[str, str, Decimal | None]]:
    return [(fact.event, fact.order.cl_ord_id, fact.price) for fact in facts]


@pytest.mark.parametrize("side, price", [("buy", 101), ("sell", 99)])
def test_a_market_order_fills_at_the_touch(side: Side, price: int) -> None:
    book = PaperBook()
    facts = list(book.place(order("m", "market", side), [], PRICE))
    assert words(facts) == [("new", "m", None), ("trade", "m", Decimal(price))]
    assert book.orders == {}


def test_without_a_price_everything_rests_and_trades_when_there_is_one() -> None:
    book = PaperBook()
    resting = order("m", "market")
    assert words(list(book.place(resting, [], None))) == [("new", "m", None)]
    assert words(list(book.match(resting, PRICE))) == [("trade", "m", Decimal(101))]
    assert list(book.match(resting, PRICE)) == []


def test_a_limit_fills_at_the_touch_on_arrival_and_at_its_own_price_once_it_rested() -> None:
    book = PaperBook()
    assert words(list(book.place(order("x", "limit", price=Decimal(105)), [], PRICE)))[-1][2] == 101
    resting = order("l", "limit", price=Decimal(98))
    assert words(list(book.place(resting, [], PRICE))) == [("new", "l", None)]
    assert words(list(book.match(resting, at(90, 91, 90)))) == [("trade", "l", Decimal(98))]


def test_a_stop_is_triggered_by_the_last_trade_and_fills_at_the_touch() -> None:
    book = PaperBook()
    stop = order("s", "stop", "sell", stop_price=Decimal(95))
    assert words(list(book.place(stop, [], PRICE))) == [("new", "s", None)]
    assert list(book.match(stop, at(94, 97, 96))) == []
    assert words(list(book.match(stop, at(93, 95, 95)))) == [("trade", "s", Decimal(93))]


def test_a_trailing_stop_follows_and_never_goes_back() -> None:
    book = PaperBook()
    trail = order("t", "trailing_stop", "sell", trail_offset=Decimal(5))
    list(book.place(trail, [], PRICE))
    list(book.match(trail, at(109, 111, 110)))
    assert trail.stop_price == 105
    list(book.match(trail, at(105, 107, 106)))
    assert trail.stop_price == 105
    assert words(list(book.match(trail, at(104, 106, 105)))) == [("trade", "t", Decimal(104))]


def bracket(book: PaperBook, price: PaperPrice) -> list[PaperFact]:
    stop = order("s", "stop", "sell", stop_price=Decimal(95), parent="e")
    target = order("t", "limit", "sell", price=Decimal(110), parent="e")
    return list(book.place(order("e", "limit", price=Decimal(100)), [stop, target], price))


def test_a_bracket_waits_for_its_entry_and_one_leg_cancels_the_other() -> None:
    book = PaperBook()
    assert [w[:2] for w in words(bracket(book, PRICE))] == [
        ("new", "e"),
        ("suspended", "s"),
        ("suspended", "t"),
    ]
    assert list(book.match(book.orders["s"], at(90, 91, 90))) == []
    facts = list(book.match(book.orders["e"], at(98, 99, 99)))
    assert words(facts) == [("trade", "e", Decimal(100)), ("new", "s", None), ("new", "t", None)]
    facts = list(book.match(book.orders["t"], at(111, 112, 111)))
    assert words(facts) == [("trade", "t", Decimal(110)), ("canceled", "s", None)]
    assert book.orders == {}


def test_a_canceled_entry_takes_its_bracket_along() -> None:
    book = PaperBook()
    bracket(book, PRICE)
    assert [w[:2] for w in words(list(book.cancel("e")))] == [("canceled", n) for n in ("e", "s", "t")]
    assert list(book.cancel("e")) == []


def test_the_orders_of_an_account_are_bounded() -> None:
    book = PaperBook()
    for number in range(RESTING_MAX):
        list(book.place(order(f"o{number}", "market"), [], None))
    assert words(list(book.place(order("more", "market"), [], None))) == [("rejected", "more", None)]
    assert len(book.orders) == RESTING_MAX


_TYPES: list[OrdType] = ["market", "limit", "stop", "stop_limit", "trailing_stop"]


@given(
    st.lists(
        st.tuples(st.sampled_from(_TYPES), st.sampled_from(["buy", "sell"]), st.integers(90, 110)),
        max_size=12,
    ),
    st.lists(st.integers(80, 120), max_size=12),
)
def test_each_order_ends_at_most_once_and_no_limit_is_filled_worse(
    orders: list[tuple[OrdType, Side, int]], prices: list[int]
) -> None:
    book = PaperBook()
    facts: list[PaperFact] = []
    for number, (ord_type, side, level) in enumerate(orders):
        made = order(
            f"o{number}",
            ord_type,
            side,
            price=Decimal(level),
            stop_price=Decimal(level),
            trail_offset=Decimal(3),
        )
        facts += book.place(made, [], None)
    for last in prices:
        for one in tuple(book.orders.values()):
            facts += book.match(one, at(last - 1, last + 1, last))
    trades = [fact for fact in facts if fact.event == "trade"]
    assert len({fact.order.cl_ord_id for fact in trades}) == len(trades)
    assert len(trades) + len(book.orders) == len(orders)
    for fact in trades:
        limit, paid = fact.order.price, fact.price
        assert limit is not None
        assert paid is not None
        if fact.order.ord_type in ("limit", "stop_limit"):
            assert paid <= limit if fact.order.side == "buy" else paid >= limit
