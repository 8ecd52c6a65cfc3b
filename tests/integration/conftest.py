"""One real PostgreSQL for the room, a database of its own for each test."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.local.postgres import EmbeddedPostgres
from kopitra.store.migrate import migrate
from kopitra.store.pool import Database
from tests.integration.faulty_line import FaultyLine

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server; its folder is short because a Unix socket's path is. Nothing here survives a power cut."""
    throw_away = {"fsync": "off", "full_page_writes": "off"}
    with (
        tempfile.TemporaryDirectory(prefix="kopitra-pg-") as folder,
        EmbeddedPostgres(Path(folder), throw_away) as server,
    ):
        yield server


def _dsn(server: EmbeddedPostgres, database: str) -> str:
    return make_conninfo(server.dsn, dbname=database)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """A database with the schema, which tests copy. Made in a thread: it must not depend on any test's loop."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("create database kopitra_template")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(_dsn(postgres, "kopitra_template"))).result()
    return "kopitra_template"


@pytest.fixture
def dsn(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A fresh database with the schema."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        yield _dsn(postgres, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest_asyncio.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """The small pool on a fresh database."""
    async with Database(dsn, "tests") as database:
        yield database


@pytest_asyncio.fixture
async def line(dsn: str) -> AsyncIterator[FaultyLine]:
    """The way to the test's database, which the test may cut."""
    socket = f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"
    with tempfile.TemporaryDirectory(prefix="kopitra-line-") as folder:
        relay = FaultyLine(socket, folder)
        await relay.up()
        yield relay
        await relay.down()


@pytest.fixture
def faulty_dsn(dsn: str, line: FaultyLine) -> str:
    """The test's database at the end of that line."""
    return make_conninfo(dsn, host=line.folder)
