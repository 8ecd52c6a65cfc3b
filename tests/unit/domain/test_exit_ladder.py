"""R-064, R-065: how an exit that nobody takes is tried again."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.book import Book
from kopitra.domain.exit_ladder import COLLAR_TICKS, as_rung, pause_s, rung_of, rungs
from kopitra.domain.fold import fold
from kopitra.domain.journal import ExitPending
from kopitra.domain.orders import OrderIntent
from kopitra.domain.pending_exits import ExitKey
from kopitra.domain.react import close_again, react
from kopitra.domain.signals import Side
from tests.unit.domain.copy_world import ESZ6, NOW, World, d, rule

KEY = ExitKey("a1", "L", ESZ6)


def close(side: Side) -> OrderIntent:
    return OrderIntent("c", "l", "a1", "L", "g1", "exit", ESZ6, side, Decimal(2), reduce_only=True)


@given(st.integers(0, 10_000), st.datetimes(timezones=st.just(UTC)))
def test_r064_never_more_often_than_once_a_second_and_always_again(tries: int, now: datetime) -> None:
    assert 1.0 <= pause_s(tries, now) <= 30.0
    assert pause_s(tries + 1, now) >= pause_s(tries, now)


def test_r064_once_a_second_around_the_reopen_however_long_it_took() -> None:
    # 17:00 in Chicago is 23:00 UTC in winter and 22:00 in summer.
    assert pause_s(5_000, datetime(2026, 11, 20, 22, 59, 30, tzinfo=UTC)) == 1.0
    assert pause_s(5_000, datetime(2026, 7, 20, 22, 0, 30, tzinfo=UTC)) == 1.0
    assert pause_s(5_000, datetime(2026, 11, 20, 22, 0, 30, tzinfo=UTC)) == 30.0


def test_r065_the_ladder_is_what_the_broker_offers_and_ends_with_a_market_order() -> None:
    whole = rungs(native=True, ioc=True)
    assert [rung_of(n, whole) for n in range(4)] == ["native", "collar", "market", "native"]
    assert rungs(native=False, ioc=False) == ("market",)


@pytest.mark.parametrize("side, price", [("sell", "6795"), ("buy", "6805")])
def test_r065_a_collar_is_a_limit_that_never_rests_and_bounds_the_price(side: Side, price: str) -> None:
    assert COLLAR_TICKS == 20
    shaped = as_rung(close(side), "collar", Decimal(6800))
    assert (shaped.ord_type, shaped.price, shaped.time_in_force) == ("limit", Decimal(price), "ioc")
    assert shaped.reduce_only
    assert as_rung(close(side), "collar", None).ord_type == "market"
    assert as_rung(close(side), "native", None).native


def test_r065_while_an_exit_is_pending_only_its_own_driver_closes() -> None:
    """A report beside it must not send a close of its own into the closed market; a repeated fact changes nothing."""
    world = World([rule()])
    world.leg("enter", side="buy", quantity=d(2))
    entry = next(o for o in world.book.orders.values() if o.intent.role == "entry")
    world.fill(entry, d(2))
    world.leg("exit")
    book = world.book
    exit_ = next(o for o in book.orders.values() if o.intent.role == "exit")
    world.report(exit_, "rejected", "rejected")
    exit_ = next(o for o in book.orders.values() if o.intent.leg.startswith("g"))
    assert exit_.state == "claimed"
    world.report(exit_, "rejected", "rejected")
    other = next(o for o in book.orders.values() if o.intent.role == "entry")
    assert react(book, other).released, "any other report would close again"
    for _ in range(2):
        fold(book, ExitPending(*KEY, exit_.intent.cl_ord_id, "closed", 1, NOW))
    assert book.pending_exits[KEY].tries == 1
    assert not react(book, other).released
    again = close_again(book, exit_).released
    assert [(i.side, i.qty, i.reduce_only) for i in again] == [("sell", 2, True)]
    fold(book, ExitPending(*KEY, exit_.intent.cl_ord_id, "", 1, NOW, over=True))
    assert not book.pending_exits


def test_an_end_of_what_was_never_pending_changes_nothing() -> None:
    book = Book()
    fold(book, ExitPending(*KEY, "x", "", 0, NOW, over=True))
    assert not book.pending_exits
