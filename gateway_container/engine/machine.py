"""The engine as one machine: its parts, wired once, with start and stop in the only right order.

Start is recovery: lease, journal, fold, doubt, sessions; then the door may open. Stop is the reverse: no new
entries, what is in flight may finish, sessions close, the journal closes, the lease is handed over last.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Self, TypeVar

import structlog
from opentelemetry.trace import Tracer

from gateway_container.engine.away import Away
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.callbacks import Callbacks
from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.control import Control
from gateway_container.engine.doubts import Doubts
from gateway_container.engine.equity import Equity
from gateway_container.engine.exit_file import ExitFile, ExitLog, Owner
from gateway_container.engine.fanout import Fanout
from gateway_container.engine.flatten import Flattener
from gateway_container.engine.intake import Hooks, Intake
from gateway_container.engine.last_look import LastLook
from gateway_container.engine.leader_feed import LeaderFeed
from gateway_container.engine.leader_streams import LeaderStreams
from gateway_container.engine.lifting import Lifting
from gateway_container.engine.limits_desk import LimitsDesk
from gateway_container.engine.log import Log
from gateway_container.engine.lookup import Lookup
from gateway_container.engine.observe import Observer
from gateway_container.engine.projector import Projector
from gateway_container.engine.queue import Stamp
from gateway_container.engine.quotes import Quotes
from gateway_container.engine.reconcile import Reconciler
from gateway_container.engine.recovery import (
    SIGNALS_MAX,
    STOPPED,
    Refold,
    catch_up,
    doubt_held,
    doubt_unresolved,
    give_up_requests,
    read_book,
)
from gateway_container.engine.repair_desk import watch_drift
from gateway_container.engine.reports import Reports
from gateway_container.engine.right_to_write import journal_health, page
from gateway_container.engine.safety import Safety
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.snapshots import Make, Snapshots, save_book
from gateway_container.engine.spending import spent_lately
from gateway_container.engine.state import State
from gateway_container.engine.succession import Succession, undone
from gateway_container.engine.unmanaged import Strays
from gateway_container.engine.upkeep import Upkeep
from gateway_container.engine.views import Views
from gateway_container.engine.watchdog import Watchdog
from kopitra.domain.book import Book
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import Heartbeat
from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import Signal
from kopitra.domain.streams import numbered
from kopitra.ports import BrokerAdapter, Clock
from kopitra.store.drafts import JournalRow
from kopitra.store.ending import ended
from kopitra.store.journal import JournalWriter, OnRows
from kopitra.store.lease import Lease, LeaseSettings
from kopitra.store.shelf import Shelf
from kopitra.store.switches import SwitchRow
from kopitra.telemetry import Metrics

#: seconds between two looks while draining
WAIT_STEP_S: Final = 0.02

_log = structlog.get_logger("kopitra.machine")
T = TypeVar("T")


def _tell(listeners: Sequence[Callable[[T], None]], what: T) -> None:
    for listener in listeners:
        listener(what)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is in the lease and the journal."""

    shard: str
    holder: str
    build: str


@dataclass(frozen=True, slots=True)
class Supplies:
    """What the machine is built from."""

    shelf: Shelf
    clock: Clock
    adapters: Mapping[str, BrokerAdapter]
    metrics: Metrics
    tracer: Tracer | None = None
    lease_settings: LeaseSettings = LeaseSettings()
    #: where exits are written while the database is away; without it they wait
    exits: ExitFile | None = None
    #: a signal of its own each minute
    canary: bool = False
    #: makes snapshots of the book elsewhere; without it they are made here, in slices
    make_snapshot: Make | None = None

    def snapshot_maker(self, shard: str) -> Make:
        """Whoever makes a shard's."""
        return self.make_snapshot or partial(save_book, self.shelf, shard, self.clock)


class Warm(NamedTuple):
    """What a standby knows already: the book up to its number, and the kill switches as the table has them."""

    book: Book | None = None
    switches: Sequence[SwitchRow] = ()


