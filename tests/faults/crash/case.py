"""One death of one gateway process, and what its successor makes of it (R-022): the brokers' ledgers judge."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from gateway_container.engine.recovery import read_book
from gateway_container.operators import add_operator, make_operator
from kopitra.domain.orders import TERMINAL
from kopitra.store.journal_reader import verify
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from tests.faults.crash.points import Point
from tests.integration.gateway.process import ACCOUNT, House
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, street

#: seconds for a process to come up on a loaded machine
READY_S: Final = 60.0
#: seconds until a successor serves entries again: lease, grace, and proof of absence for what was in doubt
WHOLE_S: Final = 60.0
#: seconds in which the brokers come to rest between two steps
REST_S: Final = 1.5
_LOOK_S: Final = 0.03
#: exit code of a process that gave its shard up
LEASE_LOST: Final = 3
FOLLOWERS: Final = ("a", "b")
#: a leader that nobody follows: its switch stops nothing
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the script."""

    path: str
    body: dict[str, object]


def _signal(**body: object) -> Step:
    return Step("/trade-agent/v1/signals", {"symbol": "ES", **body})


#: an EA's morning: every kind of act, and an operator beside it
SCRIPT: Final = (
    _signal(
        action="enter", side="buy", quantity=2, stopLoss={"offset": "20"}, takeProfits=[{"offset": "30"}]
    ),
    _signal(action="add", side="buy", quantity=1),
    _signal(action="enter", side="buy", quantity=1, ordType="limit", price="6700", leaderOrderId="L1"),
    _signal(action="replace", leaderOrderId="L1", price="6701"),
    _signal(action="cancel", leaderOrderId="L1"),
    _signal(action="reduce", quantity=1),
    Step(
        "/ops/v1/kill-switches", {"scope": "leader", "scopeId": OTHER, "state": "halted", "reason": "drill"}
    ),
    _signal(action="enter", side="buy", quantity=1, ordType="limit", price="6690", leaderOrderId="L2"),
    Step("/ops/v1/flatten", {"scope": "account", "scopeId": "b", "reason": "drill", "halt": False}),
    _signal(action="exit"),
)


@dataclass(slots=True)
class Gateway:
    """The process of the moment: armed at first, and started again once it has died."""

    dsn: str
    folder: Path
    label: str
    process: Process | None = None
    base: str = ""
    deaths: int = 0
    log: list[bytes] = field(default_factory=list[bytes])

    async def up(self) -> None:
        """Make sure that a process serves; at most one death is expected."""
        while True:
            if self.process is not None and self.process.returncode is None and self.base:
                return
            if self.process is not None and self.process.returncode is not None:
                await self._buried(self.process)
            armed = () if self.deaths else (self.label,)
            self.base = ""
            self.process = await _spawn(self.dsn, self.folder, armed)
            assert self.process.stdout is not None
            line = await asyncio.wait_for(self.process.stdout.readline(), READY_S)
            if line:
                said = msgspec.json.decode(line, type=dict[str, object])
                self.base = f"http://{said['host']}:{said['port']}"
            else:
                await self.process.wait()

    async def _buried(self, process: Process) -> None:
        _, log = await process.communicate()
        self.log.append(log)
        if process.returncode == LEASE_LOST:
            return  # a machine too busy to renew in time: it stopped itself, which is right
        assert process.returncode == -9, f"exit code {process.returncode}: {log.decode()[-2000:]}"
        assert not self.deaths, f"died twice: {log.decode()[-2000:]}"
        self.deaths += 1

    async def stop(self) -> None:
        """End the last one in peace."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            _, log = await asyncio.wait_for(self.process.communicate(), READY_S)
            self.log.append(log)

    async def kill(self) -> None:
        """Whatever still runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()


async def _spawn(dsn: str, folder: Path, armed: tuple[str, ...]) -> Process:
    environment = {
        **os.environ, "DATABASE_URL": dsn, "KOPITRA_DATA_DIR": str(folder), "KOPITRA_PORT": "0",
        "KOPITRA_DRAIN_S": "0.5", "KOPITRA_LOG_LEVEL": "WARNING", "NO_PROXY": "127.0.0.1",
        "KOPITRA_LEASE_TTL_S": "3", "KOPITRA_EXIT_GRACE_S": "0.5",
    }  # fmt: skip
    command = (sys.executable, "-m", "tests.faults.crash.armed", *armed)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)


