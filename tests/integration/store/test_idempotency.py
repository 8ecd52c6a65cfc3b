"""First answers outlive the process, and end after their time."""

from collections.abc import Callable
from datetime import timedelta

from kopitra.ports import Clock
from kopitra.store.drafts import Draft, SignalRef
from kopitra.store.idempotency import RETENTION, find_answer, find_signal, purge_answers, recent_answers
from kopitra.store.journal import JournalWriter
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf


async def test_answers_are_found_again_after_a_restart(
    db: Database, lease: Lease, clock: Clock, draft: Callable[..., Draft]
) -> None:
    writer = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch)
    for i in range(1, 4):
        await writer.append([draft(i, signal_id=f"s{i}", key=f"k{i}")])
    await writer.close()
    now = clock.now() + timedelta(hours=1)
    assert [record.key for record in await recent_answers(db, now, limit=2)] == ["k3", "k2"]
    assert await recent_answers(db, now + timedelta(days=1)) == []
    record = await find_answer(db, "w1", "ea-1", "POST /signals", "k1")
    assert record is not None
    assert (record.body, record.status, record.fingerprint) == (b"answer 1", 202, b"f" * 32)
    assert await find_answer(db, "w2", "ea-1", "POST /signals", "k1") is None
    assert await find_signal(db, "w1", "s2") == SignalRef("w1", "s2", "s1", 2)
    assert await find_signal(db, "w2", "s2") is None


async def test_nothing_younger_than_a_week_is_purged(
    db: Database, lease: Lease, clock: Clock, draft: Callable[..., Draft]
) -> None:
    """R-028."""
    writer = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch)
    await writer.append([draft(1, signal_id="s", key="k")])
    await writer.close()
    assert await purge_answers(db, clock.now() + RETENTION, retention=timedelta(0)) == 0
    assert await purge_answers(db, clock.now() + RETENTION + timedelta(seconds=1)) == 1
    assert await find_answer(db, "w1", "ea-1", "POST /signals", "k") is None
    assert await find_signal(db, "w1", "s") is not None
