"""T-10, lease and epoch: several processes, one shard (R-083, R-084, I-11).

`Rows` asks each store for every row and foretells each answer, on both (H-2). `Holders` runs the real leases and
writers in virtual time over the store in memory: ways to the store are slow, hang and break, the server crashes, time
goes by; never do two processes believe to hold the shard, and nothing of a superseded one becomes durable.
"""

import asyncio
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from kopitra.domain.errors import Conflict, LeaseLost, StoreError, Unavailable
from kopitra.store.drafts import Committed
from kopitra.store.journal import JournalWriter
from kopitra.store.lease import Lease
from kopitra.store.shelf import Reply
from tests.faults.memory_store import MemoryShelf
from tests.faults.memory_wire import Weather, elapse
from tests.faults.store_hosts import HostedMachine, checked, memory_host, postgres_host
from tests.faults.store_rigs import BUILD, TTL_S, MemoryRig, batch_of, fact, names, talking
from tests.machines import ON_POSTGRES

HOLDERS = st.sampled_from(["anna", "bert", "carl"])
EPOCHS = st.integers(0, 2)


@dataclass(slots=True)
class Row:
    """What the lease row must say."""

    holder: str
    epoch: int = 1
    released: bool = False
    over: bool = False


class Rows(HostedMachine):
    """Every answer is foretold."""

    @initialize()
    def start(self) -> None:
        self.rig = self.host.rig()
        self.at = names()
        self.row: Row | None = None
        self.rows = 0

    def _back(self, epochs: int) -> int:
        """An epoch so many before the present one."""
        return (self.row.epoch if self.row else 1) - epochs

    @rule(holder=HOLDERS)
    def take(self, holder: str) -> None:
        tried = self.host.run(self.rig.shelf.take_lease(self.at.shard, holder, BUILD, TTL_S))
        row = self.row
        if row is None:
            assert tried == (None, 1)
            self.row = Row(holder)
            return
        assert tried.before is not None
        assert (tried.before.holder, tried.before.epoch) == (row.holder, row.epoch)
        assert tried.before.released == row.released
        if row.released or row.over:
            assert tried.epoch == row.epoch + 1
            self.row = Row(holder, row.epoch + 1)
        else:
            assert tried.epoch is None

    @rule(holder=HOLDERS, back=EPOCHS)
    def renew(self, holder: str, back: int) -> None:
        row, epoch = self.row, self._back(back)
        renewed = self.host.run(self.rig.shelf.renew_lease(self.at.shard, epoch, holder, TTL_S))
        ours = row is not None and not row.released and (row.holder, row.epoch) == (holder, epoch)
        assert renewed == ours
        if row is not None and ours:
            row.over = False

    @rule(holder=HOLDERS, back=EPOCHS)
    def release(self, holder: str, back: int) -> None:
        row, epoch = self.row, self._back(back)
        released = self.host.run(self.rig.shelf.release_lease(self.at.shard, epoch, holder, "note"))
        ours = row is not None and (row.holder, row.epoch) == (holder, epoch)
        assert released == ours
        if row is not None and ours:
            row.released = row.over = True

    @precondition(lambda self: self.row is not None)
    @rule()
    def run_out(self) -> None:
        self.host.run(self.rig.expire(self.at.shard))
        assert self.row is not None
        self.row.over = True

    @rule(back=EPOCHS)
    def append(self, back: int) -> None:
        epoch = self._back(back)

        async def appended() -> Reply:
            async with talking(self.rig.shelf) as talk:
                assert talk.line is not None
                after = await talk.line.head(self.at.shard)
                return await talk.ask(batch_of(self.at, [fact(self.at)], epoch=epoch, after=after))

        wanted = int(self.row is not None and back == 0)
        assert self.host.run(appended()) == Reply(wanted)
        self.rows += wanted

    @rule()
    def read(self) -> None:
        found = self.host.run(self.rig.calm.read_lease(self.at.shard))
        if self.row is None:
            assert found is None
        else:
            assert found is not None
            assert (found.holder, found.epoch, found.released) == (
                self.row.holder,
                self.row.epoch,
                self.row.released,
            )
            assert (found.left_s <= 0) == self.row.over
        assert len(self.host.run(self.rig.calm.page(self.at.shard, 0, 1000))) == self.rows


