"""Two stores behind one face: what the conformance suite needs to furnish and to break either of them."""

import asyncio
import itertools
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString, NamedTuple, Protocol

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kopitra.store.append_sql import Batch, number
from kopitra.store.config_changes import ChangeRow, tell_change
from kopitra.store.drafts import Draft, Head, IdempotencyDraft
from kopitra.store.pool import Database, Session
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.shelf import JournalLine, Reply, Shelf
from tests.faults.memory_store import MemoryStore
from tests.integration.faulty_line import FaultyLine

#: the build of every holder in this suite
BUILD = "b1"
AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
#: seconds that a lease lives where its end does not matter
TTL_S = 60.0
#: seconds that a condition may take to come true on a busy machine
PATIENCE_S = 20.0

_numbers = itertools.count(1)


class Names(NamedTuple):
    """A shard and a workspace that no other case uses: all of them share one database."""

    shard: str
    workspace: str


def names() -> Names:
    """Fresh ones."""
    n = next(_numbers)
    return Names(f"s{n}", f"w{n}")


class Way(Protocol):
    """The way to the store, which the test may break."""

    lose_answers: bool
    lose_requests: bool
    served: int
    lost: asyncio.Event

    def cut(self) -> None: ...


class Rig(Protocol):
    """A store with its faults. `shelf` goes over `way`, `calm` straight; `process` is one more process's.

    `lock` holds a lease row as somebody else's transaction does, `steal` gives it to a thief (`steal_locked`: inside
    that transaction), `expire` lets it run out, `freeze` stops the server's side of a journal's line, `judge` allows a
    build, `tell_change` changes the configuration.
    """

    @property
    def shelf(self) -> Shelf: ...
    @property
    def calm(self) -> Shelf: ...
    @property
    def way(self) -> Way: ...

    async def down(self) -> None: ...
    async def up(self) -> None: ...
    async def lock(self, shard: str) -> None: ...
    async def unlock(self, shard: str) -> None: ...
    async def is_waiting(self) -> bool: ...
    async def expire(self, shard: str) -> None: ...
    async def steal(self, shard: str) -> None: ...
    async def steal_locked(self, shard: str) -> None: ...
    async def judge(self, build: str, *, allowed: bool) -> None: ...
    async def tell_change(self, row: ChangeRow) -> None: ...
    async def freeze(self, shard: str) -> None: ...
    async def thaw(self, shard: str) -> None: ...
    def process(self) -> Shelf: ...


class MemoryRig:
    """The fake."""

    def __init__(self) -> None:
        self.store = MemoryStore(asyncio.get_running_loop().time)
        shelf = self.store.shelf()
        self.way = shelf.wire
        self.shelf: Shelf = shelf
        self.calm: Shelf = self.store.shelf()

    async def down(self) -> None:
        self.way.down()

    async def up(self) -> None:
        self.way.up()

    async def lock(self, shard: str) -> None:
        self.store.lock(shard)

    async def unlock(self, shard: str) -> None:
        self.store.unlock(shard)

    async def is_waiting(self) -> bool:
        return self.store.waiting > 0

    async def expire(self, shard: str) -> None:
        self.store.tables.change_lease(shard, expires_s=self.store.tables.now_s() - 1.0)

    async def steal(self, shard: str) -> None:
        self.store.tables.change_lease(shard, holder="thief", epoch=self.store.tables.leases[shard].epoch + 1)

    async def steal_locked(self, shard: str) -> None:
        await self.steal(shard)

    async def judge(self, build: str, *, allowed: bool) -> None:
        self.store.tables.builds[build] = allowed

    async def tell_change(self, row: ChangeRow) -> None:
        self.store.tables.tell_change(row)

    async def freeze(self, shard: str) -> None:
        self.store.slow_commits()

    async def thaw(self, shard: str) -> None:
        self.store.fast_commits()

    def process(self) -> Shelf:
        return self.store.shelf()


@dataclass(frozen=True, slots=True)
class _Pid:
    pid: int


_WAITING_SQL: LiteralString = """
    select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"""
_JOURNAL_SQL: LiteralString = """
    select pid from pg_stat_activity
    where starts_with(application_name, %s) and datname = current_database()"""
_STEAL_SQL: LiteralString = "update lease set epoch = epoch + 1, holder = 'thief' where shard = %s"
_JUDGE_SQL: LiteralString = """
    insert into builds (build, allowed, reason, who, at) values (%s, %s, '', 'tests', now())
    on conflict (build) do update set allowed = excluded.allowed"""


