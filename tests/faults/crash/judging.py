"""What the brokers' ledgers, the journal and the book say about a run in which processes or the database died."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from gateway_container.engine.recovery import decode_row, read_book
from kopitra.domain.journal import EquityMarked
from kopitra.domain.orders import TERMINAL
from kopitra.store.journal_reader import replay, verify
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.switches import list_switches
from tests.integration.gateway.world import Street


@dataclass(slots=True)
class Verdict:
    """What went wrong: ids placed or signals planned more than once; answered acts and placed orders that no journal
    knows; everything else, in words."""

    doubled: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])

    @property
    def broken(self) -> list[str]:
        """All of it, in words."""
        return [
            *(f"{name} happened more than once (I-01)" for name in self.doubled),
            *(f"{name} is lost (I-02, I-07)" for name in self.lost),
            *self.wrong,
        ]


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered with yes: signals by their ids, and leaders that were stopped."""

    signals: Sequence[str]
    stopped: Sequence[str] = ()


async def judge(db: Database, on: Street, told: Told) -> Verdict:
    """By the ground truth, when everybody is flat and nothing is under way (H-4)."""
    book = await read_book(PostgresShelf(db), "main")
    found = Verdict()
    asked: Counter[str] = Counter()
    for sim in on.sims.values():
        asked += Counter(row.cl_ord_id for row in await sim.placements() if row.cl_ord_id)
    planned = await _planned(db)
    found.doubled += sorted(name for name, count in (*asked.items(), *planned.items()) if count > 1)
    found.lost += [name for name in told.signals if not planned[name]]
    found.lost += sorted(name for name in asked if name not in book.orders)
    halted = {row.scope_id for row in await list_switches(db) if row.state == "halted"}
    found.lost += [f"the stop of {name}" for name in told.stopped if name not in halted]
    found.wrong += [
        f"{order.intent.cl_ord_id} ended {order.state} (I-03)"
        for order in book.orders.values()
        if order.state not in TERMINAL
    ]
    found.wrong += [
        f"the book holds {position.qty} {contract} at {account_id} (I-08)"
        for (account_id, contract), position in sorted(book.positions.items())
        if position.qty
    ]
    found.wrong += await _sunk(db)
    if (checked := await verify(db, "main")).bad is not None:
        found.wrong.append(f"the journal's chain is broken: {checked.bad}")
    return found


class _SignalRow(msgspec.Struct, frozen=True):
    signal_id: str


async def _planned(db: Database) -> Counter[str]:
    """How often each signal stands in the journal (I-02)."""
    text = """
        select payload -> 'signal' ->> 'signal_id' as signal_id from journal where entry = 'SignalPlanned'"""
    async with db.session() as session:
        rows = await session.tuples(_SignalRow, text)
    return Counter(row.signal_id for row in rows)


async def _sunk(db: Database) -> list[str]:
    """High-water marks that went down (I-19)."""
    peaks: dict[str, Decimal] = {}
    sunk: list[str] = []
    async for row in replay(db, "main"):
        entry = decode_row(row)
        if isinstance(entry, EquityMarked):
            before = peaks.get(entry.account_id, Decimal(0))
            if entry.measure.peak < before:
                sunk.append(f"the mark of {entry.account_id} sank to {entry.measure.peak} (I-19)")
            peaks[entry.account_id] = entry.measure.peak
    return sunk
