"""The same webhook message, copied twice across an edge of its window and into more than one replica."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway_container.api.doors import HookGrant
from gateway_container.inbox_pump import Pump
from gateway_container.standby import Standby
from gateway_container.standby_doors import HandOver, StandbyIntake
from kopitra.store.inbox import waiting
from tests.api.client import SECRET, Reply, digest
from tests.api.world import World as Doors
from tests.integration.gateway.world import FIRST, LEADER, WORKSPACE, Follower, World, house

#: so that the nearest edge is never half a second away, and the message neither too old nor from the future
WINDOW_S = 1
#: seconds between the copies
APART_S = 0.002


def hook_at(world: World, at: datetime) -> Doors:
    """The doors of one replica, with a hook of the house's leader; it receives at `at`."""
    doors = Doors()
    doors.clock.at, doors.clock.ns = at, world.machine.supplies.clock.monotonic_ns()
    settings = {"duplicate_window_s": str(WINDOW_S)}
    doors.keyring.hooks["h1"] = HookGrant("h1", WORKSPACE, LEADER, digest(SECRET), "line", settings=settings)
    return doors


def replica(world: World, at: datetime) -> Doors:
    """A replica that does not hold the shard."""
    machine, doors = world.machine, hook_at(world, at)
    standby = Standby(machine.identity, machine.supplies, world.broadcast)
    standby.reconfigure(world.machine.state.config, ())
    handover = HandOver(world.db, machine.supplies.clock, machine.identity.shard)
    doors.doors.intake = StandbyIntake(standby, handover, world.db)
    return doors


def edge(half: bool) -> datetime:
    """The nearest edge of one of the two windows."""
    shift_s = WINDOW_S / 2 if half else 0.0
    return datetime.fromtimestamp(round(datetime.now(UTC).timestamp() - shift_s) + shift_s, UTC)


def told(reply: Reply) -> str:
    return f"{reply.status} {reply.code}" if reply.status >= 400 else str(reply.json["signalId"])


@pytest.mark.parametrize("half", [False, True])
async def test_two_replicas_take_one_of_two_copies_p3(dsn: str, half: bool) -> None:
    """R-023, R-027: neither was durable when the other looked for it: two rows, both planned by the holder."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        at = edge(half) - timedelta(seconds=APART_S / 2)
        one, other = replica(world, at), replica(world, at + timedelta(seconds=APART_S))
        replies = await asyncio.gather(one.hook("long ES q=1"), other.hook("long ES q=1"))
        assert {reply.status for reply in replies} == {202}
        assert len({told(reply) for reply in replies}) == 1
        assert len(await waiting(world.db, "main")) == 1
        await Pump(world.machine, world.db).drain()
        await world.holds(a=1)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("holder_first", [False, True])
async def test_the_holder_and_a_replica_make_one_order_of_two_copies_p3(
    dsn: str, half: bool, holder_first: bool
) -> None:
    """R-023, R-027: the holder appends while the replica's row is on its way, with the key of the next window."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        at = edge(half) - timedelta(seconds=APART_S / 2)
        times = (at, at + timedelta(seconds=APART_S))
        holder, other = hook_at(world, times[not holder_first]), replica(world, times[holder_first])
        holder.doors.intake = world.machine.intake
        async with world.db.transaction() as another:
            await another.run("update lease set released = released")  # commits wait
            direct = asyncio.create_task(holder.hook("long ES q=1"))
            await world.until(lambda: bool(world.machine.state.book.orders), "the plan")
            assert (await other.hook("long ES q=1")).status == 202
        await direct
        await world.until(lambda: world.machine.log.takes_decisions, "the book")
        await Pump(world.machine, world.db).drain()
        await world.holds(a=1)
        assert await waiting(world.db, "main") == []
        assert len([c for c in world.machine.state.book.orders.values() if c.intent.role == "entry"]) == 1
