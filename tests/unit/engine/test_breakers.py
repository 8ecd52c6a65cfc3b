"""R-053, R-054: the engine's breakers, with a clock in hand."""

from datetime import UTC, datetime

import pytest

from brokers._kit.breaker import Permit
from gateway_container.engine.breakers import EXITS_MAX, Breakers
from kopitra.ports import NotSent

NS = 1_000_000_000


class HandClock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now_ns = NS

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ns / NS, UTC)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS)


class Board:
    """Breakers, their clock, and what they told."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.breakers = Breakers(self.clock)
        self.told: list[tuple[str, str]] = []
        self.breakers.attach(lambda code, _text, account: self.told.append((code, account)))

    def break_down(self, account_id: str = "a") -> None:
        for number in range(5):
            self.breakers.failed(account_id, f"{account_id}{number}")

    def probe(self, account_id: str = "a") -> Permit:
        permit = self.breakers.probe(account_id)
        assert permit is not None
        return permit


@pytest.fixture
def board() -> Board:
    return Board()


def test_r053_five_failures_in_a_row_open_one_account_and_say_so_once(board: Board) -> None:
    board.break_down("a")
    board.breakers.failed("a", "one more")
    board.breakers.failed("b", "x")
    assert (board.breakers.state("a"), board.breakers.state("b")) == ("open", "closed")
    assert list(board.breakers.shut) == ["a"]
    assert board.told == [("breaker-open", "a")]


def test_r053_an_answer_between_the_failures_keeps_it_closed_even_a_refusal(board: Board) -> None:
    for number in range(20):
        board.breakers.failed("a", f"{number}") if number % 3 else board.breakers.answered("a", f"{number}")
        board.clock.wait(4)  # so that fewer than ten calls lie in the window
    assert board.breakers.state("a") == "closed"


def test_r053_more_than_half_of_ten_calls_in_thirty_seconds_open_it(board: Board) -> None:
    for number in range(9):
        board.breakers.failed("a", f"{number}") if number % 2 == 0 else board.breakers.answered(
            "a", f"{number}"
        )
    assert board.breakers.state("a") == "closed"
    board.breakers.failed("a", "9")
    assert board.breakers.state("a") == "open"


def test_r053_half_open_is_exactly_one_read_and_its_failure_doubles_the_wait(board: Board) -> None:
    board.break_down()
    assert board.breakers.probe("a") is None
    board.clock.wait(6.1)  # 5 s and up to a fifth by chance
    permit = board.probe()
    assert board.breakers.probe("a") is None
    board.breakers.probed("a", permit, False)
    board.clock.wait(6.1)
    assert board.breakers.probe("a") is None
    board.clock.wait(6.1)
    board.breakers.probed("a", board.probe(), True)
    assert board.breakers.state("a") == "closed"
    assert not board.breakers.shut
    assert [code for code, _ in board.told] == ["breaker-open", "breaker-closed"]


def test_r054_an_open_breaker_lets_one_exit_pass_a_second(board: Board) -> None:
    board.break_down()
    assert board.breakers.hold("a", "x1") is None
    held = board.breakers.hold("a", "x2")
    assert isinstance(held, NotSent)
    assert held.reason == "busy"
    assert 0 < held.retry_after_s <= 1
    board.clock.wait(held.retry_after_s)
    assert board.breakers.hold("a", "x2") is None


def test_r054_only_an_exit_that_worked_closes_it(board: Board) -> None:
    board.break_down()
    board.breakers.answered("a", "an order from before")
    assert board.breakers.state("a") == "open"
    assert board.breakers.hold("a", "x1") is None
    board.breakers.failed("a", "x1")
    assert board.breakers.state("a") == "open"
    board.clock.wait(1)
    assert board.breakers.hold("a", "x2") is None
    board.breakers.answered("a", "x2")
    assert board.breakers.state("a") == "closed"


def test_r054_exits_of_other_accounts_are_not_held(board: Board) -> None:
    board.break_down("a")
    assert all(board.breakers.hold("b", f"x{number}") is None for number in range(10))


def test_i24_exits_that_are_never_answered_are_forgotten(board: Board) -> None:
    board.break_down()
    for number in range(EXITS_MAX + 10):
        assert board.breakers.hold("a", f"x{number}") is None
        board.clock.wait(1)
    board.breakers.answered("a", "x0")
    assert board.breakers.state("a") == "open"
    board.breakers.answered("a", f"x{EXITS_MAX + 9}")
    assert board.breakers.state("a") == "closed"
