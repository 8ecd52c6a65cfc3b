"""While PostgreSQL is away exits go on by the local exit file, and the journal learns of them once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway_container.api.doors import FlattenOrder
from gateway_container.exit_writer import LocalExitFile
from kopitra.domain.errors import Unavailable
from kopitra.domain.journal import AlertRaised, Entry, FollowUp, SignalPlanned, SwitchChanged
from kopitra.store.exit_records import read
from kopitra.store.journal_reader import verify
from kopitra.store.lease import LeaseSettings
from kopitra.store.pool import Database
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import BOSS, FIRST, SECOND, WORKSPACE, Follower, World, engine, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}
#: long enough for a slow machine, short enough to wait for
QUICK = LeaseSettings(ttl_s=3.0, renew_s=0.5, margin_s=0.5, exit_grace_s=4.0)


async def followers_hold_one(world: World) -> None:
    await world.sim(BOSS).by_hand(BOSS, world.contract, "buy", 1)
    await world.holds(a=1, b=1)


async def leader_leaves(world: World) -> None:
    await world.sim(BOSS).by_hand(BOSS, world.contract, "sell", 1)


async def is_back(world: World, line: FaultyLine) -> None:
    await line.up()
    await world.until(lambda: world.machine.log.takes_decisions, "the journal to take decisions")
    await world.until(lambda: not world.machine.log.backlog, "the backlog to be written")


async def flattened(world: World, flatten_id: str) -> None:
    def done() -> bool:
        found = world.machine.control.flatten_progress(WORKSPACE, flatten_id)
        return found is not None and found.done

    await world.until(done, "the end of the flatten")


def told_all(entries: list[Entry]) -> str:
    """Every alert, as one text."""
    return " ".join(e.text for e in entries if isinstance(e, AlertRaised))


async def records(file: LocalExitFile) -> list[str]:
    return [record.entry for record in read(await file.load()).records]


async def planned(world: World) -> Counter[str]:
    """How often each signal is in the journal."""
    return Counter(e.signal.signal_id for e in await world.journal() if isinstance(e, SignalPlanned))


async def test_followers_leave_with_their_leader_although_the_database_is_down(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-071, R-072: the exit is in the file before it is at the broker, and in the journal exactly once afterwards."""
    file = LocalExitFile(tmp_path, "main")
    async with street(ONE_EACH, leader_at=FIRST) as on, engine(faulty_dsn, on, exits=file) as world:
        await followers_hold_one(world)
        await line.down()
        await leader_leaves(world)
        await world.holds(a=0, b=0)
        assert await records(file) == ["SignalPlanned"]
        with pytest.raises(Unavailable):  # an EA keeps its entry and sends it again: never 202
            world.machine.intake.accept(world.signal(side="buy", quantity=1), None)

        await is_back(world, line)
        assert set((await planned(world)).values()) == {1}
        await world.until(lambda: not world.machine.exits.waiting, "the import")
        assert await records(file) == []
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.no_order_is_doubled()
        assert (await verify(world.db, "main")).bad is None