class Case:
    """One point."""

    def __init__(self, dsn: str, folder: Path, point: Point) -> None:
        self._point = point
        self._gateway = Gateway(dsn, folder, point.label)
        self._dsn = dsn
        self._folder = folder
        self._keys = 0
        #: signal id -> times that a 202 named it
        self._accepted: list[str] = []

    async def violations(self) -> list[str]:
        """Run it; what was wrong at the end."""
        async with AsyncExitStack() as stack:
            on = await stack.enter_async_context(street({"a": Follower(FIRST), "b": Follower(SECOND)}))
            db = await stack.enter_async_context(Database(self._dsn))
            http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=10))
            stack.push_async_callback(self._gateway.kill)
            house = await House.furnish(db, on, self._folder)
            await create_leader(db, LeaderRow(WORKSPACE, OTHER, "other", b"{}"))
            for account_id in FOLLOWERS:
                await house.follow(account_id)
            grant, self._operator = make_operator(WORKSPACE, "ann", "admin", datetime.now(UTC))
            add_operator(self._folder / "operators.json", grant)
            self._http, self._house, self._on = http, house, on
            for step in SCRIPT:
                await self._take(step)
                await self._rest()
            wrong = await self._whole_again()
            await self._gateway.stop()
            return wrong + await self._judged(db)

    # the EA and the operator -------------------------------------------------------------------------------

    async def _take(self, step: Step) -> dict[str, object]:
        """Ask until there is an answer: an EA keeps its key, through every outage (R-034)."""
        self._keys += 1
        key = f"k{self._keys}"
        body = dict(step.body)
        if "signals" in step.path:
            body["signalId"] = f"s{self._keys}"
            body["occurredAt"] = _now()
        while True:
            await self._gateway.up()
            try:
                answer = await self._http.post(
                    self._gateway.base + step.path, json=body, headers=self._headers(step, key)
                )
            except httpx2.TransportError:
                await asyncio.sleep(_LOOK_S)
                continue
            if answer.status_code in (409, 425, 429, 503):
                await asyncio.sleep(_LOOK_S)
                continue
            assert answer.status_code in (200, 202), f"{step}: {answer.status_code} {answer.text}"
            if "signals" in step.path:
                self._accepted.append(str(body["signalId"]))
            return answer.json()

    def _headers(self, step: Step, key: str) -> dict[str, str]:
        if step.path.startswith("/ops"):
            return {"Authorization": f"Bearer {self._operator}", "Idempotency-Key": key}
        return {
            "Authorization": f"Bearer {self._house.token}",
            "X-TradeAgent-Account": ACCOUNT,
            "Idempotency-Key": key,
        }

    async def _rest(self) -> None:
        """Until the ledgers stand still, or the process has died."""
        seen: object = None
        end = asyncio.get_running_loop().time() + REST_S
        calm = 0
        while calm < 3 and asyncio.get_running_loop().time() < end:
            process = self._gateway.process
            if process is not None and process.returncode is not None:
                return
            await asyncio.sleep(_LOOK_S)
            now = [len(await sim.ledger("placement")) for sim in self._on.sims.values()]
            now += [len(await sim.ledger("execution")) for sim in self._on.sims.values()]
            calm, seen = (calm + 1 if now == seen else 0), now

    # judging -----------------------------------------------------------------------------------------------

    async def _whole_again(self) -> list[str]:
        """The leader is out: everybody is flat, nothing rests, and a new entry and exit are copied once."""
        wrong: list[str] = []
        if not await self._until(self._all_flat):
            wrong.append(f"not flat after the leader's exit: {await self._standing()}")
        probe = _signal(action="enter", side="buy", quantity=1)
        if not await self._until(lambda: self._copied(probe)):
            wrong.append("no entry is copied any more")
        await self._take(_signal(action="exit"))
        if not await self._until(self._all_flat):
            wrong.append(f"not flat at the end: {await self._standing()}")
        if self._gateway.deaths != 1:
            wrong.append("the point was never reached")
        return wrong

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        end = asyncio.get_running_loop().time() + WHOLE_S
        while not await condition():
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _copied(self, probe: Step) -> bool:
        """Entries may be declined for a while (a predecessor's grace, an order in doubt); then both follow."""
        said = await self._take(probe)
        copies = msgspec.convert(said["copies"], dict[str, int]) if "copies" in said else {}
        if copies.get("approved") == len(FOLLOWERS):
            held = await self._until_held()
            if held:
                return True
        await self._take(_signal(action="exit"))
        await self._until(self._all_flat)
        return False

    async def _until_held(self) -> bool:
        end = asyncio.get_running_loop().time() + REST_S
        while asyncio.get_running_loop().time() < end:
            if all([await self._on.sim(a).net(a) == 1 for a in FOLLOWERS]):
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    async def _all_flat(self) -> bool:
        for account_id in FOLLOWERS:
            sim = self._on.sim(account_id)
            if await sim.net(account_id) or await sim.live(account_id):
                return False
        return True

    async def _standing(self) -> str:
        said = [
            f"{a}: holds {await self._on.sim(a).net(a)}, {len(await self._on.sim(a).live(a))} orders rest"
            for a in FOLLOWERS
        ]
        return "; ".join(said)

    async def _judged(self, db: Database) -> list[str]:
        book = await read_book(PostgresShelf(db), "main")
        wrong: list[str] = []
        for sim in self._on.sims.values():
            asked = Counter(row.cl_ord_id for row in await sim.placements() if row.cl_ord_id)
            wrong += [f"{name} was placed {count} times (I-01)" for name, count in asked.items() if count > 1]
            wrong += [f"{name} is in no journal (I-07)" for name in asked if name not in book.orders]
        wrong += [
            f"{order.intent.cl_ord_id} ended {order.state} (I-03)"
            for order in book.orders.values()
            if order.state not in TERMINAL
        ]
        wrong += [
            f"the book holds {position.qty} {contract} at {account_id} (I-08)"
            for (account_id, contract), position in sorted(book.positions.items())
            if position.qty
        ]
        if (checked := await verify(db, "main")).bad is not None:
            wrong.append(f"the journal's chain is broken: {checked.bad}")
        rows = await _signals(db)
        wrong += [
            f"{name} was accepted and planned {rows[name]} times"
            for name in self._accepted
            if rows[name] != 1
        ]
        return wrong


class _SignalRow(msgspec.Struct, frozen=True):
    signal_id: str


async def _signals(db: Database) -> Counter[str]:
    """How often each signal stands in the journal (I-02)."""
    text = """
        select payload -> 'signal' ->> 'signal_id' as signal_id from journal where entry = 'SignalPlanned'"""
    async with db.session() as session:
        rows = await session.tuples(_SignalRow, text)
    return Counter(row.signal_id for row in rows)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
