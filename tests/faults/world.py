"""One world: gateways over one store, rude brokers, people and EAs, all in virtual time, all from one seed (T-20)."""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from random import Random
from typing import Final
from warnings import catch_warnings

from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.machine import Machine
from kopitra.store.lease import LeaseSettings
from tests.faults.acting import perform
from tests.faults.ea_client import EaClient, Told
from tests.faults.gateways import SHARD, START, Disk, Gateway, Site
from tests.faults.house import (
    BOSS,
    EA_HEADERS,
    OPERATOR_HEADERS,
    WORKSPACE,
    Tools,
    contracts,
    keyring,
    make_brokers,
    make_config,
    scopes_of,
)
from tests.faults.invariants import Checker
from tests.faults.journal_view import JournalView
from tests.faults.knock import Reply, knock
from tests.faults.memory_store import MemoryStore
from tests.faults.memory_wire import Weather
from tests.faults.outcome import Accounts, Outcome
from tests.faults.people import Hand, Market, Operator, Stopped
from tests.faults.rude_broker import WORLD
from tests.faults.rude_manners import POLITE
from tests.faults.swarm import Act, Plan
from tests.faults.troubling import strike
from tests.faults.verdict import QUIET_WITHIN_S, judge, unsettled
from tests.faults.virtual_loop import Process, VirtualClock, VirtualLoop

#: lines of the trace that are kept; its hash covers all
TRACE_MAX: Final = 20_000
#: seconds between two prices, and between two looks whether it is quiet
PRICE_S: Final = 0.5
LOOK_S: Final = 0.5
#: seconds until a killed process is started again, from .. to
RESTART_S: Final = (0.3, 3.0)
#: shorter than in production, so that a run has time for life after a take-over
LEASE: Final = LeaseSettings(ttl_s=3.0, renew_s=0.9, margin_s=0.8, exit_grace_s=2.0)


