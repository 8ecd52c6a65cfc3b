"""Whatever is done to a row of the journal behind our back, the walk of the chain finds it and names it."""

import random
from collections.abc import AsyncIterator, Callable
from typing import LiteralString

import psycopg
import pytest
import pytest_asyncio

from kopitra.store.drafts import Draft, Head
from kopitra.store.journal import JournalWriter
from kopitra.store.journal_reader import shards, verify
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf

ROWS = 12
TRIALS = 400
COLUMNS: tuple[LiteralString, ...] = (
    "seq", "epoch", "at", "kind", "entry", "workspace", "payload", "hash", "shard",
)  # fmt: skip
Tamperer = psycopg.AsyncConnection[tuple[object, ...]]


@pytest_asyncio.fixture
async def journal(db: Database, lease: Lease, draft: Callable[..., Draft]) -> Head:
    """Twelve rows; the head."""
    writer = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch)
    await writer.append([draft(i, payload=b'{"qty": "%d", "px": "5011.25"}' % i) for i in range(1, ROWS + 1)])
    await writer.close()
    return writer.head


@pytest_asyncio.fixture
async def tamperer(db: Database) -> AsyncIterator[Tamperer]:
    """A superuser who has switched the triggers off."""
    async with await psycopg.AsyncConnection.connect(db.dsn, autocommit=True) as connection:
        await connection.execute("set session_replication_role = replica")
        yield connection


async def bad_row(db: Database, anchor: Head | None = None) -> int | None:
    result = await verify(db, "s1", anchor)
    return None if result.bad is None else result.bad.seq


async def test_an_untouched_journal_is_whole(db: Database, journal: Head) -> None:
    result = await verify(db, "s1", anchor=journal)
    assert (result.rows, result.head, result.bad) == (ROWS, journal, None)


async def test_a_row_that_moved_to_another_shard_is_named_there(
    db: Database, journal: Head, tamperer: Tamperer
) -> None:
    await tamperer.execute("update journal set shard = 's2' where seq = 12")
    assert await shards(db) == ["s1", "s2"]
    moved = await verify(db, "s2")
    assert moved.bad is not None
    assert (moved.bad.seq, moved.bad.fault) == (1, "missing")


async def test_an_empty_shard_is_whole(db: Database) -> None:
    assert (await verify(db, "nobody")).rows == 0


#: the stored bytes of a column, and how to put bytes back
SEND: dict[LiteralString, LiteralString] = {
    "seq": "int8send(seq)",
    "epoch": "int8send(epoch)",
    "at": "timestamptz_send(at)",
    "kind": "convert_to(kind, 'UTF8')",
    "entry": "convert_to(entry, 'UTF8')",
    "workspace": "convert_to(workspace, 'UTF8')",
    "payload": "convert_to(payload::text, 'UTF8')",
    "hash": "hash",
    "shard": "convert_to(shard, 'UTF8')",
}
OIDS = {"seq": "int8", "epoch": "int8", "at": "timestamptz", "hash": "bytea", "payload": "json"}


def flipped(stored: bytes, bit: int) -> bytes:
    changed = bytearray(stored)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


async def put(tamperer: Tamperer, column: LiteralString, seq: int, value: bytes) -> bool:
    """Store raw bytes in a column; False if PostgreSQL cannot hold them."""
    name = OIDS.get(column, "text")
    try:
        await tamperer.execute(f"prepare p ({name}, int8) as update journal set {column} = $1 where seq = $2")  # type: ignore[arg-type]
        result = tamperer.pgconn.exec_prepared(b"p", [value, b"%d" % seq], [1, 0])
        return result.command_tuples == 1
    finally:
        await tamperer.execute("deallocate p")


