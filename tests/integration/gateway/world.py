"""A small house for tests: real PostgreSQL, the brokers' simulators on loopback, and the engine in this process.

`street` starts the simulators and writes the configuration; `engine` starts the machine on it; `house` is both. A
test that restarts the engine takes a street and opens several engines on it, one after the other.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import httpx2
import msgspec

from brokers import registry
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from gateway_container.engine.exit_file import ExitFile
from gateway_container.engine.machine import Identity, Machine, Supplies
from gateway_container.engine.recovery import decode_row
from gateway_container.engine.snapshots import Make
from kopitra.clock import SystemClock
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.errors import Unavailable
from kopitra.domain.instruments import front_month
from kopitra.domain.journal import AlertRaised, Entry
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import ChildOrder
from kopitra.domain.prop_limits import PropLimits
from kopitra.domain.signals import Signal
from kopitra.ports import SimAccount
from kopitra.store.ending import ended
from kopitra.store.journal_reader import replay
from kopitra.store.lease import LeaseSettings
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.telemetry import Metrics
from tests.integration.gateway.simulated import PATIENCE_S, Simulated

WORKSPACE = "ws1"
LEADER = "lead"
#: the account that the leader trades by hand
BOSS = "boss"
#: the brokers by their folders; tests name none
FIRST, SECOND = sorted(registry())[:2]
#: the lives of production, and a grace that a successor of a dead one need not wait long for
SHORT_GRACE = LeaseSettings(exit_grace_s=1.0)
#: a broker that takes entry, stop and target in one request, and one that does not
BRACKETS = next(code for code, a in sorted(registry().items()) if a.capabilities.brackets)


def rule(account_id: str, **fields: object) -> CopyRule:
    """The follower copies the leader one to one, unless a field says otherwise."""
    return CopyRule(f"rule-{account_id}", 1, WORKSPACE, LEADER, account_id, **fields)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True)
class Follower:
    """One follower: where it trades, its rule (without ids), its limits."""

    broker: str
    rule: Callable[[str], CopyRule] = rule
    limits: RiskLimits = RiskLimits()
    balance: Decimal = Decimal(50_000)
    prop: tuple[PropLimits, ...] = ()


@dataclass(slots=True)
class Street:
    """The simulators, and a configuration that uses them."""

    config: GatewayConfig
    sims: dict[str, Simulated]
    contract: str

    def sim(self, account_id: str) -> Simulated:
        """Where an account trades."""
        return self.sims[self.config.accounts[account_id].broker]

    async def price(self, bid: str, ask: str) -> None:
        """Move the market at all brokers."""
        for sim in self.sims.values():
            await sim.control("set-price", symbol=self.contract, bid=bid, ask=ask)


@dataclass(slots=True)
class World:
    """The running house."""

    machine: Machine
    street: Street
    db: Database
    broadcast: Broadcast
    lost: list[str]
    sequence: int = 0

    @property
    def sims(self) -> dict[str, Simulated]:
        return self.street.sims

    @property
    def contract(self) -> str:
        return self.street.contract

    def sim(self, account_id: str) -> Simulated:
        return self.street.sim(account_id)

    def signal(self, **fields: object) -> Signal:
        """An EA's signal of the leader, fresh."""
        self.sequence += 1
        now = datetime.now(UTC)
        values: dict[str, object] = {
            "workspace": WORKSPACE,
            "leader": LEADER,
            "signal_id": f"s{self.machine.lease.epoch}-{self.sequence}",
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
        return self.children(pending.plan.list_id)

    def children(self, list_id: str) -> list[ChildOrder]:
        """The children of a signal, follow-ups included."""
        book = self.machine.state.book
        return [book.orders[i] for i in book.lists.get(list_id, [])]

    async def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Wait for a condition on the engine's memory."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"gave up on {what}: {self._orders()}"
            await asyncio.sleep(0.005)

    def _orders(self) -> list[tuple[str, str, str]]:
        """Account, state and reason of what the book has, for the one who reads why a test gave up."""
        return [(o.intent.account_id, o.state, o.reason) for o in self.machine.state.book.orders.values()]

    async def price(self, bid: str, ask: str) -> None:
        await self.street.price(bid, ask)

    def held(self, account_id: str) -> Decimal:
        """What the book says an account holds because of the leader."""
        position = self.machine.state.book.held(account_id, LEADER).get(self.contract)
        return position.qty if position is not None else Decimal(0)

    async def holds(self, **quantities: int) -> None:
        """Wait until each account holds so much, then ask the simulators whether that is true."""
        await self.until(
            lambda: {a: int(self.held(a)) for a in quantities} == quantities,
            f"positions {quantities}, not { {a: int(self.held(a)) for a in quantities} }",
        )
        assert {a: await self.sim(a).net(a) for a in quantities} == quantities

    def open(self, account_id: str, *roles: str) -> list[ChildOrder]:
        """Open children of an account under the leader, of these roles or of all."""
        found = self.machine.state.book.open_children(account_id, LEADER)
        return [child for child in found if not roles or child.intent.role in roles]

    async def working(self, account_id: str, count: int) -> list[ChildOrder]:
        """Wait until so many protective orders of an account work at its broker."""

        def found() -> list[ChildOrder]:
            return [c for c in self.open(account_id, "stop", "target") if c.state in ("working", "acked")]

        await self.until(lambda: len(found()) == count, f"{count} protective orders of {account_id}")
        return found()

    async def journal(self) -> list[Entry]:
        """Everything that is durable."""
        while True:
            with contextlib.suppress(Unavailable):  # connections of before an outage
                return [decode_row(row) async for row in replay(self.db, "main")]
            await asyncio.sleep(0.05)

    async def journalled(self, condition: Callable[[Entry], object], what: str) -> Entry:
        """Wait until such an entry is durable."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            found = [entry for entry in await self.journal() if condition(entry)]
            if found:
                return found[0]
            assert asyncio.get_running_loop().time() < deadline, f"gave up waiting for {what}"
            await asyncio.sleep(0.02)

    async def alert(self, code: str, account_id: str = "") -> AlertRaised:
        """Wait until an alert is durable."""
        found = await self.journalled(
            lambda e: (
                isinstance(e, AlertRaised)
                and e.code == code
                and (not account_id or e.account_id == account_id)
            ),
            f"the alert {code}",
        )
        assert isinstance(found, AlertRaised)
        return found

    async def no_order_is_doubled(self) -> None:
        """The ground truth of every simulator: each of our ids was asked for once."""
        for sim in self.sims.values():
            asked = [row.cl_ord_id for row in await sim.placements() if row.cl_ord_id]
            assert len(asked) == len(set(asked))

    async def crash(self) -> None:
        """End like a killed process: no drain, no hand-over, no last word in the journal."""
        machine = self.machine
        await machine.lease.abandon()
        machine.writer.fence("the process died")
        for part in (machine.leaders, machine.reports, machine.fanout):
            part.stop()
        await machine.flattener.stop()
        await machine.control.stop()
        await machine.lookup.stop()
        await machine.sessions.close()
        machine.log.stop()
        await machine.refold.stop()
        await ended(machine._tasks)
        await machine.writer.close()
        # nobody waits for a dead one's lease that the database can end
        with contextlib.suppress(Unavailable):
            await self.db.run("update lease set expires_at = clock_timestamp() where holder = 'test'")


def _logins(
    followers: Mapping[str, Follower], broker: str, leader_at: str | None
) -> dict[str, list[SimAccount]]:
    logins = {
        f"user-{account_id}": [SimAccount(f"SIM{account_id}", follower.balance, {})]
        for account_id, follower in followers.items()
        if follower.broker == broker
    }
    if leader_at == broker and BOSS not in followers:
        logins[f"user-{BOSS}"] = [SimAccount(f"SIM{BOSS}", Decimal(100_000), {})]
    return logins


@asynccontextmanager
async def street(followers: Mapping[str, Follower], leader_at: str | None = None) -> AsyncGenerator[Street]:
    """Start the simulators that are needed."""
    made = Street(GatewayConfig(1, {}, {}, {}, {}), {}, front_month("ES", datetime.now(UTC).date()).symbol)
    accounts: dict[str, AccountConfig] = {}
    logins: dict[str, LoginConfig] = {}
    async with AsyncExitStack() as stack:
        for broker, adapter in registry().items():
            wanted = _logins(followers, broker, leader_at)
            if not wanted:
                continue
            running = await adapter.start_simulator(host="127.0.0.1", port=0, logins=wanted, seed=7)
            stack.push_async_callback(running.stop)
            http = httpx2.AsyncClient(
                base_url=running.control_url, timeout=PATIENCE_S, trust_env=False, verify=False
            )
            stack.push_async_callback(http.aclose)
            made.sims[broker] = Simulated(adapter, running, http)
            for name in wanted:
                account_id = name.removeprefix("user-")
                settings, credentials = running.login(name)
                login_id = f"login-{account_id}"
                logins[login_id] = LoginConfig(login_id, WORKSPACE, broker, settings, credentials)
                given = followers.get(account_id, Follower(broker))
                accounts[account_id] = AccountConfig(
                    account_id, WORKSPACE, account_id, broker, login_id, f"SIM{account_id}",
                    limits=given.limits, prop=given.prop,
                )  # fmt: skip
        rules = tuple(f.rule(account_id) for account_id, f in followers.items())
        leader = LeaderConfig(LEADER, WORKSPACE, "leader", BOSS if leader_at else None)
        made.config = GatewayConfig(1, accounts, {LEADER: leader}, logins, {LEADER: rules})
        await made.price("6800", "6800.25")
        yield made


@asynccontextmanager
async def engine(
    dsn: str,
    on: Street,
    *,
    live: Sequence[str] | None = None,
    lease: LeaseSettings | None = None,
    stop: bool = True,
    exits: ExitFile | None = None,
    make_snapshot: Make | None = None,
) -> AsyncGenerator[World]:
    """Start the machine on a street and wait until the sessions (of these accounts) are live; stop it at the end.

    `stop=False`: the test ends it itself.
    """
    lost: list[str] = []
    async with Database(dsn) as db:
        supplies = Supplies(
            PostgresShelf(db),
            SystemClock(),
            registry(),
            Metrics(),
            lease_settings=lease or LeaseSettings(),
            exits=exits,
            make_snapshot=make_snapshot,
        )
        broadcast = Broadcast(PostgresShelf(db), "main")
        machine = await Machine.start(
            Identity("main", "test", "dev"), supplies, on.config, broadcast, lost.append
        )
        world = World(machine, on, db, broadcast, lost)
        try:
            wanted = list(on.config.accounts) if live is None else live
            await world.until(lambda: all(_is_live(machine, a) for a in wanted), "live sessions")
            yield world
        finally:
            if stop:
                await machine.stop(drain_s=0.2)


def _is_live(machine: Machine, account_id: str) -> bool:
    session = machine.sessions.of(account_id)
    return session is not None and session.state == "live" and machine.state.facts_of(account_id).live


@asynccontextmanager
async def house(
    dsn: str, followers: Mapping[str, Follower], leader_at: str | None = None
) -> AsyncGenerator[World]:
    """Start everything, wait until every session is live, stop everything."""
    async with street(followers, leader_at) as on, engine(dsn, on) as world:
        yield world


def with_rules(config: GatewayConfig, *rules: CopyRule) -> GatewayConfig:
    """The configuration with other rules."""
    return replace(config, version=config.version + 1, rules={LEADER: rules})