@dataclass
class World:
    """Everything of one run."""

    plan: Plan
    loop: VirtualLoop
    trace_lines: list[str] = field(default_factory=list[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    told: list[Told] = field(default_factory=list[Told])
    gateways: list[Gateway] = field(default_factory=list[Gateway])
    graveyard: list[Gateway] = field(default_factory=list[Gateway])
    #: switches that somebody asked for
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    healed: bool = False
    accounts: Accounts = field(default_factory=Accounts)
    quiet_s: float = 0.0
    #: kill the gateway before this step, counted from when it first served (T-22); 0: never
    kill_before_step: int = 0
    #: steps from when it first served to the end
    steps: int = 0
    _names: int = 0

    def __post_init__(self) -> None:
        plan, loop = self.plan, self.loop
        self.rng = Random(f"{plan.seed} world")
        self._digest = blake2b(digest_size=16)
        self.store = MemoryStore(loop.time, START)
        self.view = JournalView(self.store.tables, SHARD)
        self.operator = Operator(self.knock, dict(OPERATOR_HEADERS))
        self.checker = Checker(
            self.view,
            self.operator,
            self.machine_of,
            lambda: self.machine,
            self.epoch_now,
            loop.time,
            self._scopes,
            self._must_know,
            self.trace,
        )
        self.brokers = make_brokers(plan, Tools(loop, self.checker, self.count))
        self.config = make_config(plan, self.brokers)
        self.covering = scopes_of(self.config)
        self.followers = frozenset(self.config.accounts) - {BOSS}
        self.contracts = contracts()
        self.market = Market(self.brokers, self.contracts, Random(f"{plan.seed} market"))
        self.site = Site(loop, self.store, self.brokers, self.config, keyring(), self._weather, LEASE)
        self.wall = VirtualClock(loop, START)
        client = Random(f"{plan.seed} client")
        self.ea = EaClient(
            self.knock,
            dict(EA_HEADERS),
            self.wall.now,
            client,
            loss=client.uniform(0, 0.3) if "client" in plan.classes else 0.0,
            twice=client.uniform(0, 0.5) if "client" in plan.classes else 0.0,
            numbered=plan.numbered,
            on_told=self.told.append,
            on_trace=self.trace,
        )

    def _scopes(self, account_id: str, leader: str) -> tuple[tuple[str, str], ...]:
        return self.covering(account_id, leader)

    def _must_know(self, process: Process, scope: tuple[str, str], stopped: Stopped) -> bool:
        """A stop is lost only with the process that confirmed it, when neither the store nor its disk has it."""
        row = self.store.tables.switches.get(scope)
        if self.view.switches.get(scope, "active") != "active" or (row is not None and row.state != "active"):
            return True
        disks = {g.name: g.disk for g in (*self.gateways, *self.graveyard)}
        return stopped.by == process.name or disks.get(stopped.by) is disks.get(process.name)

    def _weather(self) -> Weather:
        rng = Random(f"{self.plan.seed} weather {self._names}")
        if self.healed or "slow_database" not in self.plan.classes:
            return Weather(rng, (0.0002, 0.001), (0.0002, 0.001))
        slow_s = rng.choice((0.01, 0.1, 0.4))
        return Weather(rng, (0.0002, slow_s), (0.0002, slow_s), rng.uniform(0, 0.02), rng.uniform(0, 0.02))

    def reconfigure(self, config: GatewayConfig) -> None:
        """Other rules, before anything begins."""
        self.config = config
        self.site = replace(self.site, config=config)

    # what everybody uses ------------------------------------------------------------------------------------

    def trace(self, line: str) -> None:
        """One line of what happened."""
        text = f"{self.loop.time():10.4f} {line}"
        self._digest.update(text.encode())
        if len(self.trace_lines) < TRACE_MAX:
            self.trace_lines.append(text)

    def count(self, kind: str, what: str) -> None:
        """A fault was injected."""
        self.faults[kind] += 1
        self.trace(f"FAULT {kind}: {what}")

    def epoch_now(self) -> int:
        """The epoch in the lease row."""
        return self.store.tables.epoch(SHARD) or 0

    def machine_of(self, process: Process) -> Machine | None:
        """The engine in a process."""
        return next((g.machine for g in self.gateways if g.process is process), None)

    @property
    def machine(self) -> Machine | None:
        """The engine that serves."""
        return next((g.machine for g in self.gateways if g.serves), None)

    def broker_of(self, account_id: str) -> int:
        """Index of an account's broker."""
        code = self.config.accounts[account_id].broker
        return next(n for n, broker in enumerate(self.brokers) if broker.code == code)

    def hand(self, account_id: str) -> Hand:
        """Somebody at the screen of an account."""
        return Hand(self.brokers[self.broker_of(account_id)], account_id)

    def is_explained(self, account_id: str, symbol: str) -> bool:
        """Somebody else traded there, and the house knows: it counted those fills, or wrote the difference down."""
        machine, broker = self.machine, self.brokers[self.broker_of(account_id)]
        if account_id not in self.checker.touched:
            return False
        if machine is not None and self._has_doubts(machine, account_id):
            return True  # a person was told and looks: until then nothing about the account is sure (H-7)
        position = machine.state.book.positions.get((account_id, symbol)) if machine is not None else None
        counted = int(position.qty) if position is not None else 0
        known = counted == broker.net(account_id).get(symbol, 0)
        return known or account_id in self.view.drift or account_id in self.view.alerted

    def _has_doubts(self, machine: Machine, account_id: str) -> bool:
        open_ = (
            c for (a, _), found in machine.state.book.open.items() if a == account_id for c in found.items()
        )
        return any(
            child.state in ("in_doubt", "parked") and self.view.alerted.get(name) for name, child in open_
        )

    async def knock(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """A request to whoever answers; a closed door answers 503 at once."""
        await asyncio.sleep(self.rng.uniform(0.0005, 0.003))
        open_ = [g for g in self.gateways if g.serves]
        if not open_:
            return Reply(503, b"")
        chosen = self.rng.choice(open_)
        assert chosen.app is not None
        return await knock(chosen.app, chosen.process, method, path, headers, body)

    # processes ----------------------------------------------------------------------------------------------

    def start_gateway(self, disk: Disk | None = None) -> Gateway:
        """One more process."""
        self._names += 1
        gateway = Gateway(
            self.site, f"g{self._names}", disk or Disk(), self.plan.skews_s[self._names % 2], self._over
        )
        self.gateways.append(gateway)
        self.trace(f"start {gateway.name}")
        gateway.launch()
        return gateway

    def _over(self, gateway: Gateway) -> None:
        """A process ended by itself; another one takes its place."""
        self.loop.call_soon(self._replace, gateway, context=WORLD.context)

    def _replace(self, gateway: Gateway) -> None:
        self.trace(f"over {gateway.name}")
        self._bury(gateway)
        if not self.gateways:
            self.start_gateway(gateway.disk)

    def _bury(self, gateway: Gateway) -> None:
        if gateway in self.gateways:
            self.gateways.remove(gateway)
            self.graveyard.append(gateway)

    def kill(self, gateway: Gateway) -> None:
        """kill -9; an orchestrator starts another one, on the same disk or on a new one."""
        self.trace(f"kill {gateway.name}")
        gateway.kill()
        self._bury(gateway)
        disk = gateway.disk if self.rng.random() < 0.7 else None
        wait_s = self.rng.uniform(*RESTART_S)
        self.loop.call_later(wait_s, self._again, disk, context=WORLD.context)

    def _again(self, disk: Disk | None) -> None:
        self.start_gateway(disk)

    # the run ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Chaos, healing, quiet, judgement."""
        loop = asyncio.get_running_loop()
        self.market.open()
        self.start_gateway()
        background = [loop.create_task(self.ea.run()), loop.create_task(self._prices())]
        await self._until_up()
        for broker, manners in zip(self.brokers, self.plan.manners, strict=True):
            broker.behave(manners)
        first_step = self.loop.steps
        if self.kill_before_step:
            self.loop.before_step = lambda number: self._met(number - first_step)
        begun_s = loop.time()
        todo = [(act.at_s, 0, act) for act in self.plan.acts]
        struck = [(trouble.at_s, 1, trouble) for trouble in self.plan.troubles]
        for at_s, _, what in sorted([*todo, *struck], key=lambda item: item[:2]):
            await asyncio.sleep(max(0.0, begun_s + at_s - loop.time()))
            if isinstance(what, Act):
                perform(self, what)
            else:
                strike(self, what)
        await asyncio.sleep(max(0.0, begun_s + self.plan.chaos_s - loop.time()))
        await self._heal()
        await self._become_quiet()
        self.steps = self.loop.steps - first_step
        for task in background:
            task.cancel()

    def _met(self, step: int) -> None:
        if step == self.kill_before_step and self.gateways:
            self.count("crash", f"{self.gateways[0].name} before step {step}")
            self.kill(self.gateways[0])

    async def _until_up(self) -> None:
        while self.machine is None or any(
            session.state != "live" for session in self.machine.sessions.all.values()
        ):
            await asyncio.sleep(0.05)

    async def _prices(self) -> None:
        while True:
            await asyncio.sleep(PRICE_S)
            self.market.step()

    async def _heal(self) -> None:
        """Everything works again, and everybody goes home."""
        self.healed = True
        self.trace("HEAL")
        for broker in self.brokers:
            broker.down = False
            broker.behave(POLITE)
            for symbol in self.contracts.values():
                broker.happened(broker.core.resume(symbol, broker.now_ns))
        self.store.recover()
        self.store.fast_commits()
        self.ea.loss = self.ea.twice = 0.0
        for gateway in self.gateways:
            gateway.wire.up()
            gateway.wire.weather = self._weather()
            if gateway.process.paused:
                self.loop.go_on(gateway.process)
        await self.operator.lift_all(sorted(set(self.asked)))
        for root in self.contracts:
            self.ea.leave(root)
        self.hand(BOSS).leave()

    async def _become_quiet(self) -> None:
        begun_s = self.loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            left = list(unsettled(self))
            self.quiet_s = self.loop.time() - begun_s
            if not left or self.quiet_s > QUIET_WITHIN_S:
                break
        for invariant, text in left:
            self.checker.broken(invariant, f"{text} {QUIET_WITHIN_S:g} s after the healing")
        judge(self)

    def outcome(self) -> Outcome:
        """The result, when the run is over."""
        rows = self.store.tables.journal.get(SHARD, [])
        if rows:
            self._digest.update(rows[-1].hash)
        for fault in self.loop.faults:
            self.checker.broken("P3", f"an error that nobody took: {fault}")
        return Outcome(
            self.plan.seed,
            tuple(self.checker.violations),
            dict(self.faults),
            self.steps,
            self.loop.time(),
            self.quiet_s,
            sum(self.checker.placements.values()),
            tuple(self.trace_lines),
            self._digest.hexdigest(),
            self.accounts,
        )


def run_plan(
    plan: Plan, kill_before_step: int = 0, sabotage: Callable[["World"], None] | None = None
) -> Outcome:
    """One run, from its first step to its judgement. No garbage is collected meanwhile: it has a mind of its own.

    `sabotage` spoils the world before it begins: a safeguard taken out, to see who misses it.
    """
    heard, sys.unraisablehook = sys.unraisablehook, _unheard
    gc.disable()
    try:
        with catch_warnings(action="ignore", category=RuntimeWarning):
            outcome = _run(plan, kill_before_step, sabotage)
            gc.collect()
        return outcome
    finally:
        gc.enable()
        sys.unraisablehook = heard


def _run(plan: Plan, kill_before_step: int, sabotage: Callable[[World], None] | None) -> Outcome:
    shuffle = Random(f"{plan.seed} order") if "shuffle" in plan.classes else None
    loop = VirtualLoop(shuffle)
    try:
        return loop.run_until_complete(_made(plan, loop, kill_before_step, sabotage)).outcome()
    finally:
        loop.close()


def _unheard(_error: object) -> None:
    """A killed process left it half done: its `finally` blocks have no world any more, and nobody hears them."""


async def _made(
    plan: Plan, loop: VirtualLoop, kill_before_step: int, sabotage: Callable[[World], None] | None
) -> World:
    world = World(plan, loop, kill_before_step=kill_before_step)
    if sabotage is not None:
        sabotage(world)
    await world.run()
    return world


__all__ = ["WORKSPACE", "Outcome", "World", "run_plan"]
