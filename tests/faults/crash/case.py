"""One death of one gateway process, and what its successors make of it (R-022): the brokers' ledgers judge."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import httpx2
import msgspec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway_container.engine.recovery import decode_row, read_book
from gateway_container.operators import add_operator, make_operator
from kopitra.domain.journal import AlertRaised
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import TERMINAL
from kopitra.domain.prop_limits import MaxLoss, PropLimits
from kopitra.store.encoding import encode
from kopitra.store.journal_reader import replay
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.limits import LimitsRow, add_limits
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from tests.faults.crash.judging import Told, Verdict, judge
from tests.faults.crash.lives import LEASE_TTL_S, Lives
from tests.faults.crash.points import Death
from tests.faults.crash.script import (
    DRIFT_QTY,
    ENTER,
    EXIT,
    FLATTEN,
    OTHER,
    POLITE,
    RUDE,
    SCRIPTS,
    STOP_OTHER,
    Deed,
    Request,
)
from tests.faults.handover_fleet import PLENTY, without_budgets
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.process import ACCOUNT, House
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, street

#: seconds until a successor serves entries again: lease, grace, and proof of absence for what was in doubt
WHOLE_S: Final = 60.0
#: seconds in which the brokers come to rest between two steps, and for a deed to show
REST_S: Final = 1.5
DEED_S: Final = 12.0
_LOOK_S: Final = 0.03
#: seconds between two tries of something that was declined
_TRY_S: Final = 0.4
FOLLOWERS: Final = ("a", "b")
#: no limit that anything here comes near, but one whose high-water mark is kept
LOOSE: Final = PropLimits(
    Decimal(50_000), max_loss=MaxLoss("trailing_intraday", Decimal(40_000)), stale_after_ms=60_000
)


class _Step(msgspec.Struct):
    verdict: str
    reason: str = ""
    detail: str = ""


class _Plan(msgspec.Struct, rename="camel"):
    plan_id: str
    steps: list[_Step] = msgspec.field(default_factory=list[_Step])


class Case:
    """One death under one seed."""

    def __init__(self, dsn: str, folder: Path, death: Death, seed: int) -> None:
        self._death = death
        self._dsn = dsn
        self._folder = folder
        self._rude = RUDE[seed % len(RUDE)]
        self._keys = 0
        self._accepted: list[str] = []
        self._stopped: list[str] = []
        self._wrong: list[str] = []
        #: orders in doubt of which a person has told what became
        self._seen: set[str] = set()
        self._lives: list[Lives] = []
        self._line: FaultyLine | None = None

    async def verdict(self) -> Verdict:
        """Run it; what was wrong at the end."""
        async with AsyncExitStack() as stack:
            on = await stack.enter_async_context(street({"a": Follower(FIRST), "b": Follower(SECOND)}))
            db = await stack.enter_async_context(Database(self._dsn))
            self._http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=10))
            await without_budgets(on)
            self._on, self._db = on, db
            self._house = await House.furnish(db, on, self._folder)
            await self._furnish()
            await self._prepare(stack)
            for sim in on.sims.values():
                await sim.settings(**self._rude)
            for step in SCRIPTS[self._death.scene]:
                await (self._do(step) if isinstance(step, str) else self._take(step))
                await self._rest()
            for sim in on.sims.values():
                await sim.settings(**POLITE)
            await self._whole_again()
            for life in reversed(self._lives):
                await life.stop()
            found = await judge(db, on, Told(self._accepted, self._stopped))
            found.wrong = self._wrong + found.wrong
            return found

    @property
    def log(self) -> str:
        """What the processes said, for a person."""
        return "".join(text.decode() for life in self._lives for text in life.log)

    async def _furnish(self) -> None:
        await create_leader(self._db, LeaderRow(WORKSPACE, OTHER, "other", b"{}"))
        for account_id in FOLLOWERS:
            await self._house.follow(account_id, RiskLimits(max_orders_per_minute=PLENTY))
            if self._death.scene == "marked":
                since = date(2026, 1, 1)
                limits = LimitsRow(
                    WORKSPACE, account_id, 0, since, since, encode(LOOSE), datetime.now(UTC), "ann"
                )
                await add_limits(self._db, limits)
        grant, self._operator = make_operator(WORKSPACE, "ann", "admin", datetime.now(UTC))
        await asyncio.to_thread(add_operator, self._folder / "operators.json", grant)

    async def _prepare(self, stack: AsyncExitStack) -> None:
        """Processes; a way to the database that can be cut."""
        dsn, scene = self._dsn, self._death.scene
        if scene == "dark":
            folder = self._folder / "line"
            await asyncio.to_thread(folder.mkdir)
            self._line = FaultyLine(f"{conninfo_to_dict(dsn)['host']}/.s.PGSQL.5432", str(folder))
            await self._line.up()
            stack.push_async_callback(self._line.down)
            dsn = make_conninfo(dsn, host=str(folder))
        labels = tuple(point.label for point in self._death.points)
        for number in range(2 if scene in ("standby", "holder") else 1):
            armed = labels if number == (scene == "standby") else ()
            life = Lives(dsn, self._folder, armed, {"KOPITRA_HOLDER": f"g{number}"})
            self._lives.append(life)
            stack.push_async_callback(life.kill)
            await life.up()

    # the EA and the operator -------------------------------------------------------------------------------

    async def _up(self) -> None:
        for life in self._lives:
            await life.up()

    async def _take(self, step: Request) -> httpx2.Response:
        """Ask until there is an answer: an EA keeps its key, through every outage (R-034)."""
        self._keys += 1
        key = f"k{self._keys}"
        body = dict(step.body)
        if step.is_signal:
            body |= {"signalId": f"s{self._keys}", "occurredAt": _now()}
        while True:
            answer = await self._asked(step, body, key)
            if answer is not None and answer.status_code not in (409, 425, 429, 503):
                break
            await asyncio.sleep(_LOOK_S if answer is None or answer.status_code != 429 else _TRY_S)
        assert answer.status_code in (200, 202), f"{step}: {answer.status_code} {answer.text}"
        if step.is_signal:
            self._accepted.append(str(body["signalId"]))
        if step is STOP_OTHER:
            self._stopped.append(OTHER)
        return answer

    async def _asked(self, step: Request, body: dict[str, object], key: str) -> httpx2.Response | None:
        """One try, at the door whose turn it is; None when nobody answers."""
        await self._up()
        life = self._lives[self._keys % len(self._lives)]
        try:
            return await self._http.post(life.base + step.path, json=body, headers=self._headers(step, key))
        except httpx2.TransportError:
            return None

    def _headers(self, step: Request, key: str) -> dict[str, str]:
        if not step.is_signal:
            return {"Authorization": f"Bearer {self._operator}", "Idempotency-Key": key}
        token = f"Bearer {self._house.token}"
        return {"Authorization": token, "X-TradeAgent-Account": ACCOUNT, "Idempotency-Key": key}

    async def _rest(self) -> None:
        """Until the ledgers stand still, or a process has died."""
        seen: object = None
        end = asyncio.get_running_loop().time() + REST_S
        calm = 0
        while calm < 3 and asyncio.get_running_loop().time() < end and not self._died:
            await asyncio.sleep(_LOOK_S)
            now = [len(await sim.ledger("placement")) for sim in self._on.sims.values()]
            now += [len(await sim.ledger("execution")) for sim in self._on.sims.values()]
            calm, seen = (calm + 1 if now == seen else 0), now

    @property
    def _died(self) -> bool:
        return any(life.dead for life in self._lives)

    # what else happens -------------------------------------------------------------------------------------

    async def _do(self, deed: Deed) -> None:
        match deed:
            case "warm up":
                await self._until(lambda: self._copied(ENTER))
            case "prices rise":
                await self._prices_rise()
            case "hand closes":
                await self._until(self._hold(DRIFT_QTY), DEED_S)
                await self._on.sim("a").by_hand("a", self._on.contract, "sell", 1)
            case "repair":
                await self._repair()
            case "database away":
                await self._database_away()
            case "hand over":
                await self._lives[0].stop()
                # who is to die in the take-over does not lose the race against a new first one
                await self._until(self._second_died, REST_S)

    async def _second_died(self) -> bool:
        return self._lives[1].dead

    async def _prices_rise(self) -> None:
        book = await read_book(PostgresShelf(self._db), "main")
        marks = sum(m.peak for m in book.measures.values())
        for bid in range(6805, 6835, 5):
            await self._on.price(str(bid), f"{bid}.25")

        async def marked() -> bool:
            now = await read_book(PostgresShelf(self._db), "main")
            return self._died or sum(m.peak for m in now.measures.values()) > marks

        await self._until(marked, DEED_S)

    async def _repair(self) -> None:
        """Preview until there is something to approve, approve it, and again until it is done, through every death."""
        end = asyncio.get_running_loop().time() + WHOLE_S
        wanted = Request(
            "/ops/v1/repairs", {"accounts": ["a"], "includeClosedByHand": True, "policy": "top_up"}
        )
        plan = _Plan("")
        while await self._on.sim("a").net("a") < DRIFT_QTY:
            if asyncio.get_running_loop().time() > end:
                self._wrong.append(f"the repair was never carried out: {plan}")
                return
            await self._person_looks()
            plan = msgspec.json.decode((await self._take(wanted)).content, type=_Plan)
            if any(step.verdict == "approved" for step in plan.steps):
                self._keys += 1
                approval = Request("/ops/v1/repairs", {"planId": plan.plan_id})
                # Its preview may have died with its process: then another one is made.
                await self._asked(approval, dict(approval.body), f"k{self._keys}")
            await asyncio.sleep(_TRY_S)
        await self._rest()
        if (held := await self._on.sim("a").net("a")) > DRIFT_QTY:
            self._wrong.append(f"the repair was carried out more than once: {held} contracts")

    async def _database_away(self) -> None:
        """An operator flattens one account meanwhile: that goes by the local file (R-072)."""
        assert self._line is not None
        await self._line.down()
        flatten = asyncio.ensure_future(self._flattened())

        async def shown() -> bool:
            return self._died or not await self._on.sim("b").net("b")

        await self._until(shown, LEASE_TTL_S)
        await self._line.up()
        flatten.cancel()
        await asyncio.wait([flatten])

    async def _flattened(self) -> None:
        self._keys += 1
        url, headers = self._lives[0].base + FLATTEN.path, self._headers(FLATTEN, f"k{self._keys}")
        while not self._died:
            try:
                answer = await self._http.post(url, json=dict(FLATTEN.body), headers=headers)
            except httpx2.TransportError:
                return
            if answer.status_code in (200, 202):
                return
            await asyncio.sleep(_TRY_S)

    # the end -----------------------------------------------------------------------------------------------

    async def _whole_again(self) -> None:
        """The leader is out: everybody is flat, nothing rests, and a new entry and exit are copied once."""
        if not await self._until(self._all_flat):
            self._wrong.append(f"not flat after the leader's exit: {await self._standing()}")
        if not await self._until(lambda: self._copied(ENTER)):
            self._wrong.append("no entry is copied any more")
        await self._take(EXIT)
        if not await self._until(self._all_flat):
            self._wrong.append(f"not flat at the end: {await self._standing()}")
        await self._until(self._settled)  # what still is in doubt then, the verdict names
        # What works beside the gateway, and gives way to it, may not have come so far.
        if not await self._until(self._reached, DEED_S):
            self._wrong.append("the point was never reached")

    async def _reached(self) -> bool:
        """Everybody has died who is to die."""
        await self._up()
        return sum(life.deaths for life in self._lives) == len(self._death.points)

    async def _until(self, condition: Callable[[], Awaitable[bool]], within_s: float = WHOLE_S) -> bool:
        end = asyncio.get_running_loop().time() + within_s
        while not await condition():
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _copied(self, probe: Request) -> bool:
        """Entries may be declined for a while (a predecessor's grace, an order in doubt); then both follow."""
        await self._person_looks()
        await self._take(probe)
        if await self._until(self._hold(1), REST_S):
            return True
        await self._take(EXIT)
        await self._until(self._all_flat)
        return False

    def _hold(self, quantity: int) -> Callable[[], Awaitable[bool]]:
        async def hold() -> bool:
            return all([await self._on.sim(a).net(a) == quantity for a in FOLLOWERS])

        return hold

    async def _all_flat(self) -> bool:
        await self._up()
        for account_id in FOLLOWERS:
            sim = self._on.sim(account_id)
            if await sim.net(account_id) or await sim.live(account_id):
                return False
        return True

    async def _settled(self) -> bool:
        await self._person_looks()
        book = await read_book(PostgresShelf(self._db), "main")
        return all(order.state in TERMINAL for order in book.orders.values())

    async def _person_looks(self) -> None:
        """Where a broker's lists are not the last word, an alert asks for a person (P4); the ledger is that screen."""
        alerts = [decode_row(row) async for row in replay(self._db, "main")]
        asked = {e.cl_ord_id for e in alerts if isinstance(e, AlertRaised) and e.code == "order-not-found"}
        for name in sorted(asked - self._seen):
            if name in {r.cl_ord_id for sim in self._on.sims.values() for r in await sim.placements()}:
                continue  # the next read finds it
            said: dict[str, object] = {
                "verdict": "not_placed",
                "reason": "the broker never had it",
                "confirm": True,
            }
            self._keys += 1
            answer = await self._asked(Request(f"/ops/v1/doubts/{name}", said), said, f"k{self._keys}")
            if answer is not None and answer.status_code in (200, 404):
                self._seen.add(name)

    async def _standing(self) -> str:
        said = [
            f"{a}: holds {await self._on.sim(a).net(a)}, {len(await self._on.sim(a).live(a))} orders rest"
            for a in FOLLOWERS
        ]
        return "; ".join(said)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
