"""The store in memory: one server, many processes, the transaction rules of PostgreSQL (H-2).

    store = MemoryStore(loop.time)
    shelf = store.shelf()            # one per process; it is a `Shelf`
    shelf.wire.down()                # this process's way to the store: cut, hold, lose_answers, crash, ...
    store.crash(torn=True)           # the server itself; store.recover() brings it back

Rules kept: unique row numbers, signal ids and idempotency keys; the epoch in every append; all of a transaction or
nothing; leases by the database's clock; appends and take-overs of a shard exclude each other; a statement that has
left may commit although nobody hears of it; what was not committed is gone after a crash.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar, cast

import psycopg

from kopitra.domain.errors import Conflict, KopitraError, Unavailable
from kopitra.domain.switches import SwitchScope
from kopitra.store.append_sql import Batch, statement
from kopitra.store.config_changes import ChangeRow, Place
from kopitra.store.drafts import Draft, Head, IdempotencyRecord, JournalRow, SignalRef
from kopitra.store.projections import Projected, Shown
from kopitra.store.shelf import LeaseRow, OnDown, OnReply, Reply, RowHash, SqlError, TakeTry
from kopitra.store.snapshots import SnapshotRow
from kopitra.store.switches import SwitchRow
from tests.faults.memory_tables import Tables
from tests.faults.memory_wire import LOCK_WAIT_S, Connection, Request, Weather, Wire, elapse, run

T = TypeVar("T")

#: seconds after which a caller gives a silent connection up, as the kernel does for PostgreSQL's
SILENCE_S = 5.0


class MemoryStore:
    """The server. `now_s`: the database's clock, in seconds since `started`."""

    def __init__(
        self, now_s: Callable[[], float], started: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    ) -> None:
        self.started = started
        self.tables = Tables(now_s)
        self._is_up = True
        self._connections: list[Connection] = []
        #: shards whose lease row somebody else has locked, and who waits for it, in order
        self._locked: dict[str, list[Request]] = {}
        #: commits that take long, while they do, and who waits for the row that they lock
        self._slow: list[Request] | None = None
        self._behind: list[Request] = []

    def shelf(self, weather: Weather | None = None) -> "MemoryShelf":
        """A process's way in."""
        return MemoryShelf(self, Wire(self._serve, self._opened, weather or Weather()))

    def _opened(self, connection: Connection) -> None:
        self._connections.append(connection)

    # faults of the server, on command ----------------------------------------------------------------------

    def crash(self, *, torn: bool = False) -> None:
        """End every connection; what has not committed is gone. `torn`: what was on its way did commit, unheard."""
        self._is_up = False
        self._slow = None
        for waiting in (self._behind, *self._locked.values()):
            waiting.clear()
        connections, self._connections = self._connections, []
        for connection in connections:
            if torn and connection.alive:
                for request in connection.pending:
                    run(request)
            connection.end("the server crashed")

    def recover(self) -> None:
        """Take connections again."""
        self._is_up = True

    def lock(self, shard: str) -> None:
        """Somebody else's transaction holds the lease row of a shard."""
        self._locked.setdefault(shard, [])

    def unlock(self, shard: str) -> None:
        """Those who waited go on, in order."""
        for request in self._locked.pop(shard, []):
            self._serve(request)

    @property
    def waiting(self) -> int:
        """Statements that wait for a lock or a slow disk."""
        return sum(map(len, self._locked.values())) + len(self._slow or []) + len(self._behind)

    def slow_commits(self) -> None:
        """The disk hangs: appends are committing from now on, and nothing can end them."""
        if self._slow is None:
            self._slow = []

    def fast_commits(self) -> None:
        """The disk is back: what was committing has committed."""
        slow, self._slow = self._slow or [], None
        behind, self._behind = self._behind, []
        for request in slow:
            request.connection.wire.reply(request, run(request))
        for request in behind:
            self._serve(request)

    # statements --------------------------------------------------------------------------------------------

    def _serve(self, request: Request) -> None:
        """A statement has arrived."""
        if request.given_up is not None:
            request.given_up.cancel()
        if not self._is_up or not request.connection.alive:
            request.connection.hang_up("the server is gone")
        elif request.locks in self._locked:
            self._wait(request, self._locked[request.locks])
        elif request.locks and any(slow.locks == request.locks for slow in self._slow or []):
            self._wait(request, self._behind)
        elif request.locks and self._slow is not None:
            self._slow.append(request)
        else:
            request.connection.wire.reply(request, run(request))

    def _wait(self, request: Request, line: list[Request]) -> None:
        line.append(request)
        loop = asyncio.get_running_loop()
        request.given_up = loop.call_later(LOCK_WAIT_S, self._give_up, request, line)

    def _give_up(self, request: Request, line: list[Request]) -> None:
        if request in line and request.connection.alive:
            line.remove(request)
            refused = SqlError("55P03", "", "canceling statement due to lock timeout", fatal=False)
            request.connection.wire.reply(request, refused)

    def end_sessions(self, name: str, asking: Connection) -> bool:
        """End the connections of this name; False while one of them is committing."""
        gone = True
        for connection in list(self._connections):
            if connection.name != name or connection is asking:
                continue
            if any(slow.connection is connection for slow in self._slow or []):
                gone = False
                continue
            connection.end("terminating connection due to administrator command")
            self._connections.remove(connection)
            for line in (self._behind, *self._locked.values()):
                line[:] = [request for request in line if request.connection is not connection]
        return gone

    def forget_idle(self) -> None:
        """Connections that both sides have left."""
        self._connections = [c for c in self._connections if c.alive and (c.attached or c.pending)]

    @property
    def is_up(self) -> bool:
        """The server takes connections."""
        return self._is_up


