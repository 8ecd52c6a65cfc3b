"""Two holders, one shard."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from kopitra.domain.errors import Conflict, LeaseLost, Unavailable
from kopitra.ports import Clock
from kopitra.store.append_sql import STATEMENTS
from kopitra.store.drafts import Draft
from kopitra.store.journal import JournalWriter
from kopitra.store.lease import Lease, LeaseSettings
from kopitra.store.lease_table import read_lease, renew_lease
from kopitra.store.pool import POOL_CONNECTIONS_MAX, POOL_WAITING_MAX, Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.switches import list_switches
from tests.unit.store.told import Told

#: seconds; short enough to wait for, long enough for a busy machine
QUICK = LeaseSettings(ttl_s=1.2, renew_s=0.3, margin_s=0.4, exit_grace_s=0.4)


@dataclass(frozen=True, slots=True)
class _Pid:
    pid: int


async def take(db: Database, clock: Clock, holder: str, told: Callable[[str], None]) -> Lease:
    return await Lease.take(
        PostgresShelf(db), "s1", holder, clock=clock, build="b1", on_lost=told, settings=QUICK
    )


async def take_when_free(db: Database, clock: Clock, holder: str, told: Callable[[str], None]) -> Lease:
    async with asyncio.timeout(10):
        while True:
            try:
                return await take(db, clock, holder, told)
            except Conflict:
                await asyncio.sleep(0.05)


async def test_the_second_waits_while_the_first_renews(db: Database, clock: Clock) -> None:
    first = await take(db, clock, "first", Told())
    before = first.valid_until_ns
    async with asyncio.timeout(5):
        while first.valid_until_ns == before:
            with pytest.raises(Conflict, match="held by first"):
                await take(db, clock, "second", Told())
            await asyncio.sleep(0.05)
    assert first.valid
    await first.release("done")


async def test_a_clean_release_hands_over_at_once(db: Database, clock: Clock) -> None:
    first = await take(db, clock, "first", Told())
    await first.release("deploy 42")
    assert first.valid_until_ns == 0
    second = await take(db, clock, "second", Told())
    assert (second.epoch, second.taken.dirty) == (first.epoch + 1, False)
    assert (second.taken.previous_holder, second.taken.previous_note) == ("first", "deploy 42")
    await second.release("")


async def test_a_crashed_holder_stops_itself_before_its_successor_starts(db: Database, clock: Clock) -> None:
    first = await take(db, clock, "first", Told())
    deadline = first.valid_until_ns
    first._task.cancel()  # it renews no more, as if its process were paused
    second = await take_when_free(db, clock, "second", Told())
    assert clock.monotonic_ns() > deadline
    assert not first.valid
    assert (second.epoch, second.taken.dirty) == (2, True)
    await second.release("")


async def test_a_superseded_holder_can_append_nothing(
    db: Database, clock: Clock, draft: Callable[..., Draft]
) -> None:
    first = await take(db, clock, "first", Told())
    old = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=first.epoch)
    await old.append([draft(1)])
    first._task.cancel()
    second = await take_when_free(db, clock, "second", Told())
    new = await JournalWriter.open(PostgresShelf(db), shard="s1", epoch=second.epoch)
    with pytest.raises(LeaseLost):
        await old.append([draft(2)])
    assert (await new.append([draft(3)])).seq == 2
    await old.close()
    await new.close()
    await second.release("")


async def test_a_take_over_waits_for_an_append_that_has_not_committed(db: Database, clock: Clock) -> None:
    first = await take(db, clock, "first", Told())
    await first.release("")
    types, text = STATEMENTS["append_one"]
    async with db.transaction() as session:
        await session.run(f"prepare append_one ({types}) as {text}")
        await session.run("execute append_one ('s1', 1, 1, now(), 'k', 'e', 'w', '{}', '')")
        with pytest.raises(Unavailable):
            await take(db, clock, "second", Told())
    second = await take(db, clock, "second", Told())
    assert second.epoch == 2
    await second.release("")


async def test_a_holder_whose_row_was_taken_is_told_once(db: Database, clock: Clock) -> None:
    told = Told()
    first = await take(db, clock, "first", told)
    await db.run("update lease set epoch = epoch + 1, holder = 'thief'")
    await asyncio.wait_for(told.event.wait(), 5)
    assert told.reasons == ["another process took the lease"]
    assert first.valid_until_ns == 0
    await first.abandon()


async def test_a_holder_without_a_database_stops_at_its_own_deadline(db: Database, clock: Clock) -> None:
    """R-073: entries end with the lease by the local clock, exits with the grace after it."""
    told = Told()
    async with Database(db.dsn, "holder") as own:
        first = await take(own, clock, "first", told)
        deadline, last = first.valid_until_ns, first.exits_until_ns
        await own.__aexit__()
        await asyncio.wait_for(told.event.wait(), 5)
    assert told.reasons == ["the lease ran out before it could be renewed"]
    assert clock.monotonic_ns() >= last == deadline + 400_000_000
    assert (first.valid_until_ns, first.exits_until_ns) == (0, 0)
    await first.abandon()


async def test_the_row_says_who_holds_it(db: Database, clock: Clock) -> None:
    assert await read_lease(db, "s1") is None
    first = await take(db, clock, "first", Told())
    row = await read_lease(db, "s1")
    assert row is not None
    assert (row.holder, row.epoch, row.build, row.released) == ("first", 1, "b1", False)
    assert 0 < row.left_s <= QUICK.ttl_s
    await first.release("")


@pytest.mark.parametrize(
    "timers",
    [
        {"margin_s": 10.0},
        {"margin_s": 0.0},
        {"renew_s": 4.5},
        {"renew_s": 0.0},
        {"exit_grace_s": 61.0},
    ],
)
def test_timers_that_are_not_safe_together_are_refused(timers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        LeaseSettings(**timers)


async def test_r083_a_crowd_at_the_doors_holds_up_neither_the_renewal_nor_the_switches(
    db: Database, clock: Clock
) -> None:
    """L-1, L-4: all connections of the pool are taken, and nobody else may even wait for one."""
    lease = await take(db, clock, "a", Told())
    assert (
        await list_switches(db) == []
    )  # connects: on a busy machine that takes longer than the crowd may wait
    async with AsyncExitStack() as stack:
        for _ in range(POOL_CONNECTIONS_MAX):
            await stack.enter_async_context(db.session())
        crowd = [asyncio.ensure_future(db.run("select 1")) for _ in range(POOL_WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await db.run("select 1")
        assert await renew_lease(db, "s1", lease.epoch, "a", QUICK.ttl_s)
        assert await list_switches(db) == []
    await asyncio.gather(*crowd)
    await lease.release("the test is over")


async def test_a_server_that_gives_a_session_up_is_away_and_not_a_fault(db: Database) -> None:
    """A standby that was paused inside its transaction must look again and not die of it (R-082); a database that only
    reads after a fail-over is away, too (R-071)."""

    async def stand_still() -> None:
        async with db.transaction() as session:
            await session.run("set local idle_in_transaction_session_timeout = 1")
            me, waits = await session.rows(_Pid, "select pg_backend_pid() as pid"), 0
            while await db.rows(_Pid, "select pid from pg_stat_activity where pid = %s", (me[0].pid,)):
                waits += 1
                assert waits < 500, "the server keeps the session"
                await asyncio.sleep(0.01)
            await session.rows(_Pid, "select 1 as pid")

    async def write_to_a_reader() -> None:
        async with db.transaction() as session:
            await session.run("set transaction read only")
            await session.run("create table t (n int)")

    with pytest.raises(Unavailable):
        await stand_still()
    with pytest.raises(Unavailable, match="read-only"):
        await write_to_a_reader()
