"""A small house for tests: real PostgreSQL, the brokers' simulators on loopback, and the engine in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import httpx2
import msgspec

from brokers import registry
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from gateway_container.engine.machine import Identity, Machine, Supplies
from kopitra.clock import SystemClock
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.instruments import front_month
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import Signal
from kopitra.ports import RunningSimulator, SimAccount
from kopitra.store.pool import Database
from kopitra.telemetry import Metrics

WORKSPACE = "ws1"
LEADER = "lead"
#: seconds that a test waits for a condition
PATIENCE_S = 10.0
#: the brokers by their folders; tests name none
FIRST, SECOND = sorted(registry())[:2]


@dataclass(frozen=True, slots=True)
class Follower:
    """One follower: where it trades, its rule (without ids), its limits."""

    broker: str
    rule: Callable[[str], CopyRule]
    limits: RiskLimits = RiskLimits()
    balance: Decimal = Decimal(50_000)


@dataclass(slots=True)
class Simulated:
    """A running simulator and its control API."""

    running: RunningSimulator
    http: httpx2.AsyncClient
    numbers: dict[str, int] = field(default_factory=dict[str, int])

    async def control(self, command: str, **arguments: object) -> bytes:
        answer = await self.http.post(f"/_sim/{command}", json=arguments)
        assert answer.status_code == 200, f"{command}: {answer.status_code} {answer.text}"
        return answer.content

    async def ask(self, question: str) -> bytes:
        answer = await self.http.get(f"/_sim/{question}")
        assert answer.status_code == 200, answer.text
        return answer.content

    async def ledger(self, kind: str) -> list[dict[str, object]]:
        rows = msgspec.json.decode(await self.ask("ledger"), type=list[dict[str, object]])
        return [row for row in rows if row["kind"] == kind]


@dataclass(slots=True)
class World:
    """The running house."""

    machine: Machine
    sims: dict[str, Simulated]
    contract: str
    sequence: int = 0

    def signal(self, **fields: object) -> Signal:
        """An EA's signal of the leader, fresh."""
        self.sequence += 1
        now = datetime.now(UTC)
        values: dict[str, object] = {
            "workspace": WORKSPACE,
            "leader": LEADER,
            "signal_id": f"s{self.sequence}",
            "source": "ea",
            "action": "enter",
            "symbol": "ES",
            "occurred_at": now,
            "received_at": now,
            **fields,
        }
        return msgspec.convert(values, Signal)

    async def send(self, **fields: object) -> list[ChildOrder]:
        """Accept a signal, wait until it is durable, return its children."""
        pending = self.machine.intake.accept(self.signal(**fields), None)
        await pending.committed
        return [
            self.machine.state.book.orders[i]
            for i in self.machine.state.book.lists.get(pending.plan.list_id, [])
        ]

    async def until(self, condition: Callable[[], bool], what: str = "the condition") -> None:
        """Wait for a condition on the engine's memory: looked at after every turn in which something was read."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"gave up waiting for {what}"
            await asyncio.sleep(0.005)

    async def price(self, bid: str, ask: str) -> None:
        """Move the market at all brokers."""
        for sim in self.sims.values():
            await sim.control("set-price", symbol=self.contract, bid=bid, ask=ask)

    def held(self, account_id: str) -> Decimal:
        """What the book says an account holds because of the leader."""
        position = self.machine.state.book.held(account_id, LEADER).get(self.contract)
        return position.qty if position is not None else Decimal(0)


def _logins(
    followers: Mapping[str, Follower], broker: str, leader_at: str | None
) -> dict[str, list[SimAccount]]:
    logins = {
        f"user-{account_id}": [SimAccount(f"SIM{account_id}", follower.balance, {})]
        for account_id, follower in followers.items()
        if follower.broker == broker
    }
    if leader_at == broker:
        logins["user-boss"] = [SimAccount("SIMboss", Decimal(100_000), {})]
    return logins


@asynccontextmanager
async def house(
    dsn: str, followers: Mapping[str, Follower], leader_at: str | None = None
) -> AsyncIterator[World]:
    """Start everything, wait until every session is live, stop everything."""
    adapters = registry()
    contract = front_month("ES", datetime.now(UTC).date()).symbol
    sims: dict[str, Simulated] = {}
    accounts: dict[str, AccountConfig] = {}
    logins: dict[str, LoginConfig] = {}
    for broker, adapter in adapters.items():
        wanted = _logins(followers, broker, leader_at)
        if not wanted:
            continue
        running = await adapter.start_simulator(host="127.0.0.1", port=0, logins=wanted, seed=7)
        http = httpx2.AsyncClient(base_url=running.control_url, timeout=PATIENCE_S, trust_env=False)
        sims[broker] = Simulated(running, http)
        for name in wanted:
            account_id = name.removeprefix("user-")
            settings, credentials = running.login(name)
            login_id = f"login-{account_id}"
            logins[login_id] = LoginConfig(login_id, WORKSPACE, broker, settings, credentials)
            limits = followers[account_id].limits if account_id in followers else RiskLimits()
            accounts[account_id] = AccountConfig(
                account_id, WORKSPACE, account_id, broker, login_id, f"SIM{account_id}", limits=limits
            )
    rules = tuple(f.rule(account_id) for account_id, f in followers.items())
    leader = LeaderConfig(LEADER, WORKSPACE, "leader", "boss" if leader_at else None)
    config = GatewayConfig(1, accounts, {LEADER: leader}, logins, {LEADER: rules})
    async with Database(dsn) as db:
        supplies = Supplies(dsn, db, SystemClock(), adapters, Metrics())
        machine = await Machine.start(
            Identity("main", "test", "test"), supplies, config, Broadcast(db, "main"), lambda reason: None
        )
        world = World(machine, sims, contract)
        try:
            await world.price("6800", "6800.25")
            await world.until(
                lambda: all(s.state == "live" for s in machine.sessions.all.values()), "live sessions"
            )
            yield world
        finally:
            await machine.stop(drain_s=1.0)
            for sim in sims.values():
                await sim.http.aclose()
                await sim.running.stop()
