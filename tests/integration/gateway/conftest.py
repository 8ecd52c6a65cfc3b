"""A fresh database for each test, directly or through a line that can fail."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.integration.store.conftest import FaultyLine


@pytest_asyncio.fixture
async def line(dsn: str) -> AsyncIterator[FaultyLine]:
    """The way to PostgreSQL, which a test may cut."""
    socket = Path(str(conninfo_to_dict(dsn)["host"])) / ".s.PGSQL.5432"
    with tempfile.TemporaryDirectory(prefix="kopitra-line-") as folder:
        relay = FaultyLine(str(socket), folder)
        await relay.up()
        yield relay
        await relay.down()


@pytest.fixture
def faulty_dsn(dsn: str, line: FaultyLine) -> str:
    """The test's database at the end of that line."""
    return make_conninfo(dsn, host=line.folder)
