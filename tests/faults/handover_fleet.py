"""Several gateways of one shard in this process, composed as in production, and EAs that retry as an EA does.

Each replica has its own connections, so its way to the database can be cut alone. `play` sends signals through all
doors in turn until each is answered, and `Story` says afterwards what the journal and the brokers' ledgers know.
"""

import asyncio
import contextlib
import functools
import gc
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import httpx2
import msgspec

from brokers import registry
from gateway_container.compose import _replica
from gateway_container.engine.recovery import decode_row
from gateway_container.replica import Replica
from kopitra.domain.book import Book
from kopitra.domain.fold import fold
from kopitra.domain.journal import Entry, SignalPlanned
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import ChildOrder
from kopitra.settings import Settings
from kopitra.store.journal_reader import replay
from kopitra.store.pool import Database
from tests.integration.gateway.process import ACCOUNT, House
from tests.integration.gateway.world import FIRST, SECOND, Follower, Street, street

#: seconds that a test waits for a condition
PATIENCE_S: Final = 20.0
STEP_S: Final = 0.01
#: seconds of a lease in these tests, and of the exit grace after it
TTL_S: Final = 1.0
GRACE_S: Final = 0.5
#: seconds an EA waits before it sends the same again, and for an answer
RETRY_S: Final = 0.05
ANSWER_S: Final = 4.0

#: how brokers' settings of a login name their request budgets
BUDGETS: Final = ("per_window", "per_minute", "per_hour")
#: more than anybody sends
PLENTY: Final = 1_000_000

_names = itertools.count(1)


async def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition in memory."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while not condition():
        assert loop.time() < deadline, f"gave up waiting for {what}"
        await asyncio.sleep(STEP_S)


@dataclass(slots=True)
class Gateway:
    """One replica; `life` ends with its exit code."""

    name: str
    replica: Replica
    http: httpx2.AsyncClient
    life: asyncio.Task[int]

    @property
    def leads(self) -> bool:
        """It holds the lease and its doors lead to the machine."""
        return self.replica._pump is not None and not self.replica._over.is_set()

    async def stopped(self) -> int:
        """SIGTERM, and its exit code."""
        self.replica.stop()
        return await self.life


@asynccontextmanager
async def gateway(dsn: str, folder: Path, **settings: object) -> AsyncGenerator[Gateway]:
    """Start a replica; at the end it is stopped as by SIGTERM, if it still lives."""
    name = f"g{next(_names)}"
    values: dict[str, object] = {
        "data_dir": folder, "holder": name, "lease_ttl_s": TTL_S, "exit_grace_s": GRACE_S, "drain_s": 1.0, **settings,
    }  # fmt: skip
    made = Settings.model_validate(values)
    async with Database(dsn, f"kopitra {name}") as db, _replica(made, dsn, db) as (replica, app):
        await replica.begin()
        life = asyncio.get_running_loop().create_task(replica.run())
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://gateway", timeout=ANSWER_S
        ) as http:
            yield Gateway(name, replica, http, life)
            replica.stop()
            await life
    _forget()


def _forget() -> None:
    """Libraries' caches (of the routes' dependencies, of typing) keep the doors of each gateway there ever was, and by
    them its book: after hundreds of gateways in one process the collector's pauses cost the living their leases."""
    for cache in gc.get_objects():
        if isinstance(cache, functools._lru_cache_wrapper):
            cache.cache_clear()


@dataclass(slots=True)
class Told:
    """What an EA was answered, and when it had sent (loop seconds)."""

    signal_id: str
    action: str
    status: str
    sent_s: float
    refusals: list[int]


class Ends(NamedTuple):
    """What went wrong in a run: order ids placed twice at a broker; answered signals without a plan, and placed orders
    that no journal knows; signals planned twice."""

    doubled: tuple[str, ...]
    lost: tuple[str, ...]
    planned_twice: tuple[str, ...]


