"""The folded state at a row of the journal, so that a start does not fold from the first row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kopitra.store.pool import Database, values_of

#: snapshots kept per shard; the older ones are only a second chance
KEPT_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """State after row `seq`. `layout` is the payload's format: a build reads only the layouts it knows."""

    shard: str
    seq: int
    layout: int
    payload: bytes
    at: datetime


async def save_snapshot(db: Database, row: SnapshotRow) -> None:
    """Store it and drop the oldest beyond KEPT_MAX."""
    text = """
        insert into snapshots (shard, seq, layout, payload, at)
        values (%(shard)s, %(seq)s, %(layout)s, %(payload)s, %(at)s)
        on conflict (shard, seq) do update
        set layout = excluded.layout, payload = excluded.payload, at = excluded.at"""
    prune = """
        delete from snapshots where shard = %(shard)s and seq < (
            select min(seq) from (
                select seq from snapshots where shard = %(shard)s order by seq desc limit %(kept)s) as
                newest)"""
    async with db.transaction() as session:
        await session.run(text, values_of(row))
        await session.run(prune, {"shard": row.shard, "kept": KEPT_MAX})


async def latest_snapshot(db: Database, shard: str, layout: int) -> SnapshotRow | None:
    """The newest snapshot of this layout, None when the fold must start from the first row."""
    text = """
        select shard, seq, layout, payload, at from snapshots
        where shard = %s and layout = %s order by seq desc limit 1"""
    return await db.row(SnapshotRow, text, (shard, layout))
