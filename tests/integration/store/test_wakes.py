"""Word of what other replicas did comes by one connection, however slow or broken the way to PostgreSQL is (R-082)."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from kopitra.store.pool import Database
from kopitra.store.wakes import INBOX, PAUSE_S, Notice, Wakes
from tests.integration.faulty_line import FaultyLine

#: seconds of a waiter's patience, as the inbox pump has it, and until a test gives up
PATIENCE_S = 0.02
END_S = 10.0
#: seconds that a byte takes on a slow line
EACH_WAY_S = 0.015


@pytest_asyncio.fixture
async def wakes(faulty_dsn: str) -> AsyncIterator[Wakes]:
    made = Wakes(faulty_dsn, (INBOX,))
    yield made
    await made.close()


async def until_told(wakes: Wakes, db: Database) -> list[Notice]:
    """Tell again and again until it is heard: who does not listen yet misses it."""
    async with asyncio.timeout(END_S):
        while True:
            await db.run("select pg_notify('kopitra_inbox', 'main')", ())
            if told := await wakes.wait(PATIENCE_S):
                return told


async def until(wakes: Wakes, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(END_S):
        while not condition():
            await wakes.wait(PATIENCE_S)


async def test_a_connect_that_takes_longer_than_a_waiters_patience_is_made_once(
    wakes: Wakes, line: FaultyLine, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: it was given up and begun anew at every look: a storm of connections, and nobody ever listened."""
    through = asyncio.StreamReader.read

    async def slow(reader: asyncio.StreamReader, size: int = -1) -> bytes:
        data = await through(reader, size)
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=EACH_WAY_S)
        return data

    monkeypatch.setattr(asyncio.StreamReader, "read", slow)

    told = await until_told(wakes, db)

    assert told[0] == Notice("kopitra_inbox", "main")
    assert line.served == 1


async def test_a_connection_that_broke_is_made_again(wakes: Wakes, line: FaultyLine, db: Database) -> None:
    await until_told(wakes, db)
    line.cut()
    await until(wakes, lambda: line.served == 2)
    await until_told(wakes, db)
    assert line.served == 2


async def test_a_server_that_ends_every_connect_is_asked_ever_more_slowly(
    wakes: Wakes, line: FaultyLine, db: Database
) -> None:
    line.lose_requests = True
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for count in (1, 2, 3, 4):
        await until(wakes, lambda count=count: line.served == count)
        line.cut()
    assert loop.time() - began_s >= 0.95 * (1 + 2 + 4) * PAUSE_S
    line.lose_requests = False
    await until_told(wakes, db)


async def test_closing_ends_a_connect_that_hangs(wakes: Wakes, line: FaultyLine) -> None:
    line.lose_requests = True
    await until(wakes, lambda: line.served == 1)
    async with asyncio.timeout(END_S):
        await wakes.close()
