"""The task that renews a lease: whatever the database answers, it goes on or says that the lease is over (R-083)."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from kopitra.clock import SystemClock
from kopitra.store.lease import Lease, LeaseSettings
from kopitra.store.shelf import LeaseRow, TakeTry
from tests.unit.store.told import Told

#: seconds; a renewal is due at once
QUICK = LeaseSettings(ttl_s=2.0, renew_s=0.01, margin_s=0.5, exit_grace_s=0.1)
#: as above, and over at once
BRIEF = LeaseSettings(ttl_s=0.2, renew_s=0.01, margin_s=0.05, exit_grace_s=0.05)
#: seconds until a test gives up
END_S = 10.0


class Table:
    """A lease that nobody contests; renewals are what `renew` says of their number."""

    def __init__(self, renew: Callable[[int], bool]) -> None:
        self._renew = renew
        self.renewals = 0
        self.renewed = asyncio.Event()

    async def take_lease(self, shard: str, holder: str, build: str, ttl_s: float) -> TakeTry:
        return TakeTry(None, 1)

    async def renew_lease(self, shard: str, epoch: int, holder: str, ttl_s: float) -> bool:
        self.renewals += 1
        found = self._renew(self.renewals)
        self.renewed.set()
        return found

    async def release_lease(self, shard: str, epoch: int, holder: str, note: str) -> bool:
        raise psycopg.errors.InsufficientPrivilege("permission denied for table lease")

    async def read_lease(self, shard: str) -> LeaseRow | None:
        return None


async def take(table: Table, told: Told, settings: LeaseSettings) -> Lease:
    return await Lease.take(
        table, "s1", "holder", clock=SystemClock(), build="b1", on_lost=told, settings=settings
    )


async def test_r083_an_error_of_the_database_itself_is_tried_again_and_the_lease_lives_on() -> None:
    def renew(number: int) -> bool:
        if number == 1:
            raise psycopg.errors.InternalError_("cache lookup failed")
        return True

    told = Told()
    table = Table(renew)
    lease = await take(table, told, QUICK)
    async with asyncio.timeout(END_S):
        await table.renewed.wait()
    assert (table.renewals, told.reasons) == (2, [])
    assert lease.valid
    await lease.release("done")  # nobody can be told: a successor waits for the end
    assert lease.valid_until_ns == 0


async def test_r083_an_error_that_does_not_pass_ends_the_lease_at_its_deadline_and_is_told_once() -> None:
    def renew(_number: int) -> bool:
        raise psycopg.errors.UndefinedColumn("no column")

    told = Told()
    table = Table(renew)
    lease = await take(table, told, BRIEF)
    async with asyncio.timeout(END_S):
        await told.event.wait()
    assert told.reasons == ["the lease ran out before it could be renewed"]
    assert (lease.valid_until_ns, lease.exits_until_ns) == (0, 0)
    assert table.renewals > 1
    await lease.release("done")


@pytest.mark.parametrize("error", [RuntimeError("odd"), TypeError("odder")], ids=["runtime", "type"])
async def test_r083_a_defect_of_the_renewal_ends_the_lease_and_is_told_once(error: Exception) -> None:
    def renew(_number: int) -> bool:
        raise error

    told = Told()
    lease = await take(Table(renew), told, QUICK)
    async with asyncio.timeout(END_S):
        await told.event.wait()
    assert told.reasons == [f"the lease could not be renewed: {error!r}"]
    assert (lease.valid_until_ns, lease.exits_until_ns) == (0, 0)
    await lease.release("done")
