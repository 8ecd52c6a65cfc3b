"""First answers: what a restarted process keeps in memory, a look-up behind it, and their end."""

from datetime import datetime, timedelta
from typing import Final

from kopitra.store.drafts import IdempotencyRecord, SignalRef
from kopitra.store.journal_questions import IDEMPOTENCY_SQL, SIGNAL_SQL
from kopitra.store.pool import Database

#: records that a process keeps in memory, and how old they may be
CACHED_RECORDS_MAX: Final = 20_000
CACHED_AGE: Final = timedelta(hours=24)
#: keys are honoured at least this long; signal ids for ever
RETENTION: Final = timedelta(days=7)
#: rows of one delete, so that it stays far below the statement timeout
_PURGE_ROWS_MAX: Final = 5_000


async def recent_answers(
    db: Database, now: datetime, limit: int = CACHED_RECORDS_MAX
) -> list[IdempotencyRecord]:
    """The newest answers of the last CACHED_AGE, newest first."""
    text = """
        select workspace, principal, endpoint, key, fingerprint, status, body, at
        from idempotency where at > %s order by at desc limit %s"""
    return await db.tuples(IdempotencyRecord, text, (now - CACHED_AGE, min(limit, CACHED_RECORDS_MAX)))


async def find_answer(
    db: Database, workspace: str, principal: str, endpoint: str, key: str
) -> IdempotencyRecord | None:
    """One first answer, however old it is."""
    return await db.row(IdempotencyRecord, IDEMPOTENCY_SQL, (workspace, principal, endpoint, key))


async def find_signal(db: Database, workspace: str, signal_id: str) -> SignalRef | None:
    """Where a signal was planned."""
    return await db.row(SignalRef, SIGNAL_SQL, (workspace, signal_id))


async def recent_signals(db: Database, shard: str, limit: int) -> list[SignalRef]:
    """The newest signals of a shard, newest first."""
    text = """
        select workspace, signal_id, shard, seq from signal_ids where shard = %s
        order by seq desc limit %s"""
    return await db.rows(SignalRef, text, (shard, limit))


async def purge_answers(db: Database, now: datetime, retention: timedelta = RETENTION) -> int:
    """Delete answers older than `retention` (at least RETENTION), a batch at most; returns how many."""
    text = """
        delete from idempotency where ctid = any (array(
            select ctid from idempotency where at < %s order by at limit %s))"""
    before = now - max(retention, RETENTION)
    return await db.run(text, (before, _PURGE_ROWS_MAX))
