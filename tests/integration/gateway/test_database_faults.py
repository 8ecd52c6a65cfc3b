"""PostgreSQL killed and restarted, a line that hangs, a pooler in between: refused fast, exits go on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.local.postgres import EmbeddedPostgres
from gateway_container.exit_writer import LocalExitFile
from kopitra.domain.errors import StoreError, Unavailable
from kopitra.store.journal_link import JournalLink
from kopitra.store.journal_reader import verify
from kopitra.store.migrate import migrate
from kopitra.store.pool import SessionSettings, connect
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import BOSS, FIRST, SECOND, WORKSPACE, Follower, World, engine, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}
#: seconds in which a signal must have its answer, with a slow machine's share on top (R-071: 1 s)
ANSWER_S = 1.5


async def refused_fast(world: World) -> None:
    """R-071: 503, never 202, within a second, whether or not the outage is known already."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(Unavailable):
        await world.machine.intake.accept(world.signal(side="buy", quantity=1), None).committed
    assert loop.time() - started < ANSWER_S


async def goes_on(world: World) -> None:
    """The database is back: what happened is written down, once, and signals are taken."""
    await world.until(lambda: world.machine.log.takes_decisions, "the journal to take decisions")
    await world.until(lambda: not world.machine.log.backlog, "the backlog to be written")
    await world.no_order_is_doubled()
    await world.journal()  # waits out connections of before the outage
    assert (await verify(world.db, "main")).bad is None


@pytest_asyncio.fixture
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A server of this test's own, durable, with the schema."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("pg"))
    await asyncio.to_thread(server.start)
    try:
        await migrate(server.dsn)
        yield server
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_server_that_is_killed_and_restarted_costs_nothing_that_was_accepted(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """R-071, R-072, R-076: followers leave with their leader meanwhile; what was a 202 is there afterwards."""
    file = LocalExitFile(tmp_path, "main")
    async with street(ONE_EACH, leader_at=FIRST) as on, engine(own_server.dsn, on, exits=file) as world:
        await world.sim(BOSS).by_hand(BOSS, world.contract, "buy", 1)
        await world.holds(a=1, b=1)
        accepted = {row.intent.cl_ord_id for row in await world.send(side="buy", quantity=1)}
        await world.holds(a=2, b=2)

        await asyncio.to_thread(own_server.kill)
        await refused_fast(world)
        health, detail = world.machine.views.health(), world.machine.views.detail(WORKSPACE, None)
        assert (health.accepting, health.dependencies.postgres) == (False, "unhealthy")
        assert detail.journal is not None
        assert (detail.journal.writable, detail.journal.lease_left_ms > 0) == (False, True)
        await world.sim(BOSS).by_hand(BOSS, world.contract, "sell", 1)
        await world.until(lambda: {world.held(a) for a in ONE_EACH} <= {0, 1}, "the exits")

        await asyncio.to_thread(own_server.start)
        await goes_on(world)
        assert world.machine.views.health().accepting
        assert accepted <= world.machine.state.book.orders.keys()
        for account in ONE_EACH:
            assert await world.sim(account).net(account) == world.held(account)


async def test_a_line_that_hangs_is_an_outage_after_a_second(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-071, R-072: no answer is no commit; the exit whose commit is unclear goes by the file, and is planned once."""
    file = LocalExitFile(tmp_path, "main")
    async with street(ONE_EACH, leader_at=FIRST) as on, engine(faulty_dsn, on, exits=file) as world:
        await world.sim(BOSS).by_hand(BOSS, world.contract, "buy", 2)
        await world.holds(a=2, b=2)
        line.lose_answers = True
        await world.sim(BOSS).by_hand(BOSS, world.contract, "sell", 1)
        await world.until(lambda: {world.held(a) for a in ONE_EACH} == {1}, "the exits")
        await refused_fast(world)
        line.lose_answers = False
        line.cut()
        await goes_on(world)
        await world.holds(a=1, b=1)
        for account in ONE_EACH:
            assert [row.qty for row in await world.sim(account).placements(account)] == [2, 1]


async def test_sessions_give_up_early_and_notice_a_dead_peer(dsn: str) -> None:
    """R-074, R-075: timeouts and keepalives in seconds, a commit that is one."""
    wanted = {
        "statement_timeout": 1_000, "lock_timeout": 500, "idle_in_transaction_session_timeout": 5_000,
        "client_connection_check_interval": 2_000,
    }  # fmt: skip
    ask = "select name, setting::int from pg_settings where name = any(%s)"
    async with await connect(dsn, SessionSettings("test")) as connection:
        found = dict(await (await connection.execute(ask, [list(wanted)])).fetchall())
    assert found == wanted
    link = await JournalLink.open(dsn, "test", lambda _reply: None, lambda _reason: None)
    try:
        ask = (
            "select current_setting('synchronous_commit') from pg_stat_activity where pid = pg_backend_pid()"
        )
        told = await (await link._connection.execute(ask)).fetchone()
    finally:
        link.abandon()
    assert told == ("on",)


class Pooler:
    """Stands between client and server as a pooler does: the process id that the client is told is not the server's."""

    def __init__(self, target: str, folder: Path) -> None:
        self.folder = folder
        self._target = target
        self._relays: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Pooler":
        self._server = await asyncio.start_unix_server(self._serve, str(self.folder / ".s.PGSQL.5432"))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.wait(self._relays)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        for source, sink, answers in ((reader, back, False), (there, writer, True)):
            task = asyncio.get_running_loop().create_task(self._relay(source, sink, answers=answers))
            self._relays.add(task)

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                at = data.find(b"K\x00\x00\x00") if answers else -1  # BackendKeyData: length, process id, key
                if at >= 0:
                    data = data[: at + 5] + b"\x00\x00\x00\x07" + data[at + 9 :]
                    answers = False
                sink.write(data)
        finally:
            sink.transport.abort()


async def test_a_pooler_in_front_of_the_journal_is_refused(
    dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """R-074: prepared statements and settings do not survive transaction pooling, so the journal goes straight."""
    socket = f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432"
    async with Pooler(socket, tmp_path_factory.mktemp("pooler")) as pooler:
        through = make_conninfo(dsn, host=str(pooler.folder))
        with pytest.raises(StoreError, match="pooler"):
            await JournalLink.open(through, "test", lambda _reply: None, lambda _reason: None)