async def test_a_reversal_closes_and_opens_nothing_while_the_database_is_down(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-071, R-072: the entry of the same signal is refused, and told."""
    file = LocalExitFile(tmp_path, "main")
    async with street(ONE_EACH, leader_at=FIRST) as on, engine(faulty_dsn, on, exits=file) as world:
        await followers_hold_one(world)
        await line.down()
        await world.sim(BOSS).by_hand(BOSS, world.contract, "sell", 3)
        await world.holds(a=0, b=0)
        await is_back(world, line)
        await world.alert("leader-entries-refused")
        assert [world.held(a) for a in ONE_EACH] == [0, 0]
        assert [len(await world.sim(a).placements(a)) for a in ONE_EACH] == [2, 2]


async def test_a_crash_without_the_database_loses_no_exit_and_doubles_none(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-072, R-018: the next start takes the file into the journal before it does anything else, and only once."""
    async with street(ONE_EACH, leader_at=FIRST) as on:
        file = LocalExitFile(tmp_path, "main")
        async with engine(faulty_dsn, on, lease=QUICK, exits=file, stop=False) as world:
            await followers_hold_one(world)
            await line.down()
            await leader_leaves(world)
            await world.holds(a=0, b=0)
            await world.machine.control.set_switch(WORKSPACE, "account", "b", "halted", "looks wrong", "ann")
            kept = await file.load()
            await world.crash()
        await line.up()
        # The second start finds the same file: as if the first had died before it was cleared.
        for _ in range(2):
            async with Database(faulty_dsn) as db:
                await db.run("update lease set expires_at = clock_timestamp()")
            (tmp_path / "exits-main.bin").write_bytes(kept)
            async with engine(faulty_dsn, on, lease=QUICK, exits=LocalExitFile(tmp_path, "main")) as world:
                await world.holds(a=0, b=0)
                assert set((await planned(world)).values()) == {1}
                changes = [e for e in await world.journal() if isinstance(e, SwitchChanged)]
                assert [(c.switch.scope_id, c.switch.state) for c in changes] == [("b", "halted")]
                await world.no_order_is_doubled()


async def test_past_its_lease_a_holder_closes_for_the_grace_and_then_stops(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-073: exits for `exit_grace` past the lease, entries never; after it nothing is written any more and people
    are paged."""
    file = LocalExitFile(tmp_path, "main")
    async with (
        street(ONE_EACH, leader_at=FIRST) as on,
        engine(faulty_dsn, on, lease=QUICK, exits=file) as world,
    ):
        await followers_hold_one(world)
        machine = world.machine
        await line.down()
        await world.until(lambda: not machine.lease.valid, "the end of the lease by the local clock")
        assert world.lost == []
        # A successor would copy the leader's exit too, so ours waits; what a person asked for is closed natively.
        await leader_leaves(world)
        order = FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", True, None)
        await machine.control.flatten(order)
        natives = {a for a in ONE_EACH if machine.fanout.look.may_exit(a, flatten=True)}
        assert natives
        for account in natives:
            await world.until(lambda a=account: world.held(a) == 0, f"the close of {account}")
        await world.until(lambda: world.lost, "the end of the grace")
        assert machine.fanout.look.lease_is_over
        for account in ONE_EACH.keys() - natives:
            assert await world.sim(account).net(account) == 1
        for account in natives:
            assert (await world.sim(account).net(account), await world.sim(account).live(account)) == (0, [])
        while "AlertRaised" not in await records(file):
            await asyncio.sleep(0.02)  # it is written beside the loop
        (page,) = [r for r in read(await file.load()).records if r.entry == "AlertRaised"]
        assert "exits-stopped" in page.payload
        await line.up()


async def test_a_lease_that_nobody_took_is_renewed_in_the_grace(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-073: the database comes back in time, so the same process goes on under the same epoch."""
    file = LocalExitFile(tmp_path, "main")
    async with street({"a": Follower(FIRST)}) as on, engine(faulty_dsn, on, lease=QUICK, exits=file) as world:
        await line.down()
        await world.until(lambda: not world.machine.lease.valid, "the end of the lease by the local clock")
        await line.up()
        await world.until(lambda: world.machine.lease.valid, "a late renewal")
        await world.until(lambda: world.machine.log.takes_decisions, "the journal")
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        assert (world.lost, world.machine.lease.epoch) == ([], 1)


async def test_a_flatten_without_the_database_is_in_the_file_before_it_is_at_the_broker(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-072, R-094."""
    file = LocalExitFile(tmp_path, "main")
    async with street(ONE_EACH) as on, engine(faulty_dsn, on, exits=file) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await line.down()
        order = FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", True, None)
        view = await world.machine.control.flatten(order)
        await flattened(world, view.flatten_id)
        assert [await world.sim(a).net(a) for a in ONE_EACH] == [0, 0]
        assert Counter(await records(file))["FollowUp"] == 2
        await is_back(world, line)
        follow_ups = [
            e for e in await world.journal() if isinstance(e, FollowUp) and e.cause == view.flatten_id
        ]
        assert sorted(e.account_id for e in follow_ups) == ["a", "b"]
        await world.no_order_is_doubled()


async def test_an_old_file_that_returns_after_another_holder_acts_no_more(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-072, R-021: neither its flatten nor its leader's exit touches what another process has opened since."""
    first, second = tmp_path / "one", tmp_path / "two"
    async with street({"a": Follower(FIRST)}, leader_at=FIRST) as on:
        async with engine(
            faulty_dsn, on, lease=QUICK, exits=LocalExitFile(first, "main"), stop=False
        ) as world:
            await world.sim(BOSS).by_hand(BOSS, world.contract, "buy", 1)
            await world.holds(a=1)
            await world.until(lambda: world.machine.log.is_quiet, "the fills in the journal")
            await line.down()
            await world.until(lambda: not world.machine.log.takes_decisions, "the outage")
            await leader_leaves(world)
            await world.holds(a=0)
            order = FlattenOrder(WORKSPACE, "account", "a", "test", "ann", False, None)
            view = await world.machine.control.flatten(order)
            await flattened(world, view.flatten_id)
            await world.crash()
        await line.up()
        async with Database(faulty_dsn) as db:
            await db.run("update lease set expires_at = clock_timestamp()")
        async with engine(faulty_dsn, on, lease=QUICK, exits=LocalExitFile(second, "main")) as world:
            comparison = world.machine.comparison
            comparison.pace = comparison.pace._replace(
                every_low_s=0.5, every_high_s=1.0, quiet_s=0.3, tick_s=0.1
            )
            comparison.soon("a")
            await world.until(lambda: world.held("a") == 0, "what the broker showed")
            clock, look = world.machine.state.clock, world.machine.fanout.look
            await world.until(lambda: clock.monotonic_ns() > look.entries_from_ns, "the end of the grace")
            await world.sim(BOSS).by_hand(BOSS, world.contract, "buy", 3)
            await world.holds(a=3)
        async with engine(faulty_dsn, on, lease=QUICK, exits=LocalExitFile(first, "main")) as world:
            await world.machine.comparison.look("a")
            assert world.machine.state.book.flattens == {}
            await world.holds(a=3)
            await world.journalled(
                lambda e: isinstance(e, AlertRaised) and "left alone" in e.text, "the alert"
            )


@pytest.mark.parametrize("damage", ["tail", "middle"])
async def test_a_damaged_exit_file_is_told_and_costs_nothing_around_it(
    dsn: str, tmp_path: Path, damage: str
) -> None:
    """R-072: a half-written tail is tolerated, a corrupt middle is kept aside for a person; the start goes on."""
    path = tmp_path / "exits-main.bin"
    async with street({"a": Follower(FIRST)}) as on:
        file = LocalExitFile(tmp_path, "main")
        async with engine(dsn, on, exits=file) as world:
            exits = world.machine.exits
            for text in ("one", "two", "three"):
                await exits.put(WORKSPACE, AlertRaised("test", text))
            data = bytearray(path.read_bytes())
            exits.found(())  # the records stay in the file, as after a crash
        cut = data[:-3] if damage == "tail" else data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :]
        path.write_bytes(cut)
        async with engine(dsn, on, exits=LocalExitFile(tmp_path, "main")) as world:
            told = await world.alert("exit-file")
            assert ("half-written" if damage == "tail" else "damaged") in told.text
            lost = {"tail": "three", "middle": "two"}[damage]
            found = {e.text for e in await world.journal() if isinstance(e, AlertRaised) and e.code == "test"}
            assert found == {"one", "two", "three"} - {lost}
            assert ("is kept as" in told_all(await world.journal())) is (damage == "middle")