class MemoryLine:
    """The journal's line (see `JournalLine`) over one connection."""

    def __init__(self, store: MemoryStore, wire: Wire, name: str, on_reply: OnReply, on_down: OnDown) -> None:
        self._store = store
        self._wire = wire
        self._on_reply = on_reply
        self._on_down = on_down
        self._asking: asyncio.Future[object] | None = None
        self._connection = wire.connect(name, self._down)

    def _down(self, reason: str) -> None:
        if self._asking is not None and not self._asking.done():
            self._asking.set_exception(Unavailable(f"The store in memory is gone: {reason}."))
        else:
            self._on_down(reason)

    def send(self, batch: Batch) -> None:
        """Send an append; see `JournalLine`, so for all that follow."""
        statement(batch)  # raises for facts without bytes, as the real one does
        work = partial(self._store.tables.append, batch)
        self._wire.send(Request(self._connection, batch.rows[0].shard, work, self._answered))

    def _answered(self, result: object) -> None:
        if isinstance(result, SqlError):
            self._on_reply(Reply(0, result))
        else:
            self._on_reply(Reply(cast("int", result)))

    def abandon(self) -> None:
        self._connection.leave()
        self._store.forget_idle()

    async def _ask(self, work: Callable[[], T]) -> T:
        if not self._connection.attached:
            raise Unavailable("The connection to the store in memory is closed.")
        future = self._asking = asyncio.get_running_loop().create_future()
        self._wire.send(Request(self._connection, "", work, partial(_settle, future)))
        return cast("T", await future)

    async def head(self, shard: str) -> Head:
        return await self._ask(lambda: self._store.tables.head(shard))

    async def row_after(self, shard: str, seq: int) -> RowHash | None:
        return await self._ask(lambda: self._store.tables.row_after(shard, seq))

    async def epoch(self, shard: str) -> int | None:
        return await self._ask(lambda: self._store.tables.epoch(shard))

    async def end_sessions(self, name: str) -> None:
        if not await self._ask(lambda: self._store.end_sessions(name, self._connection)):
            raise Unavailable("An earlier connection is still committing.")

    async def first_record(self, drafts: Sequence[Draft]) -> IdempotencyRecord | SignalRef | None:
        return await self._ask(lambda: self._store.tables.first_record(drafts))


