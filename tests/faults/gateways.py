"""Gateway processes over one store: started, killed, paused, replaced, as an orchestrator and a bad day would.

A process is the whole gateway as `compose.py` puts it together, door included, without sockets. Its way to the store
and its disk are its own; both end with it. What left a process before its death still arrives.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from starlette.types import ASGIApp

from gateway_container.api.doors import Credentials, Doors, HookGrant, KeyGrant, OperatorGrant
from gateway_container.app import build_app
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.machine import Identity, Machine, Supplies, Warm
from kopitra.domain.errors import Conflict, StoreError
from kopitra.ports import EventSink
from kopitra.store.lease import LeaseSettings
from kopitra.store.switches import SwitchRow
from kopitra.telemetry import Metrics
from tests.faults.memory_store import MemoryShelf, MemoryStore
from tests.faults.memory_wire import Connection, OnDown, Request, Weather, Wire
from tests.faults.rude_adapter import RudeAdapter
from tests.faults.rude_broker import WORLD, RudeBroker
from tests.faults.rude_session import Writer
from tests.faults.virtual_loop import Process, VirtualClock, VirtualLoop

SHARD: Final = "main"
#: seconds between two tries to take the shard, and for a drain
TAKE_AGAIN_S: Final = 0.3
DRAIN_S: Final = 2.0
#: seconds between two looks at the table of switches
SWITCHES_S: Final = 0.25
START: Final = datetime(2026, 11, 18, 15, 0, tzinfo=UTC)


class WorldWire(Wire):
    """A process's way to the store. What is under way belongs to the world; what arrives belongs to the process."""

    def __init__(self, store: MemoryStore, weather: Weather, process: Process) -> None:
        super().__init__(store._serve, lambda made: store._connections.append(made), weather)
        self._process = process

    def connect(self, name: str, on_down: OnDown) -> Connection:
        loop = asyncio.get_running_loop()
        context = self._process.context
        return super().connect(name, lambda why: _ignore(loop.call_soon(on_down, why, context=context)))

    def _after(self, delay_s: float, then: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, then, context=WORLD.context)

    def _deliver(self, request: Request, result: object) -> None:
        arrive = super()._deliver
        asyncio.get_running_loop().call_soon(arrive, request, result, context=self._process.context)


def _ignore(_handle: object) -> None:
    """A callback that returns nothing."""


@dataclass(slots=True)
class Disk:
    """`ExitFile` in memory. It survives its process; the last write may be torn by the death of it."""

    data: bytes = b""
    aside: list[bytes] = field(default_factory=list[bytes])

    def append(self, frame: bytes) -> "asyncio.Future[bool]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        loop.call_later(0.002, self._written, frame, future)
        return future

    def _written(self, frame: bytes, future: "asyncio.Future[bool]") -> None:
        self.data += frame
        if not future.done():
            future.set_result(True)

    async def load(self) -> bytes:
        return self.data

    async def clear(self) -> None:
        self.data = b""

    async def copy_aside(self, label: str) -> str:
        self.aside.append(self.data)
        return label


class Keyring(Credentials):
    """The grants of the only workspace."""

    def __init__(self, keys: Mapping[str, KeyGrant], operators: Mapping[str, OperatorGrant]) -> None:
        self._keys, self._operators = keys, operators

    def key(self, key_id: str) -> KeyGrant | None:
        return self._keys.get(key_id)

    def hook(self, hook_id: str) -> HookGrant | None:
        del hook_id

    def operator(self, key_id: str) -> OperatorGrant | None:
        return self._operators.get(key_id)


@dataclass(frozen=True, slots=True)
class Site:
    """What every process of one world is built on."""

    loop: VirtualLoop
    store: MemoryStore
    brokers: tuple[RudeBroker, ...]
    config: GatewayConfig
    keyring: Keyring
    weather: Callable[[], Weather]
    lease: LeaseSettings


