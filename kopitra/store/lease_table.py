"""The lease rows in PostgreSQL: statements only. What they mean to a process is `lease.py`."""

from dataclasses import dataclass
from typing import Final

from kopitra.store.builds import check_build
from kopitra.store.pool import Database
from kopitra.store.shelf import LeaseRow, TakeTry

_READ_SQL: Final = """
    select shard, holder, epoch, extract(epoch from expires_at - clock_timestamp())::float8 as left_s,
           released, note, build
    from lease where shard = %(shard)s"""
_LOCK_SQL: Final = _READ_SQL + " for update"
_TAKE_SQL: Final = """
    insert into lease (shard, holder, epoch, expires_at, released, note, build)
    values (%(shard)s, %(holder)s, 1, clock_timestamp() + make_interval(secs => %(ttl_s)s),
            false, '', %(build)s)
    on conflict (shard) do update
    set holder = excluded.holder, epoch = lease.epoch + 1, expires_at = excluded.expires_at,
        released = false, note = '', build = excluded.build
    where lease.released or lease.expires_at <= clock_timestamp()
    returning epoch"""
_RENEW_SQL: Final = """
    update lease set expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
    where shard = %(shard)s and epoch = %(epoch)s and holder = %(holder)s and not released"""
_RELEASE_SQL: Final = """
    update lease set released = true, expires_at = clock_timestamp(), note = %(note)s
    where shard = %(shard)s and epoch = %(epoch)s and holder = %(holder)s"""

_FENCE_SQL: Final = "update lease set epoch = epoch + 1, note = %(note)s where shard = %(shard)s"


@dataclass(frozen=True, slots=True)
class _EpochRow:
    epoch: int


async def take_lease(db: Database, shard: str, holder: str, build: str, ttl_s: float) -> TakeTry:
    """See `LeaseTable.take_lease`."""
    values = {"shard": shard, "holder": holder, "ttl_s": ttl_s, "build": build}
    async with db.transaction() as session:
        before = await session.row(LeaseRow, _LOCK_SQL, values)
        taken = await session.row(_EpochRow, _TAKE_SQL, values)
        if taken is not None:
            await check_build(session, build)  # raises, and then nothing was taken
    return TakeTry(before, None if taken is None else taken.epoch)


async def renew_lease(db: Database, shard: str, epoch: int, holder: str, ttl_s: float) -> bool:
    """See `LeaseTable.renew_lease`."""
    values = {"shard": shard, "epoch": epoch, "holder": holder, "ttl_s": ttl_s}
    async with db.aside() as session:
        return await session.run(_RENEW_SQL, values) == 1


async def release_lease(db: Database, shard: str, epoch: int, holder: str, note: str) -> bool:
    """See `LeaseTable.release_lease`."""
    values = {"shard": shard, "epoch": epoch, "holder": holder, "note": note}
    return await db.run(_RELEASE_SQL, values) == 1


async def fence_lease(db: Database, shard: str, note: str) -> LeaseRow | None:
    """Take the right to write from whoever holds it: the epoch moves on, so its appends and renewals fail from now.

    The row keeps its end: until then the old holder may still write to brokers by its local clock, so a successor
    takes it only afterwards, as after a crash. Returns the row as it was; None when nobody holds the shard.
    """
    values = {"shard": shard, "note": note}
    async with db.transaction() as session:
        before = await session.row(LeaseRow, _LOCK_SQL, values)
        if before is None or before.released:
            return None
        await session.run(_FENCE_SQL, values)
    return before


async def read_lease(db: Database, shard: str) -> LeaseRow | None:
    """Who holds a shard, for health pages and stand-by replicas."""
    return await db.row(LeaseRow, _READ_SQL, {"shard": shard})
