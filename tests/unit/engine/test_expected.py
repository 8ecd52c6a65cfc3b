"""Expected but not seen: what did not happen in three seconds is an alert, and closes when it has happened."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway_container.engine.expected import CODE, SEEN_WITHIN_S, SIGNALS_MAX, Expected, is_seen
from gateway_container.engine.state import State
from kopitra.domain.book import ChildOrder
from kopitra.domain.fanout import FanoutPlan, FollowerLeg
from kopitra.domain.journal import AlertCleared, AlertRaised, Entry
from kopitra.domain.orders import TERMINAL, CancelIntent, OrderIntent
from kopitra.domain.orders import State as OrderState
from kopitra.domain.risk import Approved
from kopitra.domain.signals import OrdType
from tests.unit.engine.test_breakers import HandClock

NOW = datetime(2026, 11, 20, tzinfo=UTC)
INTENT = OrderIntent("kp1", "ls1", "a", "lead", "e", "entry", "ESZ6", "buy", Decimal(1))
LEG = FollowerLeg("a", "r", 1, "approved", "", "", "ES", None, None)


class Board:
    """A book with one order of one signal."""

    def __init__(self, intent: OrderIntent = INTENT, leg: FollowerLeg = LEG) -> None:
        self.clock = HandClock()
        self.state = State(self.clock)
        self.told: list[Entry] = []
        self.expected = Expected(self.state, lambda _w, entry: self.told.append(entry))
        self.child = ChildOrder(intent, "claimed", intent.qty)
        self.state.book.add(self.child)
        legs = (leg._replace(orders=(Approved(intent, None),)),)
        self.plan = FanoutPlan("ls1", "s1", NOW, 1, (), legs)
        self.expected.planned(self.plan, self.clock.monotonic_ns())

    def after(self, seconds: float) -> list[Entry]:
        self.clock.wait(seconds)
        self.expected.look()
        return self.told


def test_an_order_that_is_still_open_after_three_seconds_is_told_once_and_closed_when_it_ends() -> None:
    board = Board()
    assert board.after(SEEN_WITHIN_S - 0.1) == []
    board.after(0.2)
    board.after(5)
    assert [type(e) for e in board.told] == [AlertRaised]
    (told,) = board.told
    assert isinstance(told, AlertRaised)
    assert (told.code, told.account_id, told.cl_ord_id) == (CODE, "a", "kp1")
    board.child.state = "filled"
    assert board.after(0.25)[1:] == [AlertCleared(CODE, "kp1 is filled", "a", "kp1")]
    assert board.expected.open == 0


@pytest.mark.parametrize("state", sorted(TERMINAL | {"parked"}))
def test_what_has_ended_is_not_missed(state: OrderState) -> None:
    board = Board()
    board.child.state = state
    assert board.after(4) == []


@pytest.mark.parametrize("ord_type, told", [("limit", 0), ("stop", 0), ("market", 1)])
def test_an_acknowledged_resting_order_is_seen_and_a_market_order_must_fill(
    ord_type: OrdType, told: int
) -> None:
    board = Board(INTENT._replace(ord_type=ord_type))
    board.child.state = "working"
    assert len(board.after(4)) == told


def test_a_followers_own_delay_is_waited_for() -> None:
    board = Board(INTENT._replace(delay_ms=5_000))
    assert board.after(SEEN_WITHIN_S + 4.9) == []
    assert len(board.after(0.2)) == 1


def test_a_cancel_that_nobody_answered_is_missed() -> None:
    cancel = CancelIntent("kpc", "ls1", "a", "kp1")
    board = Board(leg=LEG._replace(cancels=(cancel,)))
    board.child.intent = INTENT._replace(ord_type="limit")
    board.child.state, board.child.cancel = "working", cancel
    assert len(board.after(4)) == 1
    board.child.cancel = None  # refused: people were told of that
    assert len(board.after(0.25)) == 2


def test_a_stop_that_waits_for_a_resting_entry_is_seen_and_a_close_that_waits_is_not() -> None:
    board = Board(INTENT._replace(ord_type="limit"))
    board.child.state = "working"
    stop = INTENT._replace(cl_ord_id="kp2", role="stop", after=("kp1",), parent="kp1")
    assert is_seen(board.state.book, ChildOrder(stop, "planned", Decimal(1)))
    close = INTENT._replace(cl_ord_id="kp3", role="exit", after=("kp1",))
    assert not is_seen(board.state.book, ChildOrder(close, "planned", Decimal(1)))


def test_memory_is_bounded_the_oldest_is_judged_at_once() -> None:
    board = Board()
    for _ in range(SIGNALS_MAX):
        board.expected.planned(board.plan, board.clock.monotonic_ns())
    assert len(board.told) == 1
