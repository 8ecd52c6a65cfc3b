"""T-24: forced hand-overs while an EA trades: who falls, how long the shard is dark, and what the brokers saw.

A member is a replica: in this process with its own way to the database, or a process of its own. One force at a time:
    stop       SIGTERM: the holder hands over
    partition  only the holder's way to the database is cut
    database   the server crashes and comes back (no hand-over by itself; a lease may run out meanwhile)
    kill       SIGKILL of a holder that is a process
    freeze     SIGSTOP of it between the last look and the write, SIGCONT when another one holds the shard
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.local.postgres import EmbeddedPostgres
from gateway_container.engine.recovery import decode_row
from kopitra.domain.book import Book
from kopitra.domain.errors import Unavailable
from kopitra.domain.fold import fold
from kopitra.domain.journal import AlertRaised, Doubted, OrderNotSent, OrdersSent, SignalPlanned
from kopitra.store.journal_reader import read
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.shelf import LeaseRow
from tests.faults.handover_figures import Figures, Force, Gap
from tests.faults.handover_fleet import BASE, GRACE_S, PATIENCE_S, STEP_S, TTL_S, Fleet, gateway
from tests.faults.handover_member import PROCESS_S, Member
from tests.faults.handover_trader import Trader
from tests.integration.faulty_line import FaultyLine

IN_PROCESS: Final[tuple[Force, ...]] = ("stop", "partition", "database")
#: seconds that an EA waits for an answer before it asks the next door (R-034)
EA_S: Final = 1.0
#: replicas that live at the beginning of a hand-over; one more at every second one
MEMBERS: Final = 2


@dataclass(slots=True)
class Campaign:
    """Hand-overs one after the other. `figures`: what was measured, of this and of campaigns before it."""

    one: Fleet
    server: EmbeddedPostgres
    dsn: str
    chance: random.Random
    members: list[Member] = field(default_factory=list[Member])
    figures: Figures = field(default_factory=Figures)
    _forced: str = ""
    _book: Book = field(default_factory=Book)
    _doubts: int = 0
    _trader: Trader = field(init=False)

    def __post_init__(self) -> None:
        self._trader = Trader(self.one, self._book)

    @property
    def trades(self) -> bool:
        """The EA is at work. Raises what it fell over."""
        return self._trader.trades

    # members -----------------------------------------------------------------------------------------------

    async def join(self) -> Member:
        """A replica in this process. One that does not get through to the database ends, and is started again."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(Unavailable):
                    return await self._join()

    async def _join(self) -> Member:
        stack = AsyncExitStack()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kopitra-line-"))
        socket = f"{conninfo_to_dict(self.dsn)['host']}/.s.PGSQL.5432"
        line = FaultyLine(socket, folder)
        await line.up()
        stack.push_async_callback(line.down)
        try:
            made = await stack.enter_async_context(
                gateway(make_conninfo(self.dsn, host=folder), self.one.folder)
            )
        except Unavailable:
            await stack.aclose()
            raise
        return self._in(Member(made.name, (made.http, BASE), stack, gateway=made, line=line))

    async def join_process(self) -> Member:
        """A replica as a process of its own, which can be made to stop between look and write."""
        stack = AsyncExitStack()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kopitra-gw-")))
        name = f"p{self.chance.randrange(1 << 30)}"
        environment = {
            **os.environ, "DATABASE_URL": self.dsn, "KOPITRA_DATA_DIR": str(self.one.folder), "KOPITRA_PORT": "0",
            "KOPITRA_HOLDER": name, "KOPITRA_LEASE_TTL_S": str(TTL_S), "KOPITRA_EXIT_GRACE_S": str(GRACE_S),
            "KOPITRA_DRAIN_S": "1.0", "NO_PROXY": "127.0.0.1", "HANDOVER_STOP_FILE": str(folder / "stop"),
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.handover_stopper",
            stdout=PIPE,
            stderr=DEVNULL,
            env=environment,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PROCESS_S)
        said = msgspec.json.decode(line, type=dict[str, object])
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=EA_S))
        door = (http, f"http://{said['host']}:{said['port']}{BASE}")
        return self._in(Member(name, door, stack, process=process, stop_file=folder / "stop"))

    def _in(self, member: Member) -> Member:
        self.members.append(member)
        self.one.doors.append(member.door)
        return member

    async def _out(self, member: Member) -> None:
        self.members.remove(member)
        self.one.doors.remove(member.door)
        await member.stack.aclose()

    async def leave(self, member: Member) -> None:
        """One ends as by SIGTERM."""
        if member.process is not None and member.code is None:
            member.process.terminate()
        if member.gateway is not None:
            member.gateway.replica.stop()
        await member.gone()
        await self._out(member)

    async def rest(self) -> None:
        """Stop trading."""
        await self._trader.stop()

    async def settled(self) -> None:
        """Wait until every order that was sent has a known end, or rests."""
        await self.one.settled(self._tend)

    async def end(self) -> None:
        """Stop trading, then everybody."""
        await self.rest()
        for member in list(self.members):
            await self.leave(member)

    async def lease(self) -> LeaseRow:
        """The lease row, whatever the server goes through."""
        while True:
            try:
                row = await PostgresShelf(self.one.house.db).read_lease("main")
            except Unavailable:
                row = None
            if row is not None:
                return row
            await asyncio.sleep(STEP_S)

    # trading -----------------------------------------------------------------------------------------------

    def trade(self) -> None:
        """An EA that adds one and takes away two, for ever."""
        self._trader.start()

    async def healthy(self) -> None:
        """Wait until somebody sends entries and exits, followers being in position, and take out who has ended by
        itself."""
        await self._sent_under(None, datetime.now(UTC))
        while not self._trader.is_followed:
            await self._sent_under(None, datetime.now(UTC))
        await self._tend()

    async def _tend(self, forced: str = "") -> None:
        """Take out who lost its lease without our doing (a second is short on a busy machine); somebody stays."""
        for member in list(self.members):
            code = member.code
            if code is not None and member.name != forced:
                assert code == 3, f"{member.name} ended with {code}"
                self.figures.fell += 1
                await self._out(member)
        if all(member.code is not None for member in self.members):
            await self.join()

    # forces ------------------------------------------------------------------------------------------------

    async def force(self, force: Force) -> None:
        """One hand-over (or a crash of the database), from healthy to healthy; nothing where the holder is no process
        and has to be one."""
        await self.healthy()
        while len(self.members) < MEMBERS + len(self.figures.forces) % 2:
            await self.join()
        with self._trader.stocking_up():
            await self.healthy()
        before, holder = await self._holder()
        if force in ("kill", "freeze") and holder.process is None:
            return
        self._forced = holder.name
        at = datetime.now(UTC)
        match force:
            case "stop":
                assert holder.gateway is not None
                assert await holder.gateway.stopped() == 0
            case "partition":
                assert holder.line is not None
                await holder.line.down()
            case "database":
                await asyncio.to_thread(self._crash_database)
            case "kill":
                assert holder.process is not None
                holder.process.kill()
            case "freeze":
                at = await self._freeze(holder)
        self.figures.forces.append(force)
        if force == "database":
            self._forced = ""
            await self.healthy()
            return
        await self._measure(force, before, at)
        if force == "freeze":
            assert holder.process is not None
            holder.process.send_signal(signal.SIGCONT)
        code = await holder.gone()
        assert code == {"stop": 0, "partition": 3, "kill": -signal.SIGKILL, "freeze": 3}[force], force
        await self._out(holder)
        self._forced = ""

    async def _holder(self) -> tuple[LeaseRow, Member]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                row = await self.lease()
                named = [m for m in self.members if m.name == row.holder and m.code is None]
                if named and row.left_s > 0:
                    return row, named[0]
                await asyncio.sleep(STEP_S)

    async def _freeze(self, holder: Member) -> datetime:
        assert holder.stop_file is not None
        assert holder.process is not None
        await asyncio.to_thread(holder.stop_file.write_text, "now")
        status = Path(f"/proc/{holder.process.pid}/stat")
        async with asyncio.timeout(PATIENCE_S):
            while (await asyncio.to_thread(status.read_text)).rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(STEP_S)
        return datetime.now(UTC)

    def _crash_database(self) -> None:
        """An immediate stop is a crash: no goodbye, and recovery at the start."""
        self.server._pg("pg_ctl", "-D", str(self.server._pgdata), "-w", "-m", "immediate", "stop")
        self.server.start()

    async def _measure(self, force: Force, before: LeaseRow, at: datetime) -> None:
        fell = self.figures.fell
        after = await self._taken(before)
        gap = await self._gap(force, after.epoch, at)
        # else the successor had ended by itself: another one had to be started first
        if self.figures.fell == fell:
            self.figures.gaps.append(gap)

    async def _taken(self, before: LeaseRow) -> LeaseRow:
        async with asyncio.timeout(PATIENCE_S):
            while (row := await self.lease()).epoch == before.epoch or row.holder == before.holder:
                await self._tend(self._forced)
                await asyncio.sleep(STEP_S)
        return row

    async def _gap(self, force: Force, epoch: int, at: datetime) -> Gap:
        self._doubts = 0
        exits_at, entries_at = await self._sent_under(epoch, at)
        exits_s, entries_s = ((sent - at).total_seconds() for sent in (exits_at, entries_at))
        return Gap(force, round(exits_s, 3), round(entries_s, 3), force != "stop", self._doubts)

    async def _sent_under(self, epoch: int | None, after: datetime) -> tuple[datetime, datetime]:
        """When the first exit and the first entry after a moment were sent under this or a later epoch."""
        found: dict[bool, datetime] = {}
        end = asyncio.get_running_loop().time() + PROCESS_S
        while len(found) < 2:
            assert asyncio.get_running_loop().time() < end, await self._why()
            assert self.trades
            await self._tend(self._forced)
            for reduces, at in await self._sent(epoch, after):
                found.setdefault(reduces, at)
            await asyncio.sleep(STEP_S)
        return found[True], found[False]

    async def _why(self) -> str:
        """What the newest entries say, for a test that gives up."""
        entries = await self.one.journal()
        alerts = [f"{e.code} {e.account_id}: {e.text}" for e in entries if isinstance(e, AlertRaised)]
        skipped = Counter(
            f"{leg.outcome} {leg.reason}"
            for e in entries[-200:]
            if isinstance(e, SignalPlanned)
            for leg in e.plan.legs
        )
        unsent = Counter(e.reason for e in entries[-200:] if isinstance(e, OrderNotSent))
        told = [t.status for t in self.one.told[-5:]]
        return f"nothing is sent: {alerts[-8:]}, {skipped}, {unsent}, {told}, {self.figures.forces}"

    async def _sent(self, epoch: int | None, after: datetime) -> list[tuple[bool, datetime]]:
        """Orders sent by the new rows of the journal: whether each reduces, and when."""
        try:
            rows = await read(self.one.house.db, "main", self._book.seq)
        except Unavailable:
            return []
        sent: list[tuple[bool, datetime]] = []
        for row in rows:
            entry = decode_row(row)
            fold(self._book, entry)
            self._book.seq = row.seq
            self._doubts += isinstance(entry, Doubted) and row.epoch == epoch
            if isinstance(entry, OrdersSent) and row.epoch >= (epoch or 0) and row.at >= after:
                orders = self._book.orders
                sent += [(orders[fact.cl_ord_id].intent.reduce_only, row.at) for fact in entry.sent]
        return sent
