"""Changes of configuration on their way into the journal: an outbox, filled by triggers in the same transaction.

A change is journalled once: its entry goes together with an idempotency record named after `change_id`, so a process
that ends between the commit and the mark finds the record and only sets the mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kopitra.store.drafts import IdempotencyDraft
from kopitra.store.pool import Database, Session

#: who the idempotency records of changes belong to; no key or hook can have this name
PRINCIPAL: Final = "configuration"
ENDPOINT: Final = "config_changes"
#: a change that was journalled stays this long, for people who look at the table
KEPT: Final = timedelta(days=7)
#: rows of one delete, so that it stays far below the statement timeout
_PURGE_ROWS_MAX: Final = 5_000

_WAITING_SQL: Final = """
    select change_id, workspace, who, what, what_id, before, after, at,
           (select body from idempotency record
            where record.workspace = change.workspace and record.principal = %(principal)s
              and record.endpoint = %(endpoint)s and record.key = change_id::text) as record
    from config_changes change where seq is null order by change_id limit %(limit)s"""
_MARK_SQL: Final = "update config_changes set shard = %s, seq = %s where change_id = %s and seq is null"


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change. `before` and `after` are JSON without secrets, `null` where there was nothing.

    `record`: it was journalled by a process that could not say so any more; this is what it left.
    """

    change_id: int
    workspace: str
    who: str
    what: str
    what_id: str
    before: str
    after: str
    at: datetime
    record: bytes | None = None


class Place(NamedTuple):
    """Where in the journal a change stands."""

    shard: str
    seq: int


async def waiting_changes(db: Database, limit: int) -> list[ChangeRow]:
    """The oldest changes that the journal does not hold yet."""
    values = {"principal": PRINCIPAL, "endpoint": ENDPOINT, "limit": limit}
    return await db.rows(ChangeRow, _WAITING_SQL, values)


def record_of(change_id: int, shard: str) -> IdempotencyDraft:
    """What makes the journal refuse a change that it holds already."""
    return IdempotencyDraft(
        PRINCIPAL, ENDPOINT, str(change_id), b"", 200, lambda seq: f"{shard} {seq}".encode()
    )


def place_in(body: bytes) -> Place:
    """The place that an idempotency record names."""
    shard, _, seq = body.decode().rpartition(" ")
    return Place(shard, int(seq))


async def mark_journalled(db: Database, places: Sequence[tuple[int, Place]]) -> None:
    """Take changes (by id) out of the waiting ones."""
    async with db.transaction() as session:
        for change_id, place in places:
            await session.run(_MARK_SQL, (*place, change_id))


async def tell_change(session: Session, change: ChangeRow) -> None:
    """Record a change of something that is no row of this database, and wake the gateways; the id is made here."""
    text = """
        insert into config_changes (workspace, who, what, what_id, before, after, at)
        values (%s, %s, %s, %s, %s, %s, %s)"""
    values = (
        change.workspace,
        change.who,
        change.what,
        change.what_id,
        change.before,
        change.after,
        change.at,
    )
    await session.run(text, values)
    await session.run(
        """with raised as (update config_version set version = version + 1 returning version)
           select pg_notify('kopitra_config', version::text) from raised"""
    )


async def purge_changes(db: Database, now: datetime) -> int:
    """Delete changes that were journalled longer than KEPT ago, a batch at most; returns how many."""
    text = """
        delete from config_changes where ctid = any (array(
            select ctid from config_changes where seq is not null and at < %s order by at limit %s))"""
    return await db.run(text, (now - KEPT, _PURGE_ROWS_MAX))