class MemoryShelf:
    """One process's `Shelf`."""

    def __init__(self, store: MemoryStore, wire: Wire) -> None:
        self.store = store
        self.wire = wire

    async def line(self, name: str, on_reply: OnReply, on_down: OnDown) -> MemoryLine:
        """See `Shelf`; so for all that follow."""
        await self._reach()
        return MemoryLine(self.store, self.wire, name, on_reply, on_down)

    async def _reach(self) -> None:
        """A connection takes a round trip; silence and refusal are told as such."""
        await self._ask("", lambda: None)

    async def _ask(self, locks: str, work: Callable[[], T]) -> T:
        """One transaction on a connection of the pool."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if not (self.store.is_up and self.wire.is_up):
            await elapse(self.wire.weather.delay_s(self.wire.weather.request_s))
            raise Unavailable("The store in memory does not answer: connection refused.")
        connection = self.wire.connect("pool", partial(_broken, future))
        self.wire.send(Request(connection, locks, work, partial(_settle, future)))
        try:
            async with asyncio.timeout(SILENCE_S):
                return cast("T", await future)
        except TimeoutError:
            raise Unavailable("The store in memory does not answer: it is silent.") from None
        finally:
            connection.leave()
            self.store.forget_idle()

    async def take_lease(self, shard: str, holder: str, build: str, ttl_s: float) -> TakeTry:
        return await self._ask(shard, lambda: self.store.tables.take_lease(shard, holder, build, ttl_s))

    async def renew_lease(self, shard: str, epoch: int, holder: str, ttl_s: float) -> bool:
        return await self._ask(shard, lambda: self.store.tables.renew_lease(shard, epoch, holder, ttl_s))

    async def release_lease(self, shard: str, epoch: int, holder: str, note: str) -> bool:
        return await self._ask(shard, lambda: self.store.tables.release_lease(shard, epoch, holder, note))

    async def read_lease(self, shard: str) -> LeaseRow | None:
        return await self._ask("", lambda: self.store.tables.read_lease(shard))

    async def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        return await self._ask("", lambda: self.store.tables.page(shard, after, limit))

    async def signal_row(self, workspace: str, signal_id: str) -> JournalRow | None:
        return await self._ask("", lambda: self.store.tables.signal_row(workspace, signal_id))

    async def recent_signals(self, shard: str, limit: int) -> list[SignalRef]:
        return await self._ask("", lambda: self.store.tables.recent_signals(shard, limit))

    async def recent_answers(self, now: datetime) -> list[IdempotencyRecord]:
        return await self._ask("", lambda: self.store.tables.recent_answers(now))

    async def find_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        return await self._ask("", lambda: self.store.tables.find_answer(workspace, principal, endpoint, key))

    async def purge_answers(self, now: datetime) -> int:
        return await self._ask("", lambda: self.store.tables.purge_answers(now))

    async def set_switch(self, row: SwitchRow, known: int | None = None) -> bool:
        return await self._ask("", lambda: self.store.tables.set_switch(row, known))

    async def read_switch(self, scope: SwitchScope, scope_id: str) -> SwitchRow | None:
        return await self._ask("", lambda: self.store.tables.switches.get((scope, scope_id)))

    async def waiting_changes(self, limit: int) -> list[ChangeRow]:
        return await self._ask("", lambda: self.store.tables.waiting_changes(limit))

    async def mark_journalled(self, places: Sequence[tuple[int, Place]]) -> None:
        await self._ask("", lambda: self.store.tables.mark_journalled(places))

    async def purge_changes(self, now: datetime) -> int:
        return await self._ask("", lambda: self.store.tables.purge_changes(now))

    async def shown(self, shard: str, signals: int) -> Shown:
        return await self._ask("", lambda: self.store.tables.shown.read(shard, signals))

    async def write_projected(self, batch: Projected, shard: str, seq: int) -> None:
        await self._ask("", lambda: self.store.tables.shown.write(batch, shard, seq))

    async def server_time(self) -> datetime:
        return await self._ask("", lambda: self.store.started + timedelta(seconds=self.store.tables.now_s()))

    async def save_snapshot(self, row: SnapshotRow) -> None:
        await self._ask("", lambda: self.store.tables.save_snapshot(row))

    async def latest_snapshot(self, shard: str, layout: int) -> SnapshotRow | None:
        return await self._ask("", lambda: self.store.tables.latest_snapshot(shard, layout))


def _settle(future: asyncio.Future[object], result: object) -> None:
    if future.done():
        return
    if isinstance(result, SqlError):
        future.set_exception(_told(result))
    elif isinstance(result, KopitraError):
        future.set_exception(result)
    else:
        future.set_result(result)


def _broken(future: asyncio.Future[object], reason: str) -> None:
    if not future.done():
        future.set_exception(Unavailable(f"The store in memory does not answer: {reason}."))


def _told(error: SqlError) -> Exception:
    """What the caller of a pool sees, as `pool.translated` tells it."""
    if error.sqlstate[:2] == "23":
        return Conflict(f"It exists already ({error.constraint}): choose another id.")
    if error.sqlstate[:2] in ("53", "55", "57"):
        return Unavailable(f"The store in memory could not: {error.message}.")
    return psycopg.errors.lookup(error.sqlstate)(error.message)