def test_lease_rows_in_memory() -> None:
    with memory_host() as host:
        checked(Rows, host)


def test_lease_rows_on_postgres(shared_dsn: str) -> None:
    with postgres_host(shared_dsn) as host:
        checked(Rows, host, ON_POSTGRES)


# the real leases, in virtual time --------------------------------------------------------------------------

WHO = st.integers(0, 2)


class SkewedClock:
    """Monotonic time of one process: it starts anywhere."""

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s

    def now(self) -> object:
        raise NotImplementedError("A lease never asks what day it is.")

    def monotonic_ns(self) -> int:
        return int((asyncio.get_running_loop().time() + self._offset_s) * 1e9)


class Process:
    """A process that wants the shard."""

    def __init__(self, name: str, shelf: MemoryShelf, shard: str, offset_s: float) -> None:
        self.name = name
        self.shelf = shelf
        self.shard = shard
        self.clock = SkewedClock(offset_s)
        self.lease: Lease | None = None
        self.writer: JournalWriter | None = None
        self.losses: list[str] = []

    async def take(self) -> bool:
        """Become the holder unless somebody else is."""
        try:
            lease = await Lease.take(
                self.shelf,
                self.shard,
                self.name,
                clock=self.clock,  # pyright: ignore[reportArgumentType]
                build=BUILD,
                on_lost=self._lost,
            )
        except (Conflict, Unavailable):
            return False
        try:
            self.writer = await JournalWriter.open(self.shelf, shard=self.shard, epoch=lease.epoch)
        except StoreError:
            await lease.abandon()
            return False
        self.lease = lease
        return True

    def _lost(self, reason: str) -> None:
        self.losses.append(reason)
        if self.writer is not None:
            self.writer.fence(reason)

    async def stop(self, note: str | None) -> None:
        """Hand over, or drop everything as a crash does."""
        lease, writer, self.lease, self.writer = self.lease, self.writer, None, None
        if writer is not None:
            await writer.close()
        if lease is not None:
            try:
                await (lease.abandon() if note is None else lease.release(note))
            except Unavailable:
                return

    @property
    def believes(self) -> bool:
        """It would write to a broker now."""
        return self.lease is not None and self.lease.valid