COLD: Final = Warm()


class Machine:
    """A running engine. Made by `Machine.start`."""

    def __init__(self, identity: Identity, supplies: Supplies, lease: Lease, writer: JournalWriter) -> None:
        self.identity, self.supplies = identity, supplies
        self.lease, self.writer = lease, writer
        self.state = state = State(supplies.clock)
        self.refold = Refold(state, supplies.shelf, identity.shard, self._knows, self._take_up)
        self.exits = ExitLog(supplies.exits, Owner(identity.shard, lease.epoch), supplies.clock, lease)
        self.succession = Succession(lease, self.exits, supplies.clock, supplies.lease_settings)
        self.log = log = Log(state, writer, self.exits, self.refold.request)
        self.refold.attach(log)
        self.sessions = Sessions(state, supplies.adapters, self._heard)
        self.fanout = fanout = Fanout(state, log, self.sessions, LastLook(state, lease))
        self.observer = Observer(state, supplies.metrics, supplies.tracer)
        self.reports = Reports(state, log, fanout, self.observer.report)
        self.observer.attach(self.reports)
        self.reconciler = Reconciler(state, log, self.reports)
        hooks = Hooks(self._planned, self.observer.dispatched)
        self.intake = Intake(state, log, fanout, hooks, supplies.shelf)
        self.streams = LeaderStreams(state, log, self.intake, self.reports.alert)
        away = Away(state, log, fanout, self.intake, self.reports.alert)
        self.leaders = LeaderFeed(state, self.intake, away, self.streams.snapshot, self.reports.alert)
        self.lookup = Lookup(state, log, self.sessions, self.reports, lambda: fanout.look.lease_is_over)
        self.doubts = Doubts(state, log, self.lookup)
        self.quotes = Quotes(state, self.sessions)
        self.reports.attach(self.leaders, self.reconciler.look, self.lookup.ask, self.quotes.session)
        self.flattener = Flattener(state, log, fanout, self.sessions, self.reports.alert)
        self.equity = Equity(state, log, self.flattener, self.quotes.also, self.reports.alert)
        self.limits = LimitsDesk(state, self.equity)
        self.comparison, self.repair_desk = watch_drift(
            state, log, self.sessions, fanout, self.reports, self.reconciler, supplies.metrics
        )
        self.views = Views(state, supplies.shelf, self.sessions, self._ready)
        self.views.epoch, self.views.limits = lease.epoch, self.limits.view
        self.control = Control(state, log, self.flattener, self.views, supplies.shelf)
        self.fanout.brake.attach(self.control.brake)
        self.views.out_of_sync, self.views.journal = self.comparison.out_of_sync, lambda: journal_health(self)
        self.lifting = Lifting(state, self.comparison.look, self.control.covers, self.control.throw)
        self.control.on_lifted, self.leaders.soon = self.lifting.wake, self.comparison.soon
        self.callbacks = Callbacks(state, log, self.reports, self.intake.remember)
        self.upkeep = Upkeep(supplies.shelf, supplies.clock, log, identity.shard)
        self.strays = Strays(self.reports.alert)
        self.projector = Projector(lambda: state.book, supplies.shelf, identity.shard)
        self.snapshots = Snapshots(supplies.snapshot_maker(identity.shard), lambda: writer.head.seq)
        self.watchdog = Watchdog(self)
        self.safety = Safety(self)
        #: what runs beside the signals, by the names of their tasks, from the open door to the stop
        self._beside = {
            "watchdog": self.watchdog.run,
            "brake": self.fanout.brake.run,
            "lifting": self.lifting.run,
            "equity": self.equity.run,
            "comparison": self.comparison.run,
            "projector": self.projector.run,
            "upkeep": self.upkeep.run,
            "snapshots": self.snapshots.run,
            "lookup": self.lookup.run,
            **self.safety.beside,
        }
        self._tasks: list[asyncio.Task[None]] = []
        self.accepting = False

    def _planned(self, signal: Signal, made: FanoutPlan, stamp: Stamp) -> None:
        self.observer.planned(signal, made, stamp)
        self.safety.expected.planned(made.list_id, made.legs, stamp.planned_ns)
        if numbered(signal):
            self.streams.planned(signal, made)

    def _heard(self, event: object) -> None:
        self.reports.handle(event)  # pyright: ignore[reportArgumentType] - the sink's union, bound late
        self.equity.heard(event)

    def _knows(self, cl_ord_id: str) -> bool:
        return self.fanout.knows(cl_ord_id)

    def _take_up(self, orders: Sequence[ChildOrder]) -> None:
        self.reports.take_up(orders)

    def _orphaned(self, rows: Sequence[JournalRow]) -> None:
        """Decisions that are durable although their owner was told otherwise: the book must hold them too."""
        self.log.found(rows)
        self.refold.request(f"{len(rows)} rows are durable after all")

    @classmethod
    async def start(
        cls,
        identity: Identity,
        supplies: Supplies,
        config: GatewayConfig,
        broadcast: Broadcast,
        on_lost: Callable[[str], None],
        warm: Warm = COLD,
    ) -> Self:
        """Take the shard and bring everything up. Raises Conflict while another process holds the shard.

        `warm.book` belongs to the machine from then on, whatever happens.
        """
        lost: list[Callable[[str], None]] = []
        lease = await Lease.take(
            supplies.shelf,
            identity.shard,
            identity.holder,
            clock=supplies.clock,
            build=identity.build,
            on_lost=lambda reason: _tell(lost, reason),
            settings=supplies.lease_settings,
        )
        try:
            return await cls._start(identity, supplies, config, broadcast, lease, [on_lost], lost, warm)
        except BaseException:
            await undone(lease)
            raise

    @classmethod
    async def _start(
        cls,
        identity: Identity,
        supplies: Supplies,
        config: GatewayConfig,
        broadcast: Broadcast,
        lease: Lease,
        on_lost: Sequence[Callable[[str], None]],
        lost: list[Callable[[str], None]],
        warm: Warm,
    ) -> Self:
        committed: list[OnRows] = [broadcast.committed]
        orphaned: list[OnRows] = []
        writer = await JournalWriter.open(
            supplies.shelf,
            shard=identity.shard,
            epoch=lease.epoch,
            on_committed=lambda rows: _tell(committed, rows),
            on_orphaned=lambda rows: _tell(orphaned, rows),
        )
        machine = cls(identity, supplies, lease, writer)
        lost += [writer.fence, partial(page, machine), *on_lost]
        committed.append(machine.projector.committed)
        orphaned.append(machine._orphaned)
        try:
            lease.check()  # nobody listened until now
            await machine._recover(config, warm)
        except BaseException:
            await machine._close()
            raise
        return machine

    async def _recover(self, config: GatewayConfig, warm: Warm) -> None:
        state, supplies = self.state, self.supplies
        config = self.safety.canary.beside(config)
        newest = await supplies.shelf.page(self.identity.shard, self.writer.head.seq - 1, 1)
        left_behind = await self.exits.load(newest[0] if newest else None)
        await self.log.bring_exits()
        state.book = await read_book(supplies.shelf, self.identity.shard, warm.book)
        state.config = config
        self.sessions.spent_ns = await spent_lately(supplies.shelf, self.identity.shard, state)
        for answer in reversed(await supplies.shelf.recent_answers(supplies.clock.now())):
            self.intake.learn(answer)
        for known in reversed(await supplies.shelf.recent_signals(self.identity.shard, SIGNALS_MAX)):
            self.intake.planned(known.workspace, known.signal_id, known.seq)
        in_doubt = doubt_unresolved(state, self.log)
        give_up_requests(state, self.log)
        if self.lease.taken.may_miss_exits:
            in_doubt += doubt_held(state, self.log)
            self.sessions.take_over(supplies.lease_settings.margin_s if self.lease.taken.dirty else 0.0)
        self.fanout.look.entries_from_ns = self.succession.begin()
        self.control.adopt(warm.switches)
        await self.open(config)
        for text in left_behind:
            self.reports.alert("exit-file", text, "")
        self.log.note("", Heartbeat(self.identity.build, "recovered", supplies.clock.now()))
        self.succession.recovered()
        _log.info("recovered", rows=state.book.seq, in_doubt=in_doubt, epoch=self.lease.epoch)

    async def open(self, config: GatewayConfig) -> None:
        """Open the sessions and take signals."""
        self.state.bracket_brokers = frozenset(
            code for code, adapter in self.supplies.adapters.items() if adapter.capabilities.brackets
        )
        offers = {code: adapter.capabilities for code, adapter in self.supplies.adapters.items()}
        self.state.reducing_brokers = frozenset(code for code, can in offers.items() if can.reduce_only)
        self.state.closing_brokers = frozenset(code for code, can in offers.items() if can.closes_position)
        self.state.config = config
        self.strays.look(self.state.book, config, config)
        self.equity.configure()
        self.leaders.configure()
        await self.sessions.apply(config)
        self.quotes.configure()
        self.reports.go_on()
        catch_up(self.state, self.log, self.reports.react_to)
        self.state.configured_ns = self.state.clock.monotonic_ns()
        self.flattener.resume()
        self.lookup.ask_all()
        self.streams.take_up()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(run(), name=name) for name, run in self._beside.items()]
        for task in self._tasks:
            task.add_done_callback(self.safety.containment.ended)
        self.accepting = True

    async def reconfigure(self, config: GatewayConfig, switches: Sequence[SwitchRow]) -> None:
        """Take a new configuration: switches and rules at once, sessions as far as they changed."""
        self.control.adopt(switches)
        config = self.safety.canary.beside(config)
        before, self.state.config = self.state.config, config
        self.state.configured_ns = self.state.clock.monotonic_ns()
        self.strays.look(self.state.book, before, config)
        self.upkeep.wake()
        self.equity.configure()
        self.leaders.configure()
        self.leaders.read_soon()
        await self.sessions.apply(config)
        self.quotes.configure()
        self.flattener.resume()

    def _ready(self) -> tuple[bool, bool]:
        return self.writer.available, self.accepting and self.log.accepting and self.lease.valid

    async def stop(self, drain_s: float) -> None:
        """Drain and hand over (R-087)."""
        self.accepting = False
        self.fanout.look.draining = True
        await self._drained(drain_s)
        await self._close()

    async def fall(self) -> None:
        """The lease is lost: the sockets to the brokers close at once, without a drain (R-083)."""
        await self.sessions.close(drain_s=0.0)
        await self._close()

    async def _close(self) -> None:
        """Sessions first, the journal after them, the lease last."""
        self.accepting = False
        for part in (self.quotes, self.leaders, self.reports, self.fanout):
            part.stop()
        await self.flattener.stop()
        await self.control.stop()
        await self.lookup.stop()
        doubt_unresolved(self.state, self.log, STOPPED)
        await self.sessions.close()
        self.log.note("", Heartbeat(self.identity.build, "stopped", self.supplies.clock.now()))
        self.log.stop()
        await self.refold.stop()
        await ended(self._tasks)
        await self.writer.close()
        await self.projector.flush()
        await self.succession.end()
        await self.snapshots.at_stop()

    async def _drained(self, drain_s: float) -> None:
        """Wait until no placement is unanswered, `drain_s` at most."""
        loop = asyncio.get_running_loop()
        end = loop.time() + drain_s
        while loop.time() < end and (self.fanout.waiting or self._unanswered()):  # noqa: ASYNC110 - a cold path
            await asyncio.sleep(WAIT_STEP_S)

    def _unanswered(self) -> bool:
        return any(
            child.state == "claimed"
            for children in self.state.book.open.values()
            for child in children.values()
        )