class Gateway:
    """One process, from its start to its end."""

    def __init__(
        self, site: Site, name: str, disk: Disk, skew_s: float, on_over: Callable[["Gateway"], None]
    ) -> None:
        self.name = name
        self.site = site
        self.disk = disk
        self.process = Process(name)
        self.clock = VirtualClock(site.loop, START, boot_ns=(hash_of(name) % 1_000 + 1) * 1_000_000_000)
        self.clock.skew_s = skew_s
        self.wire = WorldWire(site.store, site.weather(), self.process)
        self.machine: Machine | None = None
        self.app: ASGIApp | None = None
        self.over = False
        self._on_over = on_over
        self._told: asyncio.Event = asyncio.Event()

    def launch(self) -> None:
        """Begin."""
        self.site.loop.create_task(self._life(), name=self.name, context=self.process.context)

    @property
    def serves(self) -> bool:
        """Its door is open."""
        return self.app is not None and self.process.alive and not self.over

    def stop(self) -> None:
        """SIGTERM."""
        self.site.loop.call_soon(self._stop, context=self.process.context)

    def _stop(self, _reason: str = "") -> None:
        if self.machine is not None:
            self.machine.accepting = False
            self.machine.intake.closed = True
        self._told.set()

    def kill(self) -> None:
        """SIGKILL: between two steps, without a word."""
        self.process.alive = False
        self.wire.crash()
        for broker in self.site.brokers:
            for line in broker.all_lines():
                if line.ear.process is self.process:
                    broker.disconnect(line)
        self.over = True

    async def _life(self) -> None:
        machine = await self._take()
        if machine is not None:
            self.machine = machine
            self.app = self._door(machine)
            watching = self.site.loop.create_task(self._watch(machine))
            await self._told.wait()
            watching.cancel()
            await machine.stop(DRAIN_S)
        self.over = True
        self._on_over(self)

    async def _watch(self, machine: Machine) -> None:
        """Follow the switches in the table, as the composition root does: other processes set them too (R-091)."""
        while True:
            await asyncio.sleep(SWITCHES_S)
            if self._reaches_store:
                machine.control.switches_read(self.clock.monotonic_ns())
                await machine.reconfigure(self.site.config, self._switches())

    @property
    def _reaches_store(self) -> bool:
        return self.wire.is_up and not self.wire.lose_answers and self.site.store.is_up

    def _switches(self) -> list[SwitchRow]:
        return list(self.site.store.tables.switches.values())

    async def _take(self) -> Machine | None:
        """Wait for the shard; None when told to stop before that."""
        writer = Writer(self.process, _epoch_of)
        adapters = {broker.code: RudeAdapter(broker, writer) for broker in self.site.brokers}
        shelf = MemoryShelf(self.site.store, self.wire)
        supplies = Supplies(
            shelf,
            self.clock,
            adapters,
            Metrics(),
            lease_settings=self.site.lease,
            exits=self.disk,
        )
        identity = Identity(SHARD, self.name, "simulated")
        self.broadcast = Broadcast(shelf, SHARD)
        while not self._told.is_set():
            try:
                warm = Warm(None, self._switches() if self._reaches_store else ())
                config = self.site.config
                return await Machine.start(identity, supplies, config, self.broadcast, self._stop, warm)
            except (Conflict, StoreError, TimeoutError):
                await asyncio.sleep(TAKE_AGAIN_S)
        return None

    def _door(self, machine: Machine) -> ASGIApp:
        return build_app(
            Doors(
                clock=self.clock,
                credentials=self.site.keyring,
                intake=machine.intake,
                executions=machine.callbacks,
                views=machine.views,
                control=machine.control,
                broadcast=self.broadcast,
                metrics=bytes,
            )
        )


def _epoch_of(sink: EventSink) -> int:
    """The epoch under which the engine behind a sink writes: for the checkers only (I-11)."""
    machine: object = getattr(sink, "__self__", None)
    return machine.lease.epoch if isinstance(machine, Machine) else 0


def hash_of(name: str) -> int:
    """The same number in every run; Python's own hash is not."""
    return Random(name).getrandbits(30)
