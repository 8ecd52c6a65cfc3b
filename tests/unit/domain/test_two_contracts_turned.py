"""R-013, R-038: the entry of a reversal waits for every close of the old side, in whatever contracts that is held."""

from decimal import Decimal

import pytest

from kopitra.domain.book import Book, Episode, Position
from kopitra.domain.fold import fold
from kopitra.domain.fold_reports import advance
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import ChildOrder, Event, OrderIntent, Role
from kopitra.domain.react import overdue, react
from kopitra.domain.signals import Side

D = Decimal
OLD, NEW = "ESZ6", "ESH7"


def intent(name: str, role: Role, symbol: str, side: Side, qty: int, *after: str) -> OrderIntent:
    return OrderIntent(
        name, "l", "a", "lead", name, role, symbol, side, D(qty), reduce_only=role != "entry", after=after
    )


@pytest.fixture
def book() -> Book:
    """Long one of each contract; both are being closed, and the entry on the other side waits for both."""
    book = Book()
    book.holdings["a", "lead"] = {OLD: Position(D(1), D(6800)), NEW: Position(D(1), D(6800))}
    book.episodes["lead", "a", "ES"] = Episode(D(1), D(1), D(2), D(-2))
    for one in (
        intent("old", "exit", OLD, "sell", 1),
        intent("new", "exit", NEW, "sell", 1, "stop"),
        intent("turn", "entry", NEW, "sell", 2, "old", "new"),
    ):
        book.add(ChildOrder(one, "planned" if one.after else "claimed", one.qty, planned_qty=one.qty))
    return book


def ends(book: Book, name: str, event: Event, filled: int = 0) -> FollowUp:
    """What follows from the end of an order."""
    order = book.orders[name]
    order.cum_qty = D(filled)
    if filled:
        book.holdings["a", "lead"][order.intent.symbol] = Position()
    advance(book, order, event, "")
    follow = react(book, order)
    fold(book, follow)
    return follow


def released(follow: FollowUp) -> list[str]:
    return [one.cl_ord_id for one in follow.released]


def test_r013_one_close_of_two_lets_no_entry_go(book: Book) -> None:
    assert released(ends(book, "old", "complete", 1)) == []
    assert book.orders["turn"].state == "planned"
    assert released(overdue(book, book.orders["new"])) == ["new"]
    fold(book, overdue(book, book.orders["new"]))
    assert released(ends(book, "new", "complete", 1)) == ["turn"]
    assert book.orders["turn"].state == "claimed"


def test_r013_a_close_that_fails_ends_the_entry_whatever_the_other_does(book: Book) -> None:
    assert ends(book, "old", "reject").dropped == ("turn",)
    assert book.orders["turn"].state == "skipped"
    fold(book, overdue(book, book.orders["new"]))
    assert released(ends(book, "new", "complete", 1)) == []


def test_r013_a_close_with_nothing_left_counts_as_over(book: Book) -> None:
    """Its stop had filled: the other close is the last one."""
    book.holdings["a", "lead"][NEW] = Position()
    follow = overdue(book, book.orders["new"])
    assert (follow.dropped, follow.released) == (("new",), ())
    fold(book, follow)
    assert released(ends(book, "old", "complete", 1)) == ["turn"]


def test_r013_the_last_close_has_nothing_left(book: Book) -> None:
    ends(book, "old", "complete", 1)
    book.holdings["a", "lead"][NEW] = Position()
    follow = overdue(book, book.orders["new"])
    assert (follow.dropped, released(follow)) == (("new",), ["turn"])
