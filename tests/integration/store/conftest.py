"""Shared by the store's tests."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kopitra.store.drafts import Draft, IdempotencyDraft
from kopitra.store.lease import Lease
from kopitra.store.pool import Database


class HandClock:
    """Real monotonic time plus what the test skips; a wall clock that stands where it was put."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
        self.ahead_ns = 0

    def now(self) -> datetime:
        return self.wall

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.ahead_ns

    def skip(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.ahead_ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def make_draft(
    number: int, *, signal_id: str | None = None, key: str | None = None, payload: bytes | None = None
) -> Draft:
    """A fact; with `key` it also stores an answer that names its sequence number."""
    record = None
    if key is not None:
        record = IdempotencyDraft(
            "ea-1", "POST /signals", key, b"f" * 32, 202, lambda seq: b"answer %d" % seq
        )
    body = b'{"number": %d}' % number if payload is None else payload
    at = datetime(2026, 1, 5, 14, 30, 0, number, tzinfo=UTC)
    return Draft("trade.signals", "SignalPlanned", "w1", at, body, signal_id, record)


@pytest.fixture
def draft() -> Callable[..., Draft]:
    return make_draft


@pytest_asyncio.fixture
async def lease(db: Database, clock: HandClock) -> AsyncIterator[Lease]:
    """Shard s1, held."""
    held = await Lease.take(db, "s1", "tests", clock=clock, build="test", on_lost=lambda _reason: None)
    yield held
    await held.abandon()


class FaultyLine:
    """A Unix-socket relay in front of PostgreSQL that can lose answers, lose requests or be cut."""

    def __init__(self, target: str, folder: str) -> None:
        self.folder = folder
        self._target = target
        self._path = f"{folder}/.s.PGSQL.5432"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self.lose_answers = False
        self.lose_requests = False
        #: connections that were made through it
        self.served = 0
        #: set when something was lost
        self.lost = asyncio.Event()

    async def up(self) -> None:
        self.lose_answers = self.lose_requests = False
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def down(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            Path(self._path).unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        self.cut()
        while self._relays:
            await asyncio.wait(self._relays)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        there, back = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, back}
        for source, sink, answers in ((reader, back, False), (there, writer, True)):
            relay = asyncio.get_running_loop().create_task(self._relay(source, sink, answers=answers))
            self._relays.add(relay)
            relay.add_done_callback(self._relays.discard)

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if self.lose_answers if answers else self.lose_requests:
                    self.lost.set()
                else:
                    sink.write(data)
        sink.transport.abort()


@pytest_asyncio.fixture
async def line(dsn: str) -> AsyncIterator[FaultyLine]:
    socket = f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"
    with tempfile.TemporaryDirectory(prefix="kopitra-line-") as folder:
        relay = FaultyLine(socket, folder)
        await relay.up()
        yield relay
        await relay.down()


@pytest.fixture
def faulty_dsn(dsn: str, line: FaultyLine) -> str:
    """The test's database as seen through the faulty line."""
    return make_conninfo(dsn, host=line.folder)
