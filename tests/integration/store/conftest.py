"""Shared by the store's tests."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from kopitra.store.drafts import Draft, IdempotencyDraft
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf


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
    held = await Lease.take(
        PostgresShelf(db), "s1", "tests", clock=clock, build="test", on_lost=lambda _reason: None
    )
    yield held
    await held.abandon()