@dataclass(slots=True)
class Fleet:
    """A furnished house and the doors of its gateways."""

    house: House
    folder: Path
    dsn: str
    #: ways to the doors, in the order of trying; a test changes it
    doors: list[tuple[httpx2.AsyncClient, str]] = field(default_factory=list[tuple[httpx2.AsyncClient, str]])
    told: list[Told] = field(default_factory=list[Told])
    sent: int = 0

    async def send(self, **fields: object) -> Told:
        """Post one signal and retry with the same key, door after door, until it is answered 202."""
        self.sent += 1
        number = self.sent
        name = f"sig-{number}"
        occurred = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = {"symbol": "ES", "occurredAt": occurred, "signalId": name, **fields}
        headers = {
            "Authorization": f"Bearer {self.house.token}",
            "X-TradeAgent-Account": ACCOUNT,
            "Idempotency-Key": f"key-{number}",
        }
        loop = asyncio.get_running_loop()
        told = Told(name, str(fields.get("action", "")), "", loop.time(), [])
        for attempt in itertools.count(number):
            while not self.doors:
                await asyncio.sleep(RETRY_S)
            http, base = self.doors[attempt % len(self.doors)]
            answer = None
            with contextlib.suppress(
                httpx2.TransportError, RuntimeError
            ):  # the latter: a client that was closed
                answer = await http.post(f"{base}/signals", json=body, headers=headers)
            if answer is not None and answer.status_code == 202:
                told.status = answer.json()["status"]
                self.told.append(told)
                return told
            told.refusals.append(0 if answer is None else answer.status_code)
            assert answer is None or answer.status_code in (409, 503), answer.text
            assert loop.time() < told.sent_s + PATIENCE_S, f"{name} got {Counter(told.refusals)}"
            await asyncio.sleep(RETRY_S)
        raise AssertionError("not reached")

    async def journal(self) -> list[Entry]:
        """Everything that is durable."""
        return [decode_row(row) async for row in replay(self.house.db, "main")]

    async def book(self) -> Book:
        """The book of the journal."""
        book = Book()
        async for row in replay(self.house.db, "main"):
            fold(book, decode_row(row))
            book.seq = row.seq
        return book

    async def children(self, signal_id: str) -> list[ChildOrder]:
        """The child orders of a signal, by the journal."""
        book = await self.book()
        lists = [
            e.plan.list_id
            for e in await self.journal()
            if isinstance(e, SignalPlanned) and e.signal.signal_id == signal_id
        ]
        return [book.orders[i] for name in lists for i in book.lists.get(name, [])]

    async def planned(self) -> Counter[str]:
        """How often each signal was planned."""
        return Counter(e.signal.signal_id for e in await self.journal() if isinstance(e, SignalPlanned))

    async def settled(
        self, tend: Callable[[], Awaitable[None]] | None = None, within_s: float = 60.0
    ) -> None:
        """Wait until no order is under way or in doubt; `tend` keeps somebody there to find out."""
        deadline = asyncio.get_running_loop().time() + within_s
        while unclear := [
            o for o in (await self.book()).orders.values() if o.state in ("claimed", "in_doubt")
        ]:
            assert asyncio.get_running_loop().time() < deadline, [
                (
                    o.intent.cl_ord_id,
                    o.intent.account_id,
                    o.intent.role,
                    o.intent.side,
                    o.state,
                    o.reason,
                    o.asked,
                )
                for o in unclear
            ]
            if tend is not None:
                await tend()
            await asyncio.sleep(0.1)

    async def ends(self) -> Ends:
        """What became of everything, by the brokers' ledgers and the journal."""
        planned = await self.planned()
        asked: Counter[str] = Counter()
        for sim in self.house.on.sims.values():
            asked += Counter(row.cl_ord_id for row in await sim.placements() if row.cl_ord_id)
        book = await self.book()
        return Ends(
            tuple(sorted(name for name, count in asked.items() if count > 1)),
            tuple(t.signal_id for t in self.told if not planned[t.signal_id])
            + tuple(sorted(asked.keys() - book.orders)),
            tuple(sorted(name for name, count in planned.items() if count > 1)),
        )

    async def nothing_is_doubled_or_lost(self) -> None:
        """Each signal that was answered is planned once; each id was placed once at its broker; what the brokers hold
        is what the book says (I-01, I-02, I-07, I-08)."""
        assert await self.ends() == Ends((), (), ())
        book = await self.book()
        for account in ("a", "b"):
            net = sum(p.qty for (held, _), p in book.positions.items() if held == account)
            assert await self.house.on.sim(account).net(account) == net


async def without_budgets(on: Street) -> None:
    """An EA that trades ten times a second uses up any minute's budget before the first hand-over is over; how long a
    shard is dark can only be seen where nothing else keeps orders back."""
    for login_id, login in on.config.logins.items():
        known = msgspec.convert(registry()[login.broker].credential_schema["properties"], dict[str, object])
        budgets = {name: str(PLENTY) for name in known if name.endswith(BUDGETS)}
        on.config.logins[login_id] = replace(login, settings={**login.settings, **budgets})  # pyright: ignore[reportIndexIssue]
    for sim in on.sims.values():
        await sim.settings(rate_limit_per_window=PLENTY)


@asynccontextmanager
async def fleet(dsn: str, folder: Path) -> AsyncGenerator[Fleet]:
    """Two followers at two brokers and a leader's key; no gateway yet."""
    async with street({"a": Follower(FIRST), "b": Follower(SECOND)}) as on, Database(dsn) as db:
        await without_budgets(on)
        house = await House.furnish(db, on, folder)
        for account in ("a", "b"):
            await house.follow(account, RiskLimits(max_orders_per_minute=PLENTY))
        yield Fleet(house, folder, dsn)


BASE: Final = "/trade-agent/v1"