class Holders(HostedMachine):
    """Three processes in virtual time."""

    @initialize(offsets=st.tuples(*[st.floats(0, 1e6) for _ in range(3)]), seed=st.integers(0, 999))
    def start(self, offsets: tuple[float, float, float], seed: int) -> None:
        rig = self.host.rig()
        assert isinstance(rig, MemoryRig)
        self.store = rig.store
        self.at = names()
        self.facts = 0
        #: rows that were told as durable, and the epochs of their writers
        self.told: list[tuple[int, int]] = []
        #: the last row that each new holder found, and its epoch
        self.found: list[tuple[int, int]] = []
        weather = Weather(Random(seed), request_s=(0.0, 0.3), reply_s=(0.0, 3.0))
        self.processes = [
            Process(f"p{n}", self.store.shelf(weather), self.at.shard, offset)
            for n, offset in enumerate(offsets)
        ]

    @rule(who=WHO)
    def take(self, who: int) -> None:
        process = self.processes[who]
        if process.lease is None and self.host.run(process.take()) and process.writer is not None:
            self.found.append((process.writer.head.seq, process.writer.epoch))

    @rule(who=WHO, clean=st.booleans())
    def stop(self, who: int, clean: bool) -> None:
        self.host.run(self.processes[who].stop("bye" if clean else None))

    @rule(seconds=st.sampled_from([0.05, 1.0, 3.4, 7.9, 8.1, 10.1, 25.0]))
    def time_goes_by(self, seconds: float) -> None:
        async def watched() -> None:
            """Looked at every 50 ms, not only at the end."""
            end = asyncio.get_running_loop().time() + seconds
            while (left_s := end - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(0.05, left_s))
                self._one_at_most()

        self.host.run(watched())

    @rule(who=WHO, fault=st.sampled_from(["down", "hold", "lose_requests", "lose_answers", "cut"]))
    def a_way_fails(self, who: int, fault: str) -> None:
        async def fail() -> None:
            wire = self.processes[who].shelf.wire
            match fault:
                case "down":
                    wire.down()
                case "hold":
                    wire.hold()
                case "cut":
                    wire.cut()
                case _:
                    setattr(wire, fault, True)

        self.host.run(fail())

    @rule(who=WHO)
    def a_way_is_back(self, who: int) -> None:
        async def back() -> None:
            self.processes[who].shelf.wire.up()

        self.host.run(back())

    @rule(
        who=WHO,
        other=WHO,
        after_s=st.sampled_from([0.1, 1.7, 3.5, 5.0]),
        fault=st.sampled_from(["down", "hold"]),
    )
    def a_holder_is_cut_off_and_replaced(self, who: int, other: int, after_s: float, fault: str) -> None:
        """At any moment of a renewal; what it had sent arrives after its successor has started."""
        old, successor = self.processes[who], self.processes[other]
        if old.lease is None or successor is old:
            return

        async def replaced() -> None:
            await elapse(after_s)
            self._send_unheard(old)
            await asyncio.sleep(0)
            old.shelf.wire.down() if fault == "down" else old.shelf.wire.hold()
            for _ in range(250):
                await asyncio.sleep(0.1)
                self._one_at_most()
                if successor.lease is None and await successor.take() and successor.writer is not None:
                    self.found.append((successor.writer.head.seq, successor.writer.epoch))
                    break
            old.shelf.wire.up()
            await elapse(1.0)
            self._one_at_most()

        self.host.run(replaced())

    def _send_unheard(self, process: Process) -> None:
        """An append that nobody waits for."""
        self.facts += 1
        try:
            future = process.writer.append([fact(self.at, self.facts)]) if process.writer else None
        except StoreError:
            return
        if future is not None:
            future.add_done_callback(lambda done: done.exception())

    @rule(torn=st.booleans())
    def the_server_restarts(self, torn: bool) -> None:
        async def restart() -> None:
            self.store.crash(torn=torn)
            await elapse(0.2)
            self.store.recover()

        self.host.run(restart())

    @rule(who=WHO)
    def append(self, who: int) -> None:
        writer = self.processes[who].writer
        if writer is None:
            return
        self.facts += 1

        async def appended() -> Committed | None:
            try:
                return await writer.append([fact(self.at, self.facts)])
            except (LeaseLost, Unavailable):
                return None

        committed = self.host.run(appended())
        if committed is not None:
            self.told.append((committed.seq, writer.epoch))

    def _one_at_most(self) -> None:
        """I-11: and the row still says that it is that one, or that nobody took over."""
        believers = [process for process in self.processes if process.believes]
        assert len(believers) <= 1
        for process in believers:
            held = self.store.tables.leases[self.at.shard]
            assert process.lease is not None
            assert (held.holder, held.epoch) == (process.name, process.lease.epoch)
            assert held.expires_s - self.store.tables.now_s() > 0

    @invariant()
    def one_holder_at_most(self) -> None:
        if hasattr(self, "processes"):
            self.host.run(self._looked())

    async def _looked(self) -> None:
        self._one_at_most()

    @invariant()
    def epochs_in_the_journal_only_grow(self) -> None:
        if hasattr(self, "store"):
            rows = self.store.tables.journal.get(self.at.shard, [])
            epochs = [row.epoch for row in rows]
            assert epochs == sorted(epochs)
            assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
            assert all(rows[seq - 1].epoch == epoch for seq, epoch in self.told)
            # what a holder found is all that its predecessors ever wrote.
            assert all(epochs[seq] >= epoch for seq, epoch in self.found if seq < len(epochs))

    def teardown(self) -> None:
        async def end() -> None:
            for process in self.processes:
                process.shelf.wire.up()
                await process.stop(None)

        if hasattr(self, "processes"):
            self.host.run(end())


def test_holders_in_virtual_time() -> None:
    with memory_host() as host:
        checked(Holders, host)
