"""One process of a shard: its doors are open from the start; behind them stands a standby, then the machine.

    standby --takes the lease--> holder --SIGTERM--> hands over, exit code 0
                                        --lease lost--> falls, exit code 3: the container starts it again as a standby

The state changes in one direction only, so nothing has to be taken back.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway_container.api.doors import Doors, NoDoubts, NoRepairs
from gateway_container.api.ea_door import NoEa
from gateway_container.api.limits_door import NoLimits
from gateway_container.ea_desk import EaDesk
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.machine import Identity, Machine, Supplies
from gateway_container.inbox_pump import Pump
from gateway_container.standby import LOOK_S, Standby
from gateway_container.standby_doors import HandOver, StandbyControl, StandbyExecutions, StandbyIntake
from kopitra.domain.errors import Conflict, KopitraError, QueueFull, StoreError
from kopitra.store.ending import ended
from kopitra.store.migrate import check_schema, newest_step
from kopitra.store.pool import Database
from kopitra.store.replicas import BEAT_S, Beat, Role, beat, leave
from kopitra.store.switches import SwitchRow
from kopitra.store.wakes import INBOX_DONE, LEASE, Wakes

#: seconds that a first start waits for its sessions before it opens the door; a bad account holds up nobody longer
START_WAIT_S: Final = 10.0
#: seconds that a take-over waits for its sessions before it plans what waits: the door queues meanwhile
TAKE_OVER_WAIT_S: Final = 2.0
#: seconds between two looks at the sessions
WAIT_STEP_S: Final = 0.02
#: seconds before a take-over that failed is tried again
RETAKE_S: Final = 1.0
#: exit codes
STOPPED: Final = 0
LOST: Final = 3

_log = structlog.get_logger("kopitra.replica")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a replica is built from. `drain_s`: for what is in flight at the end."""

    identity: Identity
    supplies: Supplies
    db: Database
    broadcast: Broadcast
    drain_s: float


