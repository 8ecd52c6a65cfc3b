"""R-018, R-087: snapshots are made by a process of its own, which nobody waits for and which outlives nobody."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    MutableMapping,
)
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import pytest
import uvloop
from psycopg.conninfo import make_conninfo
from structlog.testing import capture_logs

from gateway_container import snapshot
from gateway_container.engine import snapshots
from gateway_container.engine.recovery import read_book, saved_book
from gateway_container.engine.snapshots import Snapshots
from gateway_container.snapshot_process import COMMAND, SAID_BYTES_MAX, SnapshotProcess, environment_of
from kopitra.domain.book import Book
from kopitra.domain.errors import Unavailable
from kopitra.settings import Settings
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.test_recovery import lived, spoil
from tests.integration.gateway.test_restart import facts
from tests.integration.gateway.world import FIRST, Follower, engine, street

ONE = {"a": Follower(FIRST)}
PATIENCE_S = 30.0
#: seconds of a time limit that a process is to miss
SHORT_S = 0.5
PASSWORD = "correct-horse-battery"
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
Run = Callable[[Coroutine[object, object, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"gave up waiting for {what}"
        await asyncio.sleep(0.005)


async def started(process: SnapshotProcess) -> int:
    """Its id, once there is one."""
    await until(lambda: process.pid, "the process")
    assert process.pid is not None
    return process.pid


async def frozen(process: SnapshotProcess) -> int:
    """It hangs."""
    pid = await started(process)
    os.kill(pid, signal.SIGSTOP)
    return pid


def is_gone(pid: int) -> bool:
    """Dead and reaped: a zombie would still be there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is due at every row, and looked for all the time."""
    monkeypatch.setattr(snapshots, "EVERY_ROWS", 1)
    monkeypatch.setattr(snapshots, "LOOK_EVERY_S", 0.05)


@contextmanager
def warnings() -> Generator[list[str]]:
    """What is warned of, by event and error."""
    told: list[str] = []
    with capture_logs() as lines:
        yield told
    told += [_text(line) for line in lines if line["log_level"] == "warning"]


def _text(line: MutableMapping[str, object]) -> str:
    return f"{line['event']} {line.get('error', '')}"


async def test_it_saves_a_snapshot_that_a_successor_starts_from_r_018(dsn: str) -> None:
    process = SnapshotProcess(environment_of(Settings(), dsn))
    async with street(ONE) as on:
        async with engine(dsn, on, make_snapshot=process.make) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await world.journalled(lambda e: type(e).__name__ == "OrdersSent", "the writes")
            seq = await world.machine.snapshots.save()
            assert seq == world.machine.snapshots.saved_seq > 3
            assert process.pid is None
        async with Database(dsn) as db:
            shelf = PostgresShelf(db)
            assert (await saved_book(shelf, "main")).seq == seq
            whole = await read_book(shelf, "main", Book())
            await spoil(db, "update journal set payload = '{}' where seq = 2")  # nobody folds it again
        async with engine(dsn, on) as world:
            assert facts(world.machine.state.book) == facts(whole)


async def test_one_that_hangs_is_killed_in_time_and_the_gateway_goes_on_r_018(dsn: str, often: None) -> None:
    environment = environment_of(Settings(), dsn)
    hung, sound = SnapshotProcess(environment, limit_s=SHORT_S), SnapshotProcess(environment)
    makers: Iterator[Callable[[], Awaitable[int]]] = iter([hung.make])

    async def make() -> int:
        return await next(makers, sound.make)()

    async with street(ONE) as on:
        with warnings() as told:
            async with engine(dsn, on, make_snapshot=make) as world:
                pid = await frozen(hung)
                await world.send(side="buy", quantity=1)
                await world.holds(a=1)
                await world.until(lambda: is_gone(pid), "its end")
                await world.until(lambda: world.machine.snapshots.saved_seq, "the next snapshot")
        (warning,) = [text for text in told if "snapshot_not_saved" in text]
        assert "was not done after 0.5 s and was killed: give the container more CPU" in warning


async def test_a_gateway_that_stops_leaves_no_process_r_087(dsn: str, often: None) -> None:
    process = SnapshotProcess(environment_of(Settings(), dsn))
    async with street(ONE) as on, engine(dsn, on, make_snapshot=process.make):
        pid = await frozen(process)
    assert is_gone(pid)


@LOOPS
def test_one_at_the_stop_has_its_budget_and_no_more_r_087(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "STOP_S", SHORT_S)

    async def stop() -> None:
        process = SnapshotProcess({}, SLEEPS)
        last = asyncio.ensure_future(Snapshots(process.make, lambda: snapshots.STOP_ROWS).at_stop())
        pid = await started(process)
        await last
        assert is_gone(pid)

    with warnings() as told:
        run(stop())
    assert told == ["snapshot_not_saved the stop had no more time for it"]


@LOOPS
def test_whoever_gives_up_at_any_moment_leaves_no_process_r_087(run: Run) -> None:
    async def give_up() -> None:
        for turns in range(6):
            before = set(psutil.Process().children())
            process = SnapshotProcess({}, SLEEPS)
            making = asyncio.ensure_future(process.make())
            for _ in range(turns):
                await asyncio.sleep(0)
            making.cancel()
            await asyncio.wait([making])
            assert making.cancelled()
            assert process.pid is None
            assert set(psutil.Process().children()) <= before

    run(give_up())


@LOOPS
@pytest.mark.parametrize(
    "program, told",
    [
        ("import sys; sys.stderr.write('x' * 9_000_000 + 'the reason'); sys.exit(7)", "with code 7.*xxxthe reason$"),
        ("import sys; sys.stdout.write('y' * 9_000_000)", "with code 0"),
        ("raise ValueError('a defect')", "ValueError: a defect$"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "with code -9"),
    ],
    ids=["talkative", "no number", "a defect", "killed"],
)  # fmt: skip
def test_one_that_fails_is_told_with_the_end_of_its_words(run: Run, program: str, told: str) -> None:
    async def fail() -> None:
        with pytest.raises(Unavailable, match=told) as raised:
            await SnapshotProcess({}, (sys.executable, "-c", program)).make()
        assert len(raised.value.message) < SAID_BYTES_MAX + 200

    run(fail())


@LOOPS
def test_one_that_cannot_start_is_told(run: Run) -> None:
    async def fail() -> None:
        with pytest.raises(Unavailable, match=r"did not start: .*Give the container more memory"):
            await SnapshotProcess({}, ("/nowhere/python",)).make()

    run(fail())


async def test_a_database_that_is_away_is_one_warning_and_the_next_look_tries_again_r_018(
    dsn: str, faulty_dsn: str, line: FaultyLine, often: None
) -> None:
    process = SnapshotProcess({"DATABASE_URL": make_conninfo(faulty_dsn, password=PASSWORD)})
    tries: list[None] = []

    async def make() -> int:
        tries.append(None)
        return await process.make()

    async with lived(dsn):
        made = Snapshots(make, lambda: 1)
        await line.down()
        with warnings() as told:
            looking = asyncio.ensure_future(made.run())
            await until(lambda: len(tries) == 2, "the second try")
            await line.up()
            await until(lambda: made.saved_seq, "a snapshot")
            looking.cancel()
            await asyncio.wait([looking])
        assert len(told) == len(tries) - 1
        assert all("PostgreSQL does not answer" in text and "Check DATABASE_URL" in text for text in told)
        assert PASSWORD not in "".join(told)


async def test_no_secret_is_on_its_command_line_and_it_gives_way(dsn: str) -> None:
    process = SnapshotProcess(environment_of(Settings(), make_conninfo(dsn, password=PASSWORD)))
    making = asyncio.ensure_future(process.make())
    pid = await started(process)
    seen = psutil.Process(pid)
    await until(lambda: seen.nice() == snapshot.NICE + psutil.Process().nice(), "the lower priority")
    assert tuple(seen.cmdline()) == COMMAND
    assert PASSWORD not in " ".join(seen.cmdline())
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"  # noqa: ASYNC240 - one small file
    assert await making == 0  # an empty journal


async def test_there_is_one_at_a_time() -> None:
    process = SnapshotProcess({}, (sys.executable, "-c", "print(7)"))
    before = set(psutil.Process().children())
    makings = [asyncio.ensure_future(process.make()) for _ in range(3)]
    most = 0
    while not all(making.done() for making in makings):
        most = max(most, len(set(psutil.Process().children()) - before))
        await asyncio.sleep(0.001)
    assert [making.result() for making in makings] == [7, 7, 7]
    assert most == 1


@asynccontextmanager
async def silent_server() -> AsyncGenerator[str]:
    """Takes connections and never answers."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://u@127.0.0.1:{server.sockets[0].getsockname()[1]}/d?sslmode=disable"


