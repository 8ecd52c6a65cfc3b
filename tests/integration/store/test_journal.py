"""The single writer: group commit, atomic appends, duplicates, the fence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psycopg
import pytest
import pytest_asyncio

from kopitra.domain.errors import LeaseLost, QueueFull, StoreError, Unavailable
from kopitra.store.append_queue import BATCH_ROWS_MAX, WAITING_ROWS_MAX
from kopitra.store.chain import GENESIS
from kopitra.store.drafts import Draft, Duplicate, Head, IdempotencyRecord, JournalRow, SignalRef
from kopitra.store.journal import JournalWriter
from kopitra.store.journal_reader import read, replay, verify
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf

MakeDraft = Callable[..., Draft]


@dataclass(frozen=True, slots=True)
class Count:
    n: int


@pytest_asyncio.fixture
async def writer(db: Database, lease: Lease) -> AsyncIterator[JournalWriter]:
    journal = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch)
    yield journal
    await journal.close()


async def count(db: Database, table: str) -> int:
    async with db.session() as session:
        found = await session.row(Count, f"select count(*) as n from {table}")  # type: ignore[arg-type]
    assert found is not None
    return found.n


async def test_an_append_is_read_back_as_it_was_written(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    fact = draft(1, payload='{"text": "Zürich  ✓",   "n": 1.50}'.encode())
    committed = await writer.append([fact])
    assert committed.seq == 1
    assert await read(db, "s1", 0) == list(committed.rows)
    assert committed.rows[0].payload == fact.payload
    assert committed.rows[0].at == fact.at


async def test_numbers_have_no_gaps_and_the_chain_is_whole(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    await asyncio.gather(*(writer.append([draft(i), draft(i)]) for i in range(50)))
    result = await verify(db, "s1")
    assert (result.rows, result.bad) == (100, None)
    assert result.head == writer.head
    assert [row.seq async for row in replay(db, "s1", after=90)] == list(range(91, 101))


async def test_appends_that_arrive_together_share_a_commit(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    await asyncio.gather(*(writer.append([draft(i, signal_id=f"s{i}", key=f"k{i}")]) for i in range(100)))
    async with db.session() as session:
        commits = await session.row(Count, "select count(distinct xmin::text) as n from journal")
    assert commits == Count(1)
    assert await count(db, "signal_ids") == 100
    assert await count(db, "idempotency") == 100


async def test_a_batch_has_a_limit_and_the_rest_follows(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    await asyncio.gather(*(writer.append([draft(i)]) for i in range(BATCH_ROWS_MAX + 1)))
    async with db.session() as session:
        commits = await session.row(Count, "select count(distinct xmin::text) as n from journal")
    assert commits == Count(2)


async def test_an_append_larger_than_a_batch_is_still_one_commit(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    await writer.append([draft(i) for i in range(BATCH_ROWS_MAX * 2)])
    async with db.session() as session:
        commits = await session.row(Count, "select count(distinct xmin::text) as n from journal")
    assert commits == Count(1)


async def test_the_answer_names_the_number_and_is_stored_with_the_row(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    await writer.append([draft(0)])
    committed = await writer.append([draft(1, signal_id="s1", key="k1"), draft(2)])
    assert committed.answers == (b"answer 2", None)
    async with db.session() as session:
        stored = await session.row(IdempotencyRecord, "select * from idempotency")
    assert stored is not None
    assert (stored.key, stored.body, stored.status) == ("k1", b"answer 2", 202)


async def test_every_row_is_told_in_order_before_its_owner_goes_on(
    db: Database, lease: Lease, draft: MakeDraft
) -> None:
    told: list[JournalRow] = []
    journal = await JournalWriter.open(
        PostgresShelf(db), shard="s1", epoch=lease.epoch, on_committed=told.extend
    )
    first, second = await asyncio.gather(journal.append([draft(1)]), journal.append([draft(2)]))
    assert told == [*first.rows, *second.rows]
    await journal.close()


@pytest.mark.parametrize("company", [0, 3], ids=["alone", "in a batch"])
async def test_a_repeated_key_brings_the_first_answer_and_harms_nobody(
    db: Database, writer: JournalWriter, draft: MakeDraft, company: int
) -> None:
    await writer.append([draft(1, key="k1")])
    others = [writer.append([draft(i)]) for i in range(company)]
    again = writer.append([draft(9, key="k1")])
    others += [writer.append([draft(i)]) for i in range(company)]
    with pytest.raises(Duplicate) as caught:
        await again
    assert isinstance(caught.value.existing, IdempotencyRecord)
    assert caught.value.existing.body == b"answer 1"
    committed = await asyncio.gather(*others)
    assert sorted(one.seq for one in committed) == list(range(2, 2 + 2 * company))
    result = await verify(db, "s1")
    assert (result.rows, result.bad) == (1 + 2 * company, None)


async def test_a_repeated_signal_names_the_row_that_planned_it(
    writer: JournalWriter, draft: MakeDraft
) -> None:
    await writer.append([draft(1), draft(2, signal_id="sig")])
    with pytest.raises(Duplicate) as caught:
        await writer.append([draft(3, signal_id="sig")])
    assert caught.value.existing == SignalRef("w1", "sig", "s1", 2)


async def test_of_two_equal_signals_in_one_batch_the_first_wins(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    results = await asyncio.gather(
        *(writer.append([draft(i, signal_id="sig")]) for i in range(3)), return_exceptions=True
    )
    assert [isinstance(result, Duplicate) for result in results] == [False, True, True]
    assert await count(db, "journal") == 1


async def test_an_append_that_repeats_itself_is_refused_whole(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    with pytest.raises(StoreError, match="repeats itself"):
        await writer.append([draft(1, signal_id="sig"), draft(2, signal_id="sig")])
    assert await count(db, "journal") == 0
    assert (await writer.append([draft(3)])).seq == 1


BAD = {
    "payload is not JSON": {"payload": b"{nope"},
    "NUL in an id": {"signal_id": "a\0b"},
    "lone surrogate in an id": {"signal_id": "\ud800"},
}


@pytest.mark.parametrize("fault", BAD.values(), ids=BAD.keys())
async def test_a_fact_that_cannot_be_stored_fails_alone(
    db: Database, writer: JournalWriter, draft: MakeDraft, fault: dict[str, object]
) -> None:
    results = await asyncio.gather(
        writer.append([draft(1)]),
        writer.append([draft(2, **fault)]),
        writer.append([draft(3)]),
        return_exceptions=True,
    )
    assert [isinstance(result, StoreError) for result in results] == [False, True, False]
    result = await verify(db, "s1")
    assert (result.rows, result.bad) == (2, None)


async def test_a_full_queue_refuses_and_takes_nothing(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    waiting = [writer.append([draft(0)] * 512) for _ in range(WAITING_ROWS_MAX // 512)]
    with pytest.raises(QueueFull):
        writer.append([draft(1)])
    await asyncio.gather(*waiting)
    assert await count(db, "journal") == WAITING_ROWS_MAX


async def test_a_stale_epoch_writes_nothing_and_stays_refused(
    db: Database, writer: JournalWriter, lease: Lease, draft: MakeDraft
) -> None:
    await db.run("update lease set epoch = epoch + 1")
    with pytest.raises(LeaseLost):
        await asyncio.gather(writer.append([draft(1, signal_id="a", key="k")]), writer.append([draft(2)]))
    with pytest.raises(LeaseLost):
        writer.append([draft(3)])
    assert [await count(db, name) for name in ("journal", "signal_ids", "idempotency")] == [0, 0, 0]


async def test_a_writer_for_another_epoch_does_not_open(db: Database, lease: Lease) -> None:
    with pytest.raises(LeaseLost):
        await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch + 1)


async def test_a_taken_number_means_that_the_lease_is_lost(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    await db.run("insert into journal values ('s1', 1, 1, now(), 'k', 'e', 'w', '{}', %s)", (GENESIS,))
    with pytest.raises(LeaseLost):
        await writer.append([draft(1)])


async def test_a_fence_stops_the_writer_at_once(writer: JournalWriter, draft: MakeDraft) -> None:
    waiting = writer.append([draft(1)])
    writer.fence("the deadline has passed")
    with pytest.raises(LeaseLost):
        await waiting
    with pytest.raises(LeaseLost):
        writer.append([draft(2)])


async def test_a_locked_lease_row_is_unavailable_and_then_works_again(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    async with db.transaction() as session:
        await session.run("select from lease for update")
        with pytest.raises(Unavailable):
            await writer.append([draft(1)])
    assert (await writer.append([draft(2)])).seq == 1


async def test_a_new_writer_goes_on_where_the_last_one_stopped(
    db: Database, writer: JournalWriter, lease: Lease, draft: MakeDraft
) -> None:
    await writer.append([draft(1)])
    await writer.close()
    follower = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch)
    assert follower.head == writer.head != Head()
    assert (await follower.append([draft(2)])).seq == 2
    await follower.close()


async def test_closing_waits_for_what_was_appended(
    db: Database, writer: JournalWriter, draft: MakeDraft
) -> None:
    waiting = [writer.append([draft(i)]) for i in range(10)]
    await writer.close()
    assert [future.result().seq for future in waiting] == list(range(1, 11))
    with pytest.raises(Unavailable):
        writer.append([draft(1)])


@pytest.mark.parametrize(
    "change", ["update journal set kind = 'x'", "delete from journal", "truncate journal"]
)
async def test_the_database_refuses_to_change_the_journal(
    db: Database, writer: JournalWriter, draft: MakeDraft, change: str
) -> None:
    await writer.append([draft(1)])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        await db.run(change)  # type: ignore[arg-type]
    assert await count(db, "journal") == 1
