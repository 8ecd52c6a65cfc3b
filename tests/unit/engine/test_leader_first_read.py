"""The first read of a leader's account: while the journal takes nothing, and without a list of executions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gateway_container.engine.away import Away
from gateway_container.engine.config import GatewayConfig, LeaderConfig
from gateway_container.engine.intake import Intake
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.state import State
from kopitra.domain.book import LeaderPosition
from kopitra.domain.errors import Unavailable
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.signals import Signal
from tests.unit.domain.copy_world import ESZ6, NOW


class _Still:
    """Time stands still."""

    def now(self) -> datetime:
        return datetime(2026, 11, 20, 15, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 1


def _unheard(_code: str, _text: str, _account_id: str) -> None:
    """Alerts are not what this is about."""


def test_a_close_after_a_first_read_that_could_not_be_journalled_is_no_short_entry() -> None:
    """Simulation, seed 2018: followers went short behind a leader that had closed."""
    state = State(_Still())
    state.config = GatewayConfig(1, {}, {"L": LeaderConfig("L", "w", "Lead", "boss")}, {}, {})
    state.book.leaders["L", "ES"] = LeaderPosition(Decimal(9))

    def away(_snapshot: object) -> object:
        raise Unavailable("down")

    feed = LeaderFeed(state, object.__new__(Intake), object.__new__(Away), away, _unheard)
    taken: list[Signal] = []
    feed._take = lambda signal, _ns: taken.append(signal)
    feed.configure()
    held = AccountSnapshot("boss", (PositionReport("boss", ESZ6, Decimal(4), None, NOW),), (), (), None, 1)
    feed.look(held)
    sold = ExecutionReport(
        "boss", "b1", "trade", "filled", ESZ6, "sell", NOW, exec_id="x1", last_qty=Decimal(4), last_px=Decimal(5000)
    )  # fmt: skip
    feed.observe(sold)
    assert [(s.action, s.leader_position) for s in taken] == [("exit", 0)]
    feed.look(replace(held, positions=()))
    assert len(taken) == 1


def test_what_a_first_read_held_without_a_list_is_not_counted_again_from_the_next_list() -> None:
    """The leader was taken to hold 2 and was flat: its exit was no exit, and closed nothing."""
    state = State(_Still())
    state.config = GatewayConfig(1, {}, {"L": LeaderConfig("L", "w", "Lead", "boss")}, {}, {})
    state.book.leaders["L", "ES"] = LeaderPosition(Decimal(1))

    resets: list[LeaderSnapshot] = []
    feed = LeaderFeed(state, object.__new__(Intake), object.__new__(Away), resets.append, _unheard)
    taken: list[Signal] = []
    feed._take = lambda signal, _ns: taken.append(signal)
    feed.configure()
    held = AccountSnapshot("boss", (PositionReport("boss", ESZ6, Decimal(1), None, NOW),), (), None, None, 1)
    feed.look(held)
    before = state.clock.now() - timedelta(minutes=5)
    bought = ExecutionReport(
        "boss", "b1", "trade", "filled", ESZ6, "buy", before, exec_id="x1", last_qty=Decimal(1), last_px=Decimal(5000)
    )  # fmt: skip
    feed.look(replace(held, executions=(bought,), started_ns=2))
    sold = bought._replace(order_id="b2", side="sell", transact_time=state.clock.now(), exec_id="x2")
    feed.observe(sold)
    assert [(s.action, s.leader_position) for s in taken] == [("exit", 0)]
    assert resets == []
