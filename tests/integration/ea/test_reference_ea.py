"""The reference EA against a gateway process: killed at any point it loses and doubles nothing (R-034)."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx2

from kopitra.store import ea_sessions as store
from tests.integration.ea.reference import Disk, Json, Killed, ReferenceEa
from tests.integration.gateway.process import ACCOUNT, House, base_of, ended, running, spawn
from tests.integration.gateway.simulated import PATIENCE_S
from tests.integration.gateway.world import FIRST, LEADER, SECOND, WORKSPACE

#: what the leader holds, one after the other; each step is one act
WAY = (1, 3, 2, 0, -2, -1, 0, 1, 0)
#: where a round of one act can be cut: opening, the two writes of the disk, and around the send
CUTS = 7


class Base:
    """Where the gateway is now; requests like those of a terminal."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url

    async def __call__(
        self, method: str, path: str, headers: dict[str, str], body: Json | None
    ) -> httpx2.Response | None:
        try:
            return await self.http.request(method, self.url + path, headers=headers, json=body)
        except httpx2.HTTPError:
            return None


class Cut:
    """Kills the terminal the n-th time that it comes to a point."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, where: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed(where)


async def both_follow(house: House, base: Base) -> None:
    """Two followers whose sessions are live."""
    for account in ("a", "b"):
        await house.follow(account)
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        reply = await base("GET", "/health", {}, None)
        if reply is not None and reply.status_code == 200 and reply.json()["status"] == "healthy":
            return
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)


async def nets(house: House) -> list[int]:
    return [await house.on.sims[FIRST].net("a"), await house.on.sims[SECOND].net("b")]


async def settled(house: House, wanted: int) -> None:
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while (found := await nets(house)) != [wanted, wanted]:
        assert asyncio.get_running_loop().time() < end, (found, wanted)
        await asyncio.sleep(0.02)


async def placed(house: House) -> int:
    return sum([len(await sim.placements()) for sim in house.on.sims.values()])


async def step_until_told(ea: ReferenceEa) -> None:
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while ea.disk.state.queue:
        await ea.step()
        assert asyncio.get_running_loop().time() < end


async def test_a_terminal_that_is_killed_anywhere_loses_and_doubles_nothing(dsn: str, tmp_path: Path) -> None:
    async with running(dsn, tmp_path) as (house, poster, gateway):
        base = Base(poster.http, poster.base)
        held = {"ES": Decimal(0)}
        await store.approve(house.db, WORKSPACE, "leader", LEADER, "ann", datetime.now(UTC))
        await both_follow(house, base)
        await first_fill(house, base, held, tmp_path)
        before = await placed(house)
        cuts = 0
        for number, qty in enumerate(WAY):
            held["ES"] = Decimal(qty)
            cut = Cut(number % CUTS + 1)
            try:
                ea = ReferenceEa(Disk(tmp_path, cut), base, house.token, ACCOUNT, held.copy)
                ea.look()
                await ea.step()
            except Killed:
                cuts += 1
            again = ReferenceEa(Disk(tmp_path), base, house.token, ACCOUNT, held.copy)
            again.look()
            await step_until_told(again)
            await again.step()
            await settled(house, qty)
        assert cuts >= len(WAY) // 2
        assert await placed(house) - before == 2 * len(WAY)
        await ended(gateway)


async def first_fill(house: House, base: Base, held: dict[str, Decimal], folder: Path) -> None:
    """Wait until both followers take part, then be flat again."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while 0 in await nets(house):
        assert asyncio.get_running_loop().time() < end
        held["ES"] += 1
        ea = ReferenceEa(Disk(folder), base, house.token, ACCOUNT, held.copy)
        ea.look()
        await step_until_told(ea)
        await asyncio.sleep(0.05)
    held["ES"] = Decimal(0)
    ea = ReferenceEa(Disk(folder), base, house.token, ACCOUNT, held.copy)
    ea.look()
    await step_until_told(ea)
    await settled(house, 0)


async def test_sessions_and_what_they_are_told_survive_the_gateway(dsn: str, tmp_path: Path) -> None:
    async with running(dsn, tmp_path) as (house, poster, gateway):
        base = Base(poster.http, poster.base)
        disk = Disk(tmp_path)
        ea = ReferenceEa(disk, base, house.token, ACCOUNT, dict[str, Decimal])
        await ea.step()  # nobody has approved it: it lives, and waits
        (row,) = await store.list_sessions(house.db, WORKSPACE)
        assert (row.status, row.last_sequence) == ("pending", 0)
        await ended(gateway)
        await store.approve(house.db, WORKSPACE, "key", row.key_id, "ann", datetime.now(UTC))

        gateway = await spawn(dsn, tmp_path)
        base.url = await base_of(gateway)
        headers = {"Authorization": f"Bearer {disk.state.token}", "X-TradeAgent-Account": ACCOUNT}
        reply = await base("GET", "/sessions/current/outbox?wait=10", headers, None)
        assert reply is not None
        assert [event["eventType"] for event in reply.json()["events"]] == ["InitAck"]

        other = ReferenceEa(Disk(_folder(tmp_path)), base, house.token, ACCOUNT, dict[str, Decimal])
        await other.step()
        reply = await base("GET", "/sessions/current/outbox?cursor=1", headers, None)
        assert reply is not None
        notice = reply.json()["events"][-1]
        assert (notice["eventType"], notice["payload"]["reason"]) == ("ShutdownNotice", "session_preempted")
        await ended(gateway)


def _folder(above: Path) -> Path:
    made = above / "other"
    made.mkdir()
    return made


async def test_a_terminal_that_lost_its_disk_is_asked_and_goes_on(dsn: str, tmp_path: Path) -> None:
    """R-030, R-033: numbers begin again from where the gateway is, and a snapshot makes both agree."""
    async with running(dsn, tmp_path) as (house, poster, gateway):
        base = Base(poster.http, poster.base)
        held = {"ES": Decimal(0)}
        await store.approve(house.db, WORKSPACE, "leader", LEADER, "ann", datetime.now(UTC))
        await both_follow(house, base)
        await first_fill(house, base, held, tmp_path)
        held["ES"] = Decimal(2)
        ea = ReferenceEa(Disk(tmp_path), base, house.token, ACCOUNT, held.copy)
        ea.look()
        await step_until_told(ea)
        await settled(house, 2)

        fresh = ReferenceEa(Disk(_folder(tmp_path)), base, house.token, ACCOUNT, held.copy)
        fresh.disk.state.told = {"ES": "1"}  # it closed one meanwhile and nobody heard
        held["ES"] = Decimal(1)
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while not fresh.snapshots:
            await fresh.step()
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.05)
        await settled(house, 1)
        held["ES"] = Decimal(2)
        fresh.look()
        await step_until_told(fresh)
        await settled(house, 2)
        await ended(gateway)
