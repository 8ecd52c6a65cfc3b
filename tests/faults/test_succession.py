"""What a holder that ends early tells the next one: nothing that it does not know itself (R-072, R-073, R-085)."""

from collections.abc import Coroutine, Iterator
from decimal import Decimal
from typing import TypeVar

import pytest

from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import EMPTY
from gateway_container.engine.machine import Identity, Machine, Supplies
from kopitra.domain.errors import Unavailable
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import OrderIntent
from kopitra.store.lease import EXITS_LEFT, Lease, LeaseSettings
from kopitra.store.shelf import LeaseRow, OnDown, OnReply, SignalRef
from kopitra.telemetry import Metrics
from tests.faults.gateways import SHARD, START
from tests.faults.memory_store import MemoryLine, MemoryShelf, MemoryStore
from tests.faults.memory_wire import elapse
from tests.faults.store_rigs import BUILD
from tests.faults.virtual_loop import VirtualClock, VirtualLoop

T = TypeVar("T")
LEASE = LeaseSettings()
#: a close that waits for the cancel of another order
HELD = OrderIntent(
    "c1", "l1", "a", "lead", "x", "exit", "ESZ6", "sell", Decimal(2), reduce_only=True, after=("s1",)
)


class Flaky(MemoryShelf):
    """One process's way to the store, which fails a start where it is told."""

    fails: str = ""

    async def line(self, name: str, on_reply: OnReply, on_down: OnDown) -> MemoryLine:
        self._may_fail("line")
        return await super().line(name, on_reply, on_down)

    async def recent_signals(self, shard: str, limit: int) -> list[SignalRef]:
        self._may_fail("recent_signals")
        return await super().recent_signals(shard, limit)

    def _may_fail(self, where: str) -> None:
        if self.fails == where:
            raise Unavailable("for once")


class House:
    """Processes without accounts, one after the other, on one store."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop, START)
        self.store = MemoryStore(loop.time)
        self.store.tables.builds[BUILD] = True

    async def begins(self, fails: str = "") -> Machine:
        shelf = Flaky(self.store, self.store.shelf().wire)
        shelf.fails = fails
        supplies = Supplies(shelf, self.clock, {}, Metrics(), lease_settings=LEASE)
        identity = Identity(SHARD, "holder", BUILD)
        return await Machine.start(identity, supplies, EMPTY, Broadcast(shelf, SHARD), lambda _why: None)

    async def dies_with_a_held_close(self) -> None:
        """Its journal holds the close; its lease runs out."""
        machine = await self.begins()
        await machine.log.decide("w", FollowUp("s0", "a", released=(HELD,)))
        await machine.lease.abandon()
        machine.writer.fence("the process died")
        await machine.stop(drain_s=0.0)
        await elapse(LEASE.ttl_s)

    async def hands_over(self, note: str) -> None:
        lease = await Lease.take(
            self.store.shelf(), SHARD, "first", clock=self.clock, build=BUILD, on_lost=lambda _why: None
        )
        await lease.release(note)

    def row(self) -> LeaseRow:
        row = self.store.tables.read_lease(SHARD)
        assert row is not None
        return row


@pytest.fixture
def house() -> Iterator[House]:
    loop = VirtualLoop()
    yield House(loop)
    loop.close()


def run(house: House, coro: Coroutine[object, object, T]) -> T:
    return house.loop.run_until_complete(coro)


@pytest.mark.parametrize("where", ["line", "recent_signals"])
def test_a_start_that_fails_does_not_make_a_dirty_take_over_clean_r_073_r_085(
    house: House, where: str
) -> None:
    """Its successor sent entries at once, and a held close that may have left already."""

    async def case() -> None:
        await house.dies_with_a_held_close()
        with pytest.raises(Unavailable, match="for once"):
            await house.begins(where)
        assert not house.row().released
        await elapse(LEASE.ttl_s)
        machine = await house.begins()
        assert machine.lease.taken.dirty
        assert machine.fanout.look.entries_from_ns > house.clock.monotonic_ns()
        assert machine.state.book.orders["c1"].state == "in_doubt"
        await machine.stop(drain_s=0.0)

    run(house, case())


@pytest.mark.parametrize("where", ["line", "recent_signals"])
def test_a_start_that_fails_passes_on_that_exits_are_left_in_a_file_r_072(house: House, where: str) -> None:
    async def case() -> None:
        await house.hands_over(EXITS_LEFT)
        with pytest.raises(Unavailable, match="for once"):
            await house.begins(where)
        assert (house.row().released, house.row().note) == (True, EXITS_LEFT)

    run(house, case())


@pytest.mark.parametrize("where", ["line", "recent_signals"])
def test_a_start_that_fails_after_a_clean_hand_over_holds_up_nobody(house: House, where: str) -> None:
    async def case() -> None:
        await house.hands_over("stopped")
        with pytest.raises(Unavailable, match="for once"):
            await house.begins(where)
        machine = await house.begins()
        assert not machine.lease.taken.may_miss_exits
        await machine.stop(drain_s=0.0)

    run(house, case())


@pytest.mark.parametrize(
    "after_s, is_clean", [(1.0, False), (LEASE.exit_grace_s + 1.0, True)], ids=["within", "after"]
)
def test_a_stop_within_the_grace_of_a_cut_off_predecessor_is_no_clean_hand_over_r_073_r_085(
    house: House, after_s: float, is_clean: bool
) -> None:
    """SIGTERM or break-glass right after a dirty take-over: the predecessor may still send exits."""

    async def case() -> None:
        await house.dies_with_a_held_close()
        machine = await house.begins()
        assert machine.lease.taken.dirty
        await elapse(after_s)
        await machine.stop(drain_s=0.0)
        assert house.row().released is is_clean
        assert not house.row().released or house.row().note == "stopped"

    run(house, case())


@pytest.mark.parametrize("after_s, note", [(1.0, EXITS_LEFT), (LEASE.exit_grace_s + 1.0, "stopped")])
def test_a_stop_right_after_exits_were_left_says_so_again_r_072(
    house: House, after_s: float, note: str
) -> None:
    """What the file held may not be told by the brokers yet."""

    async def case() -> None:
        await house.hands_over(EXITS_LEFT)
        machine = await house.begins()
        await elapse(after_s)
        await machine.stop(drain_s=0.0)
        assert (house.row().released, house.row().note) == (True, note)

    run(house, case())
