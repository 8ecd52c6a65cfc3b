"""The engine's store in PostgreSQL: every operation of the seam, handed to the SQL of its noun."""

from collections.abc import Sequence
from datetime import datetime

from kopitra.domain.switches import SwitchScope
from kopitra.store import (
    config_changes,
    idempotency,
    journal_reader,
    lease_table,
    projections,
    server_clock,
    snapshots,
    switches,
)
from kopitra.store.config_changes import ChangeRow, Place
from kopitra.store.drafts import IdempotencyRecord, JournalRow, SignalRef
from kopitra.store.journal_questions import PostgresLine
from kopitra.store.pool import Database
from kopitra.store.projections import Projected, Shown
from kopitra.store.shelf import JournalLine, LeaseRow, OnDown, OnReply, TakeTry
from kopitra.store.snapshots import SnapshotRow
from kopitra.store.switches import SwitchRow


class PostgresShelf:
    """The `Shelf` over a pool; the journal's line goes straight to the pool's server."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def line(self, name: str, on_reply: OnReply, on_down: OnDown) -> JournalLine:
        """See `Shelf`; so for all that follow."""
        return await PostgresLine.open(self._db.dsn, name, on_reply, on_down)

    async def take_lease(self, shard: str, holder: str, build: str, ttl_s: float) -> TakeTry:
        return await lease_table.take_lease(self._db, shard, holder, build, ttl_s)

    async def renew_lease(self, shard: str, epoch: int, holder: str, ttl_s: float) -> bool:
        return await lease_table.renew_lease(self._db, shard, epoch, holder, ttl_s)

    async def release_lease(self, shard: str, epoch: int, holder: str, note: str) -> bool:
        return await lease_table.release_lease(self._db, shard, epoch, holder, note)

    async def read_lease(self, shard: str) -> LeaseRow | None:
        return await lease_table.read_lease(self._db, shard)

    async def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        return await journal_reader.read(self._db, shard, after, limit)

    async def signal_row(self, workspace: str, signal_id: str) -> JournalRow | None:
        return await journal_reader.signal_row(self._db, workspace, signal_id)

    async def recent_signals(self, shard: str, limit: int) -> list[SignalRef]:
        return await idempotency.recent_signals(self._db, shard, limit)

    async def recent_answers(self, now: datetime) -> list[IdempotencyRecord]:
        return await idempotency.recent_answers(self._db, now)

    async def find_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        return await idempotency.find_answer(self._db, workspace, principal, endpoint, key)

    async def purge_answers(self, now: datetime) -> int:
        return await idempotency.purge_answers(self._db, now)

    async def set_switch(self, row: SwitchRow, known: int | None = None) -> bool:
        return await switches.set_switch(self._db, row, known)

    async def read_switch(self, scope: SwitchScope, scope_id: str) -> SwitchRow | None:
        return await switches.read_switch(self._db, scope, scope_id)

    async def waiting_changes(self, limit: int) -> list[ChangeRow]:
        return await config_changes.waiting_changes(self._db, limit)

    async def mark_journalled(self, places: Sequence[tuple[int, Place]]) -> None:
        await config_changes.mark_journalled(self._db, places)

    async def purge_changes(self, now: datetime) -> int:
        return await config_changes.purge_changes(self._db, now)

    async def shown(self, shard: str, signals: int) -> Shown:
        return await projections.shown(self._db, shard, signals)

    async def write_projected(self, batch: Projected, shard: str, seq: int) -> None:
        await projections.write_projected(self._db, batch, (shard, seq))

    async def server_time(self) -> datetime:
        return await server_clock.server_time(self._db)

    async def save_snapshot(self, row: SnapshotRow) -> None:
        await snapshots.save_snapshot(self._db, row)

    async def latest_snapshot(self, shard: str, layout: int) -> SnapshotRow | None:
        return await snapshots.latest_snapshot(self._db, shard, layout)