async def test_any_flipped_bit_is_found(db: Database, journal: Head, tamperer: Tamperer) -> None:
    chance = random.Random(20260105)
    done = 0
    while done < TRIALS:
        column, seq = chance.choice(COLUMNS), chance.randint(1, ROWS)
        cursor = await tamperer.execute(f"select {SEND[column]} from journal where seq = %s", (seq,))
        row = await cursor.fetchone()
        assert row is not None
        stored = row[0]
        assert isinstance(stored, bytes)
        bad = flipped(stored, chance.randrange(len(stored) * 8))
        if not await put(tamperer, column, seq, bad):
            continue  # not valid UTF-8, not JSON, a taken number: PostgreSQL itself refuses it
        found = await bad_row(db, journal)
        there = int.from_bytes(bad, "big", signed=True) if column == "seq" else seq
        assert found is not None, (column, seq, stored, bad)
        assert found in (seq, there), (column, seq, found)
        assert await put(tamperer, column, there, stored)
        done += 1
    assert await bad_row(db) is None


async def test_a_deleted_row_is_named(db: Database, journal: Head, tamperer: Tamperer) -> None:
    await tamperer.execute("delete from journal where seq = 7")
    result = await verify(db, "s1")
    assert result.bad is not None
    assert (result.bad.seq, result.bad.fault, result.rows) == (7, "missing", 6)


async def test_a_cut_end_is_seen_with_an_anchor(db: Database, journal: Head, tamperer: Tamperer) -> None:
    await tamperer.execute("delete from journal where seq > 9")
    assert await bad_row(db) is None
    result = await verify(db, "s1", anchor=journal)
    assert result.bad is not None
    assert (result.bad.seq, result.bad.fault) == (10, "missing")


async def test_a_rewritten_end_is_seen_with_an_anchor(
    db: Database, journal: Head, tamperer: Tamperer, lease: Lease, draft: Callable[..., Draft]
) -> None:
    await tamperer.execute("delete from journal where seq > 9")
    writer = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=lease.epoch)
    await writer.append([draft(i) for i in range(5)])
    await writer.close()
    assert await bad_row(db) is None
    result = await verify(db, "s1", anchor=journal)
    assert result.bad is not None
    assert result.bad.seq == journal.seq


async def test_an_inserted_row_is_named(db: Database, journal: Head, tamperer: Tamperer) -> None:
    await tamperer.execute(
        "insert into journal select shard, 13, epoch, at, kind, entry, workspace, payload, hash"
        " from journal where seq = 12"
    )
    assert await bad_row(db) == 13


async def test_a_row_before_the_first_is_named(db: Database, journal: Head, tamperer: Tamperer) -> None:
    await tamperer.execute("alter table journal drop constraint journal_seq_check")
    await tamperer.execute(
        "insert into journal select shard, -3, epoch, at, kind, entry, workspace, payload, hash"
        " from journal where seq = 12"
    )
    assert await bad_row(db) == -3


async def test_two_rows_that_changed_places_are_named(
    db: Database, journal: Head, tamperer: Tamperer
) -> None:
    for old, new in ((4, 100), (8, 4), (100, 8)):
        await tamperer.execute("update journal set seq = %s where seq = %s", (new, old))
    assert await bad_row(db) == 4


async def test_an_infinite_time_is_named_and_not_a_crash(
    db: Database, journal: Head, tamperer: Tamperer
) -> None:
    await tamperer.execute("update journal set at = 'infinity' where seq = 5")
    assert await bad_row(db) == 5


MOVES: dict[str, LiteralString] = {
    "workspace to kind": "workspace = left(workspace, -1), kind = right(workspace, 1) || kind",
    "kind to entry": "kind = left(kind, -1), entry = right(kind, 1) || entry",
    "entry to kind": "entry = substr(entry, 2), kind = kind || left(entry, 1)",
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
async def test_a_letter_moved_to_the_next_field_is_found(
    db: Database, journal: Head, tamperer: Tamperer, move: LiteralString
) -> None:
    await tamperer.execute(f"update journal set {move} where seq = 3")
    assert await bad_row(db) == 3
