"""What the writer says when the connection fails between a statement and its answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import LiteralString, Protocol

import pytest
import pytest_asyncio

from kopitra.domain.errors import LeaseLost, Unavailable
from kopitra.store.drafts import Committed, Draft, JournalRow
from kopitra.store.journal import COMMIT_WAIT_S, JournalWriter
from kopitra.store.journal_reader import read, verify
from kopitra.store.lease import Lease
from kopitra.store.pool import Database, Session
from kopitra.store.postgres_shelf import PostgresShelf

MakeDraft = Callable[..., Draft]


class FaultyLine(Protocol):
    """The relay of conftest.py."""

    served: int
    lose_answers: bool
    lose_requests: bool
    lost: asyncio.Event

    async def up(self) -> None: ...
    async def down(self) -> None: ...
    def cut(self) -> None: ...


#: how much later than COMMIT_WAIT_S a busy machine may tell
SLACK_S = 1.0
#: seconds: long enough for a pool's fourth, doubled pause
OUTAGE_S = 4.0


@dataclass(frozen=True, slots=True)
class SignalId:
    signal_id: str


@dataclass(frozen=True, slots=True)
class Waiting:
    pid: int


WAITING_SQL: LiteralString = """
    select pid from pg_stat_activity
    where starts_with(application_name, 'kopitra journal') and wait_event_type = 'Lock'
      and datname = current_database()"""


@pytest.fixture
def orphans() -> list[JournalRow]:
    return []


@pytest_asyncio.fixture
async def writer(faulty_dsn: str, lease: Lease, orphans: list[JournalRow]) -> AsyncIterator[JournalWriter]:
    shelf = PostgresShelf(Database(faulty_dsn))
    journal = await JournalWriter.open(shelf, shard="s1", epoch=lease.epoch, on_orphaned=orphans.extend)
    yield journal
    await journal.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def whole(db: Database, rows: int) -> bool:
    result = await verify(db, "s1")
    return result.bad is None and result.rows == rows


async def test_a_lost_answer_is_found_in_the_journal(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft
) -> None:
    await writer.append([draft(1)])
    line.lose_answers = True
    futures = [writer.append([draft(i, signal_id=f"s{i}")]) for i in (2, 3)]
    await line.lost.wait()
    line.lose_answers = False
    line.cut()
    committed = await asyncio.gather(*futures)
    assert [one.seq for one in committed] == [2, 3]
    assert await whole(db, 3)


async def test_a_lost_request_is_written_once(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft
) -> None:
    line.lose_requests = True
    future = writer.append([draft(1, signal_id="a", key="k")])
    await line.lost.wait()
    line.lose_requests = False
    line.cut()
    assert (await future).seq == 1
    assert (await writer.append([draft(2)])).seq == 2
    assert await whole(db, 2)


async def test_an_outage_is_told_within_a_second_and_the_late_truth_to_the_orphanage(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft, orphans: list[JournalRow]
) -> None:
    line.lose_answers = True
    started = time.monotonic()
    future = writer.append([draft(1)])
    await line.lost.wait()
    queued = writer.append([draft(2)])
    await line.down()
    with pytest.raises(Unavailable) as unknown:
        await future
    assert unknown.value.code == "commit-unknown"
    with pytest.raises(Unavailable) as refused:
        await queued
    assert refused.value.code == "store-unavailable"
    assert time.monotonic() - started < COMMIT_WAIT_S + SLACK_S
    with pytest.raises(Unavailable):
        writer.append([draft(3)])

    await line.up()
    await until(lambda: writer.available)
    assert orphans == await read(db, "s1", 0)
    assert [row.seq for row in orphans] == [1]
    assert (await writer.append([draft(4)])).seq == 2
    assert await whole(db, 2)


async def test_a_silent_server_is_given_up_after_a_second(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft, orphans: list[JournalRow]
) -> None:
    line.lose_requests = True
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await writer.append([draft(1)])
    assert COMMIT_WAIT_S * 0.9 <= time.monotonic() - started < COMMIT_WAIT_S + SLACK_S
    line.lose_requests = False
    await until(lambda: writer.available)
    assert orphans == []
    assert (await writer.append([draft(2)])).seq == 1


async def test_an_idle_connection_that_dies_is_replaced(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft
) -> None:
    await writer.append([draft(1)])
    before = line.served
    line.cut()
    # The outage itself may be over between two looks; a new connection is what stays to be seen.
    await until(lambda: line.served > before and writer.available)
    assert (await writer.append([draft(2)])).seq == 2


async def test_the_old_session_is_ended_before_the_journal_is_asked(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft
) -> None:
    """A statement that still waits for a lock in the old session must not commit after we have looked."""
    async with db.transaction() as session:
        await session.run("select from lease where shard = 's1' for update")
        future = writer.append([draft(1)])
        while not await db.rows(Waiting, WAITING_SQL):
            await asyncio.sleep(0)
        line.cut()
        await until(lambda: not writer.available)
        await until(lambda: writer.available)
    assert (await future).seq == 1
    assert writer.available
    assert await whole(db, 1)


async def test_a_lease_lost_during_an_outage_is_noticed_on_return(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft
) -> None:
    await line.down()
    await until(lambda: not writer.available)
    await db.run("update lease set epoch = epoch + 1")
    await line.up()

    def lost() -> bool:
        try:
            writer.append([draft(1)]).add_done_callback(lambda done: done.exception())
        except LeaseLost:
            return True
        except Unavailable:
            return False
        return False

    await until(lost)
    assert await read(db, "s1", 0) == []


async def test_a_client_who_leaves_does_not_take_the_append_along(
    writer: JournalWriter, draft: MakeDraft, orphans: list[JournalRow]
) -> None:
    heard: list[int] = []
    fate = writer.append([draft(1)])
    fate.add_done_callback(lambda done: heard.append(done.result().seq))

    async def client() -> None:
        await fate

    waiting = asyncio.create_task(client())
    await asyncio.sleep(0)
    waiting.cancel()
    kept: Committed = await writer.append([draft(2)])
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (kept.seq, heard, orphans) == (2, [1], [])


async def test_chaos_every_told_append_is_there_exactly_once(
    db: Database, line: FaultyLine, writer: JournalWriter, draft: MakeDraft
) -> None:
    """Connections die at any moment; what was told as durable is durable, and the chain never breaks."""
    told: list[str] = []

    async def client(name: int) -> None:
        for i in range(30):
            try:
                await writer.append([draft(1, signal_id=f"{name}-{i}")])
                told.append(f"{name}-{i}")
            except Unavailable:
                await until(lambda: writer.available)

    async def cutter() -> None:
        for i in range(15):
            await asyncio.sleep(0.003 * (i % 5))
            line.lose_answers = i % 3 == 0
            await asyncio.sleep(0.002)
            line.cut()
            line.lose_answers = False
            await until(lambda: writer.available)

    await asyncio.gather(*(client(name) for name in range(4)), cutter())
    result = await verify(db, "s1")
    assert result.bad is None
    assert len(told) == len(set(told)) > 0
    async with db.session() as session:
        stored = await session.rows(SignalId, "select signal_id from signal_ids")
    assert {one.signal_id for one in stored} >= set(told)
    assert len(stored) == result.rows


async def test_a_server_that_is_back_after_four_seconds_is_found_at_once(
    faulty_dsn: str, line: FaultyLine
) -> None:
    """R-075, R-083: the lease has ten seconds; a pool that doubles its pauses would spend them on pauses."""
    async with Database(faulty_dsn) as db:
        ways = (db.session, db.aside)
        assert [await is_there(way) for way in ways] == [True, True]
        await line.down()
        async with asyncio.timeout(30):
            down_since = time.monotonic()
            while time.monotonic() - down_since < OUTAGE_S:
                assert await asyncio.gather(*map(is_there, ways)) == [False, False]
        await line.up()
        assert await asyncio.gather(*map(is_there, ways)) == [True, True]


async def is_there(way: Callable[[], contextlib.AbstractAsyncContextManager[Session]]) -> bool:
    try:
        async with way() as session:
            await session.run("select 1")
    except Unavailable:
        return False
    return True
