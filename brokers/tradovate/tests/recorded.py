"""Recorded events of the vendor, and a joiner that takes them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from brokers.tradovate.entities import Command, CommandReport, Contract, ExecReport, Fill, Order, OrderVersion
from brokers.tradovate.join import Joiner
from brokers.tradovate.symbols import ContractBook
from brokers.tradovate.tracks import Missing, missing_of
from kopitra.domain.executions import ExecutionReport

RECORDINGS = Path(__file__).parents[1] / "recordings"
NS = 1_000_000_000


E = TypeVar("E")


class Event(msgspec.Struct, rename="camel"):
    """One recorded props event."""

    entity_type: str
    entity: Mapping[str, object]

    def but(self, **changes: object) -> "Event":
        return Event(self.entity_type, {**self.entity, **changes})


class Recording(msgspec.Struct):
    """A recorded flow."""

    contracts: list[Contract]
    events: list[Event]


class Bench:
    """A joiner, and what it said."""

    def __init__(self, *contracts: Contract) -> None:
        self.reports: list[ExecutionReport] = []
        self.asked: list[tuple[str, int]] = []
        book = ContractBook()
        book.learn(contracts)
        self.book = book
        self.joiner = Joiner(
            {4294967299: "acc"},
            book,
            self.reports.append,
            self.ask,
            lambda: datetime(2026, 11, 20, tzinfo=UTC),
            wait_s=0.25,
        )
        joiner = self.joiner
        self._takes: dict[str, Callable[[bytes, int], None]] = {
            "order": _reading(Order, joiner.on_order),
            "orderVersion": _reading(OrderVersion, joiner.on_version),
            "command": _reading(Command, joiner.on_command),
            "commandReport": _reading(CommandReport, joiner.on_command_report),
            "executionReport": _reading(ExecReport, joiner.on_execution_report),
            "fill": _reading(Fill, joiner.on_fill),
        }

    def take(self, event: Event, now_ns: int = 0) -> None:
        self._takes[event.entity_type](msgspec.json.encode(event.entity), now_ns)

    def ask(self, missing: Missing, key: int) -> bool:
        self.asked.append((missing, key))
        return True

    def overdue(self, now_ns: int) -> list[int]:
        """Ask for what is due; the orders that were asked for before are lost."""
        lost: list[int] = []
        for track in self.joiner.due(now_ns):
            if track.tries >= 3:
                lost.append(track.order_id)
                self.joiner.lose(track, now_ns)
                continue
            self.asked += missing_of(track, self.book)
            track.tries += 1
            self.joiner.asked(track, now_ns)
        return lost

    def kinds(self) -> list[str]:
        return [report.exec_type for report in self.reports]


def _reading(shape: type[E], use: Callable[[E, int], None]) -> Callable[[bytes, int], None]:
    return lambda payload, now_ns: use(msgspec.json.decode(payload, type=shape), now_ns)


def recording(name: str) -> tuple[Bench, list[Event]]:
    told = msgspec.json.decode((RECORDINGS / f"{name}.json").read_bytes(), type=Recording)
    return Bench(*told.contracts), told.events
