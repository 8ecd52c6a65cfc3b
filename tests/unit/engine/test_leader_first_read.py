"""The first read of a leader's account while the journal takes nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from gateway_container.engine.away import Away
from gateway_container.engine.config import GatewayConfig, LeaderConfig
from gateway_container.engine.intake import Intake
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.state import State
from kopitra.domain.book import LeaderPosition
from kopitra.domain.errors import Unavailable
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
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
