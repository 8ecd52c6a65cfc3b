"""`kopitra verify` walks the chain and names the first row that was changed."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest

from kopitra.clock import SystemClock
from kopitra.store.drafts import Draft
from kopitra.store.journal import JournalWriter
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf

Kopitra = Callable[..., str]
ROWS = 8


async def _append(dsn: str) -> None:
    at = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    async with Database(dsn) as db:
        lease = await Lease.take(
            PostgresShelf(db), "main", "tests", clock=SystemClock(), build="test", on_lost=lambda _: None
        )
        writer = await JournalWriter.open(PostgresShelf(db), shard="main", epoch=lease.epoch)
        drafts = [Draft("trade.signals", "Heartbeat", "w1", at, b'{"n": %d}' % n) for n in range(ROWS)]
        await writer.append(drafts)
        await writer.close()
        await lease.release("done")


@pytest.fixture
def journal(dsn: str) -> str:
    asyncio.run(_append(dsn))
    return dsn


def test_an_empty_journal_is_fine(kopitra: Kopitra) -> None:
    assert json.loads(kopitra("verify --json")) == []


def test_a_whole_journal_is_told_with_its_head(kopitra: Kopitra, journal: str) -> None:
    found = json.loads(kopitra("verify --json"))
    assert [(row["shard"], row["rows"], row["bad"]) for row in found] == [("main", ROWS, None)]
    kopitra(f"verify --shard main --anchor {found[0]['head']}")


def test_an_edited_row_is_named_and_ends_with_one(kopitra: Kopitra, journal: str) -> None:
    with psycopg.connect(journal, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update journal set payload = '{\"n\": 99}' where seq = 5")
    said = kopitra("verify", code=1)
    assert "BAD at row 5 (altered)" in said


def test_an_end_that_was_cut_off_shows_against_an_anchor(kopitra: Kopitra, journal: str) -> None:
    head = json.loads(kopitra("verify --json"))[0]["head"]
    with psycopg.connect(journal, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from journal where seq > 6")
    kopitra("verify")
    assert "row 7 (missing)" in kopitra(f"verify --shard main --anchor {head}", code=1)


def test_migrations_are_told_and_checked(kopitra: Kopitra) -> None:
    kopitra("migrate --check")
    assert kopitra("migrate") == ""
