"""Reads of a leader's account: what its stream lost is found, and a read that is merely ahead is not believed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gateway_container.engine.away import Away
from gateway_container.engine.config import GatewayConfig, LeaderConfig
from gateway_container.engine.intake import Intake
from gateway_container.engine.leader_feed import QUIET_S, LeaderFeed
from gateway_container.engine.state import State
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.signals import Side, Signal
from tests.unit.domain.copy_world import NOW, d

E = "ESZ6"


class Watch:
    """Stands still unless moved."""

    def now(self) -> datetime:
        return datetime(2026, 11, 20, 15, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 1


class Heard:
    """A feed whose signals and resets are heard and go nowhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = state = State(Watch())
        leader = LeaderConfig("L", "w", "Lead", "boss")
        state.config = GatewayConfig(1, {}, {"L": leader}, {}, {})
        self.actions: list[str] = []
        self.resets: list[LeaderSnapshot] = []
        intake, away = object.__new__(Intake), object.__new__(Away)
        self.feed = LeaderFeed(state, intake, away, self.resets.append, _unheard)
        monkeypatch.setattr(self.feed, "_take", self._taken)
        self.feed.configure()

    def _taken(self, signal: Signal, _received_ns: int) -> None:
        self.actions.append(f"{signal.action} {signal.quantity}")

    def read(self, held: int | None, at_s: float, fills: Sequence[ExecutionReport] = ()) -> None:
        """A read that began at `at_s`."""
        positions = None if held is None else (PositionReport("boss", E, d(held), None, NOW),) * bool(held)
        self.feed.look(AccountSnapshot("boss", positions, None, tuple(fills), None, int(at_s * 1e9)))

    def counts(self, qty: int) -> None:
        """What the book says the leader holds."""
        self.state.book.leaders["L", "ES"] = leader = self.state.book.leader("L", "ES")
        leader.qty = Decimal(qty)


def _unheard(_code: str, _text: str, _account_id: str) -> None:
    """Alerts are judged elsewhere."""


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


def fill(exec_id: str, side: Side, qty: int) -> ExecutionReport:
    report = ExecutionReport("boss", f"o{exec_id}", "trade", "filled", E, "buy", NOW)
    return report._replace(side=side, exec_id=exec_id, last_qty=d(qty), last_px=d(5000))


def test_what_is_held_at_first_is_known_and_not_copied(heard: Heard) -> None:
    heard.read(2, 0, [fill("x1", "buy", 2)])
    heard.feed.observe(fill("x1", "buy", 2))
    assert heard.actions == []
    heard.feed.observe(fill("x2", "sell", 2))
    assert heard.actions == ["exit 2"]


def test_a_fill_that_the_stream_lost_is_found_by_its_id(heard: Heard) -> None:
    """R-042 for leaders: an exit that nobody told would leave every follower in the market."""
    heard.read(0, 0)
    heard.feed.observe(fill("x1", "buy", 2))
    heard.read(0, 60, [fill("x1", "buy", 2), fill("x2", "sell", 2)])
    assert heard.actions == ["enter 2", "exit 2"]
    heard.feed.observe(fill("x2", "sell", 2))
    assert heard.actions == ["enter 2", "exit 2"]


def test_a_read_ahead_of_the_stream_is_not_believed(heard: Heard) -> None:
    heard.read(0, 0)
    heard.feed.observe(fill("x1", "buy", 2))
    heard.counts(2)
    heard.read(0, 60)
    assert heard.resets == []
    heard.feed.observe(fill("x2", "sell", 2))
    assert heard.actions[-1] == "exit 2"


def test_a_difference_that_stands_still_is_believed(heard: Heard) -> None:
    """Where a broker lists no executions its positions are all there is."""
    heard.read(0, 0)
    heard.feed.observe(fill("x1", "buy", 2))
    heard.counts(2)
    heard.read(0, 60)
    heard.read(0, 60 + QUIET_S - 1)
    assert heard.resets == []
    heard.read(0, 60 + QUIET_S)
    assert [told.positions for told in heard.resets] == [()]


def test_news_between_two_reads_begin_the_wait_anew(heard: Heard) -> None:
    heard.read(0, 0)
    heard.feed.observe(fill("x1", "buy", 2))
    heard.counts(2)
    heard.read(0, 60)
    heard.feed.observe(fill("x3", "buy", 1))
    heard.read(0, 60 + QUIET_S)
    assert heard.resets == []


def test_a_read_without_positions_changes_nothing(heard: Heard) -> None:
    """R-044."""
    heard.read(0, 0)
    heard.feed.observe(fill("x1", "buy", 2))
    heard.counts(2)
    for at_s in (60, 70, 80):
        heard.read(None, at_s)
    assert heard.resets == []


def test_a_leader_that_left_while_nobody_looked_is_followed_at_the_first_read(heard: Heard) -> None:
    heard.counts(2)
    heard.read(0, 0)
    assert [told.positions for told in heard.resets] == [()]


def test_a_leader_that_grew_while_nobody_looked_is_not_followed_late(heard: Heard) -> None:
    """R-043."""
    heard.counts(2)
    heard.read(5, 0)
    assert heard.resets == []