class PostgresRig:
    """The real one, with a relay in front of it that can be broken."""

    def __init__(self, relay: FaultyLine, over: Database, straight: Database) -> None:
        self.way = relay
        self.shelf: Shelf = PostgresShelf(over)
        self.calm: Shelf = PostgresShelf(straight)
        self._db = straight
        self._frozen = 0
        self._locks: dict[str, tuple[AsyncExitStack, Session]] = {}

    async def down(self) -> None:
        await self.way.down()

    async def up(self) -> None:
        await self.way.up()

    async def lock(self, shard: str) -> None:
        stack = AsyncExitStack()
        session = await stack.enter_async_context(self._db.transaction())
        self._locks[shard] = stack, session
        await session.run("select from lease where shard = %s for update", (shard,))

    async def unlock(self, shard: str) -> None:
        await self._locks.pop(shard)[0].aclose()

    async def is_waiting(self) -> bool:
        return bool(await self._db.rows(_Pid, _WAITING_SQL))

    async def expire(self, shard: str) -> None:
        await self._db.run(
            "update lease set expires_at = clock_timestamp() - interval '1 s' where shard = %s", (shard,)
        )

    async def steal(self, shard: str) -> None:
        await self._db.run(_STEAL_SQL, (shard,))

    async def steal_locked(self, shard: str) -> None:
        await self._locks[shard][1].run(_STEAL_SQL, (shard,))

    async def judge(self, build: str, *, allowed: bool) -> None:
        await self._db.run(_JUDGE_SQL, (build, allowed))

    async def tell_change(self, row: ChangeRow) -> None:
        async with self._db.transaction() as session:
            await tell_change(session, row)

    async def freeze(self, shard: str) -> None:
        (process,) = await self._db.rows(_Pid, _JOURNAL_SQL, (f"kopitra journal {shard}:",))
        self._frozen = process.pid
        os.kill(process.pid, signal.SIGSTOP)

    async def thaw(self, shard: str) -> None:
        os.kill(self._frozen, signal.SIGCONT)

    def process(self) -> Shelf:
        return self.calm


@asynccontextmanager
async def memory_rig() -> AsyncGenerator[Rig]:
    """A fresh store in memory."""
    rig = MemoryRig()
    await rig.judge(BUILD, allowed=True)
    yield rig


@asynccontextmanager
async def postgres_rig(dsn: str) -> AsyncGenerator[Rig]:
    """A database that many cases share."""
    socket = f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kopitra-line-"))
        relay = FaultyLine(socket, folder)
        await relay.up()
        stack.push_async_callback(relay.down)
        over = await stack.enter_async_context(Database(make_conninfo(dsn, host=folder), "conformance"))
        straight = await stack.enter_async_context(Database(dsn, "conformance"))
        rig = PostgresRig(relay, over, straight)
        await rig.judge(BUILD, allowed=True)
        yield rig


# what is appended ------------------------------------------------------------------------------------------


def record(key: str = "k1", principal: str = "ea-1", endpoint: str = "POST /signals") -> IdempotencyDraft:
    """A first answer that names its row."""
    return IdempotencyDraft(principal, endpoint, key, b"f" * 32, 202, lambda seq: b"answer %d" % seq)


def fact(
    at: Names, number: int = 1, *, signal: str | None = None, answer: IdempotencyDraft | None = None
) -> Draft:
    """One fact of a workspace."""
    stamp = AT + timedelta(microseconds=number)
    body = b'{"number": %d}' % number
    return Draft("trade.signals", "SignalPlanned", at.workspace, stamp, body, signal, answer)


def batch_of(at: Names, drafts: Sequence[Draft], *, epoch: int = 1, after: Head | None = None) -> Batch:
    """The facts, numbered after `after`."""
    return number(drafts, at.shard, epoch, after or Head())


class Talk:
    """A line and what it said."""

    def __init__(self) -> None:
        self.line: JournalLine | None = None
        self.replies: asyncio.Queue[Reply | str] = asyncio.Queue()  # bounded: one per statement

    async def ask(self, batch: Batch) -> Reply:
        """Send a batch and wait for the answer."""
        assert self.line is not None
        self.line.send(batch)
        said = await asyncio.wait_for(self.replies.get(), PATIENCE_S)
        assert isinstance(said, Reply), said
        return said

    async def refused(self, batch: Batch, sqlstate: str, constraint: str = "") -> None:
        """The batch is refused for this reason, and the connection goes on."""
        reply = await self.ask(batch)
        assert reply.error is not None
        assert (reply.inserted, reply.error.sqlstate, reply.error.constraint) == (0, sqlstate, constraint)
        assert not reply.error.fatal
        assert reply.error.message

    async def broke(self) -> str:
        """Wait until the line says that it is down."""
        said = await asyncio.wait_for(self.replies.get(), PATIENCE_S)
        assert isinstance(said, str), said
        return said


@asynccontextmanager
async def talking(shelf: Shelf, name: str = "conformance") -> AsyncGenerator[Talk]:
    """A line of its own."""
    talk = Talk()
    line = await shelf.line(name, talk.replies.put_nowait, talk.replies.put_nowait)
    talk.line = line
    yield talk
    line.abandon()


async def held(rig: Rig, at: Names, holder: str = "holder") -> int:
    """Take the shard; its epoch."""
    taken = await rig.calm.take_lease(at.shard, holder, BUILD, TTL_S)
    assert taken.epoch is not None
    return taken.epoch


def head_of(batch: Batch) -> Head:
    """Where the next batch goes."""
    return Head(batch.rows[-1].seq, batch.rows[-1].hash)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def until_waiting(rig: Rig) -> None:
    """Wait until a statement waits for a lock."""
    async with asyncio.timeout(PATIENCE_S):
        while not await rig.is_waiting():
            await asyncio.sleep(0.005)
