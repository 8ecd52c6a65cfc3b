"""Shared by the fault tests: one PostgreSQL for the room, and the two stores that the conformance suite compares."""

from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from cli.local.postgres import EmbeddedPostgres
from tests.faults.store_rigs import Names, Rig, memory_rig, names, postgres_rig
from tests.integration.conftest import dsn as dsn
from tests.integration.conftest import faulty_dsn as faulty_dsn
from tests.integration.conftest import line as line
from tests.integration.conftest import postgres as postgres
from tests.integration.conftest import template as template


@pytest.fixture(scope="session")
def shared_dsn(postgres: EmbeddedPostgres, template: str) -> str:
    """One database for all cases of the conformance suite: each has a shard and a workspace of its own."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"create database conformance template {template}")  # pyright: ignore[reportArgumentType,reportCallIssue]
    return make_conninfo(postgres.dsn, dbname="conformance")


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Each of the two stores in turn."""
    if request.param == "memory":
        async with memory_rig() as made:
            yield made
    else:
        async with postgres_rig(request.getfixturevalue("shared_dsn")) as made:
            yield made


@pytest.fixture
def at() -> Names:
    """A shard and a workspace that no other case uses."""
    return names()