async def test_it_ends_with_a_gateway_that_was_killed_r_087() -> None:
    program = (
        "import uvloop; from gateway_container.snapshot_process import SnapshotProcess;"
        "uvloop.run(SnapshotProcess({}).make())"
    )
    async with silent_server() as url:
        gateway = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env={**os.environ, "DATABASE_URL": url}
        )
        family = psutil.Process(gateway.pid)
        await until(family.children, "the process")
        (child,) = family.children()
        await until(lambda: child.nice() == snapshot.NICE + family.nice(), "the lower priority")
        child.suspend()  # it cannot end by itself
        gateway.kill()
        await gateway.wait()
        await until(
            lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the end of the process"
        )


async def test_it_ends_by_its_own_clock() -> None:
    program = "from gateway_container import snapshot as s; s.LIMIT_S = 1; s.main()"
    async with silent_server() as url:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env={**os.environ, "DATABASE_URL": url}, stderr=PIPE
        )
        _, said = await asyncio.wait_for(child.communicate(), PATIENCE_S)
    assert child.returncode == -signal.SIGALRM, said.decode()


async def test_it_loads_neither_doors_nor_brokers() -> None:
    """It is to start fast and small."""
    program = "import sys; from gateway_container.snapshot import main; main(); print(*sys.modules)"
    environment = {**os.environ, "DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stdout=PIPE, stderr=PIPE
    )
    loaded, said = await asyncio.wait_for(child.communicate(), PATIENCE_S)
    assert b"unavailable: PostgreSQL does not answer" in said
    roots = {name.partition(".")[0] for name in loaded.decode().split()}
    assert "psycopg" in roots
    heavy = {"fastapi", "starlette", "uvicorn", "brokers", "aiohttp", "httpx2", "websockets", "cryptography"}
    assert not roots & (heavy | {"opentelemetry", "cli"})