class Replica:
    """`stand` fills the doors, `begin` tries to be the holder at once, `run` lives until the end."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.standby = standby = Standby(parts.identity, parts.supplies, parts.broadcast)
        self._handover = HandOver(parts.db, parts.supplies.clock, parts.identity.shard)
        self.intake = StandbyIntake(standby, self._handover, parts.db)
        self.executions = StandbyExecutions(standby, self._handover)
        self.control = StandbyControl(standby, parts.db)
        self.machine: Machine | None = None
        self._doors: Doors | None = None
        self._pump: Pump | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._desk: EaDesk | None = None
        self._serving_eas: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._reason = ""  # why the lease was lost
        self._stopping = self._ran = False
        self._note = ""  # why a take-over failed
        self._schema = newest_step()
        self._switches_ns = 0
        self._newest: tuple[GatewayConfig, Sequence[SwitchRow]] | None = None
        self._config_hash = ""

    # what is told to it ------------------------------------------------------------------------------------

    async def reconfigure(self, config: GatewayConfig, switches: Sequence[SwitchRow], digest: str) -> None:
        """Take a new configuration. `digest` is what the other replicas compare theirs with."""
        self._newest, self._config_hash = (config, switches), digest
        self.standby.reconfigure(config, switches)
        if self.machine is not None:
            await self.machine.reconfigure(config, switches)

    def switches_read(self, read_ns: int) -> None:
        """The switches were the newest at `read_ns` (monotonic)."""
        self._switches_ns = read_ns
        if self.machine is not None:
            self.machine.control.switches_read(read_ns)

    def stop(self) -> None:
        """SIGTERM: signals go into the inbox from now on; `run` hands over and ends (R-087)."""
        self._stopping = True
        if self.machine is not None:
            self.machine.accepting = False
            self.machine.intake.closed = True
        self._step_back()
        self._over.set()

    def _lost(self, reason: str) -> None:
        _log.critical("lease_lost", reason=reason)
        self._reason = reason
        self._step_back()
        self._over.set()

    # the doors ---------------------------------------------------------------------------------------------

    def stand(self, doors: Doors) -> None:
        """These are our doors."""
        self._doors = doors
        self._step_back()

    def _step_back(self) -> None:
        if self._doors is not None:
            self._doors.intake, self._doors.executions, self._doors.ea = self.intake, self.executions, NoEa()
            if self.machine is None:
                self._doors.views, self._doors.control = self.standby.views, self.control
                self._doors.doubts, self._doors.repairs = NoDoubts(), NoRepairs()
                self._doors.limits = NoLimits()

    def _lead(self, machine: Machine) -> None:
        if self._doors is not None and not self._over.is_set():
            self._doors.intake, self._doors.executions = machine.intake, machine.callbacks
            self._doors.views, self._doors.control = machine.views, machine.control
            self._doors.doubts, self._doors.repairs = machine.doubts, machine.repair_desk
            self._doors.limits = machine.limits
            self._doors.ea = self._desk or NoEa()

    # its life ----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Who is alone takes the shard before its door opens; who is not knows the book before it does."""
        if await self._take():
            await self._rise(START_WAIT_S)
        else:
            with contextlib.suppress(StoreError):
                await self.standby.look()

    async def close(self) -> None:
        """Hand over if `run` has not done so: the start went wrong behind `begin`."""
        if not self._ran:
            self.stop()
            await self.run()

    async def run(self) -> int:
        """Live until `stop` or until the lease is lost; returns the exit code."""
        self._ran = True
        loop = asyncio.get_running_loop()
        beside = [loop.create_task(self._beat(), name="beat")]
        if self.machine is None:
            beside.append(loop.create_task(self._watch(), name="standby"))
        for task in beside:
            task.add_done_callback(self._failed)
        await self._over.wait()
        try:
            await ended(beside[1:])
            await ended([task for task in (self._pumping, self._serving_eas) if task is not None])
            await self._end()
        finally:
            await ended(beside)
            await self._handover.finished()
            with contextlib.suppress(StoreError):
                await leave(self._parts.db, self._parts.identity.holder)
        return LOST if self._reason else STOPPED

    async def _end(self) -> None:
        if self.machine is None:
            return
        if self._reason:
            await self.machine.fall()
        else:
            await self.machine.stop(self._parts.drain_s)

    def _failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task_failed", task=task.get_name(), error=repr(error))
            self._reason = self._reason or f"{task.get_name()} failed"
            self._over.set()

    async def _watch(self) -> None:
        """Follow the holder until the shard is ours."""
        wakes = Wakes(self._parts.db.dsn, (LEASE, INBOX_DONE))
        loop = asyncio.get_running_loop()
        due = 0.0
        try:
            while True:
                told = await wakes.wait(LOOK_S)
                self._handover.settled(int(n.payload) for n in told if n.channel == INBOX_DONE)
                if loop.time() < due and all(n.channel != LEASE for n in told):
                    continue
                due = loop.time() + LOOK_S
                if await self._look() and await self._take():
                    break
        finally:
            await wakes.close()
        await self._rise(TAKE_OVER_WAIT_S)

    async def _look(self) -> bool:
        try:
            return await self.standby.look()
        except StoreError as error:
            _log.warning("standby_waits", error=error.message)
            return False

    async def _take(self) -> bool:
        """Try to become the holder; True with a machine that is up."""
        parts, standby = self._parts, self.standby
        try:
            await check_schema(parts.db.dsn)
            self.machine = await Machine.start(
                parts.identity, parts.supplies, standby.state.config, parts.broadcast, self._lost,
                standby.surrender(),
            )  # fmt: skip
        except Conflict as busy:  # nothing has happened: another one is the holder, or this build must not be
            standby.keep()
            if busy.code != Conflict.code:
                await self._unfit(busy.message)
            return False
        except (KopitraError, OSError) as error:
            standby.forget()
            await self._unfit(error.message if isinstance(error, KopitraError) else str(error))
            return False
        standby.state.book = self.machine.state.book  # its own where the standby had none yet
        self._note = ""
        return True

    async def _unfit(self, text: str) -> None:
        """The roll call shows it; somebody may mend it, so it is tried again."""
        if text != self._note:
            _log.error("take_over_failed", error=text)
        self._note = text
        await asyncio.sleep(RETAKE_S)

    async def _rise(self, wait_s: float) -> None:
        """The machine is up: first what waits in the inbox, then the doors, so that nothing overtakes it."""
        machine, db = self.machine, self._parts.db
        if machine is None:
            return
        if self._newest is not None and self._newest[0] is not machine.state.config:
            await machine.reconfigure(*self._newest)
        machine.control.switches_read(self._switches_ns)
        await sessions_up(machine, wait_s)
        pump, desk = Pump(machine, db), EaDesk(machine, db)
        while not self._over.is_set():
            try:
                await pump.drain()
                await desk.load()
                break
            except (StoreError, QueueFull):
                await asyncio.sleep(WAIT_STEP_S)
        self._pump, self._desk = pump, desk
        self._lead(machine)
        self._pumping = asyncio.get_running_loop().create_task(pump.run(), name="inbox")
        self._serving_eas = asyncio.get_running_loop().create_task(desk.run(), name="ea sessions")
        for task in (self._pumping, self._serving_eas):
            task.add_done_callback(self._failed)
        _log.info("holder", epoch=machine.lease.epoch, dirty=machine.lease.taken.dirty)

    async def _beat(self) -> None:
        """Tell the others that we live, and what we are."""
        metrics = self._parts.supplies.metrics
        while True:
            metrics.lease_epoch.set(self.machine.lease.epoch if self.machine is not None else 0)
            with contextlib.suppress(StoreError):
                live = await beat(self._parts.db, self._said())
                if self._pump is not None:
                    self._pump.in_company = any(r.holder != self._parts.identity.holder for r in live)
            await asyncio.sleep(BEAT_S)

    def _said(self) -> Beat:
        identity, standby, machine = self._parts.identity, self.standby, self.machine
        role: Role = "stopping" if self._stopping else "standby" if machine is None else "holder"
        epoch = standby.views.epoch if machine is None else machine.lease.epoch
        note = self._reason or self._note or standby.unfit
        return Beat(
            identity.holder,
            identity.shard,
            identity.build,
            self._config_hash,
            self._schema,
            role,
            epoch,
            note,
        )


async def sessions_up(machine: Machine, wait_s: float = START_WAIT_S) -> None:
    """Wait for the sessions that come up soon; the others go on trying behind the open door."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    while True:
        await asyncio.sleep(WAIT_STEP_S)  # first: a session that has not begun is closed, too
        coming = any(s.state not in ("live", "closed") for s in machine.sessions.all.values())
        if not coming or loop.time() >= end:
            return
