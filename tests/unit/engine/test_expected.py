"""Expected but not seen: what did not happen in three seconds is an alert, and closes when it has happened."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway_container.engine.expected import AT_ONCE, CODE, SEEN_WITHIN_S, SIGNALS_MAX, Expected, is_seen
from gateway_container.engine.state import State
from kopitra.domain.book import ChildOrder
from kopitra.domain.executions import ExecType, ExecutionReport
from kopitra.domain.fanout import FanoutPlan, FollowerLeg
from kopitra.domain.fold import fold
from kopitra.domain.journal import AlertCleared, AlertRaised, Entry, FollowUp, OrdersSent, Reported, SentFact
from kopitra.domain.orders import TERMINAL, CancelIntent, OrderIntent, ReplaceIntent
from kopitra.domain.orders import State as OrderState
from kopitra.domain.repair import RepairPlan, RepairStep
from kopitra.domain.risk import Approved
from kopitra.domain.signals import OrdType
from kopitra.domain.sync import Drift
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
        self.expected.planned(self.plan.list_id, self.plan.legs, self.clock.monotonic_ns())

    def wants(self, move: ReplaceIntent) -> None:
        fold(self.state.book, FollowUp("", "a", replaces=(move,)))

    def leaves(self, move: ReplaceIntent) -> None:
        fold(self.state.book, OrdersSent("ls1", (SentFact(move.cl_ord_id, 0, 0, 0, orig_cl_ord_id="kp1"),)))

    def moved(self, answer: ExecType) -> None:
        report = ExecutionReport("a", "b1", answer, "new", "ESZ6", "buy", NOW, cl_ord_id="kp1")
        fold(self.state.book, Reported(report))

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


MOVES = tuple(ReplaceIntent(f"kpm{n}", "ls1", "a", "kp1", stop_price=Decimal(n)) for n in range(3))


def resting(*moves: ReplaceIntent) -> Board:
    """An order that rests, and moves of it that one signal asks for."""
    board = Board(INTENT._replace(ord_type="stop"), LEG._replace(replaces=moves))
    board.child.state = "working"
    for move in moves:
        board.wants(move)
    return board


def test_a_move_that_never_left_is_missed_until_it_arrives() -> None:
    """A stop that stays where it was is told, although its order rests."""
    board = resting(MOVES[0])
    assert board.after(SEEN_WITHIN_S - 0.1) == []
    (told,) = board.after(0.2)
    assert isinstance(told, AlertRaised)
    assert (told.code, told.cl_ord_id, "its move is not answered" in told.text) == (CODE, "kp1", True)
    board.leaves(MOVES[0])
    assert len(board.after(0.25)) == 1  # it left, and nobody answered
    board.moved("replaced")
    assert board.after(0.25)[1:] == [AlertCleared(CODE, "kp1 is working", "a", "kp1")]


def test_newer_moves_do_not_hide_one_that_never_left() -> None:
    """A leader that trails its stop each second: the first one's three seconds count."""
    board = resting(MOVES[0])
    for move in MOVES[1:]:
        board.clock.wait(1)
        board.wants(move)
    assert len(board.after(1.1)) == 1


@pytest.mark.parametrize("answer", ["replaced", "replace_rejected"])
def test_a_move_that_was_answered_is_not_missed_while_the_next_one_waits(answer: ExecType) -> None:
    """A refusal was told to people already; the next move has three seconds of its own."""
    board = resting(MOVES[0])
    board.leaves(MOVES[0])
    board.wants(MOVES[1])
    board.moved(answer)
    assert board.after(4) == []


def test_a_repairs_orders_are_waited_for() -> None:
    board = Board()
    board.after(4)
    board.told.clear()
    repair = INTENT._replace(cl_ord_id="kpr", list_id="rp1")
    board.state.book.add(ChildOrder(repair, "claimed", repair.qty))
    one = Decimal(1)
    drift = Drift("a", "ESZ6", "lead", "missed_open", one, one, Decimal(0), Decimal(0))
    step = RepairStep(drift, "approved", approved=Approved(repair, None))
    board.expected.repaired(RepairPlan("rp1", "dr1", "w", NOW, (step,)))
    (told,) = board.after(4)
    assert isinstance(told, AlertRaised)
    assert (told.account_id, told.cl_ord_id) == ("a", "kpr")


def test_what_a_predecessor_planned_has_three_seconds_from_the_start() -> None:
    """Its orders, its cancels and its moves; not what rests, what has ended, and a flatten's own closes."""
    state, told = State(clock := HandClock()), list[Entry]()
    cancel = CancelIntent("kpc", "ls3", "a", "kp3")
    limit = INTENT._replace(ord_type="limit")
    children: tuple[tuple[int, str, OrderState], ...] = (
        (1, "a", "claimed"), (2, "b", "working"), (3, "c", "working"), (4, "d", "working"), (5, "e", "filled"),
    )  # fmt: skip
    for n, account_id, child_state in children:
        intent = limit._replace(cl_ord_id=f"kp{n}", list_id=f"ls{n}", account_id=account_id)
        state.book.add(ChildOrder(intent, child_state, intent.qty))
    closing = INTENT._replace(cl_ord_id="kp6", list_id="ls6", account_id="f", leader="")
    state.book.add(ChildOrder(closing, "claimed", closing.qty))
    state.book.orders["kp3"].cancel = cancel
    fold(state.book, FollowUp("", "d", replaces=(MOVES[0]._replace(account_id="d", orig_cl_ord_id="kp4"),)))

    expected = Expected(state, lambda _w, entry: told.append(entry))
    expected.take_up()
    clock.wait(SEEN_WITHIN_S - 0.1)
    expected.look()
    assert told == []
    clock.wait(0.2)
    expected.look()
    assert [e.cl_ord_id for e in told if isinstance(e, AlertRaised)] == ["kp1", "kp3", "kp4"]


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
        board.expected.planned(board.plan.list_id, board.plan.legs, board.clock.monotonic_ns())
    assert len(board.told) == 1


def test_many_signals_are_judged_in_several_turns_and_none_is_left_out() -> None:
    board = Board()
    for number in range(2 * AT_ONCE):
        board.expected.planned(f"ls{number + 2}", (), board.clock.monotonic_ns())
    board.clock.wait(SEEN_WITHIN_S)
    assert [board.expected.look() for _ in range(3)] == [True, True, False]
    assert [entry for entry in board.told if isinstance(entry, AlertRaised)] == board.told != []
