"""The gateway, put together: the only place that names every concrete part."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import uvicorn
from opentelemetry.trace import Tracer
from prometheus_client import generate_latest
from starlette.types import ASGIApp

from brokers import registry
from gateway_container.api.doors import Credentials, Doors, HookGrant, KeyGrant, OperatorGrant, Served
from gateway_container.api.doors import Settings as DoorSettings
from gateway_container.app import build_app
from gateway_container.config_source import Grants, gateway_config, load_grants
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.machine import Identity, Machine, Supplies
from gateway_container.exit_writer import LocalExitFile
from gateway_container.operators import load_operators
from kopitra.clock import SystemClock
from kopitra.domain.errors import KopitraError
from kopitra.settings import Settings
from kopitra.store.catalogue import BrokerRow, publish_brokers
from kopitra.store.config import ConfigSnapshot, ConfigWatch, load_config
from kopitra.store.encoding import encode
from kopitra.store.lease import LeaseSettings
from kopitra.store.migrate import check_schema
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.sealing import FileMasterKey, Sealer, load_sealer
from kopitra.telemetry import Metrics

#: seconds that the door stays shut while the first sessions come up; a bad account holds up nobody longer
START_WAIT_S: Final = 10.0
#: seconds between two looks at the sessions while the door is shut
WAIT_STEP_S: Final = 0.02
#: seconds for requests under way after SIGTERM
REQUESTS_S: Final = 3
#: allocations between two collections of young objects: the hot path makes no cycles worth looking for often
GC_YOUNG: Final = 50_000

_log = structlog.get_logger("kopitra.gateway")


class LiveGrants(Credentials):
    """The grants of the newest configuration."""

    def __init__(self, grants: Grants) -> None:
        self.now = grants

    def key(self, key_id: str) -> KeyGrant | None:
        return self.now.key(key_id)

    def hook(self, hook_id: str) -> HookGrant | None:
        return self.now.hook(hook_id)

    def operator(self, key_id: str) -> OperatorGrant | None:
        return self.now.operator(key_id)


@dataclass(frozen=True, slots=True)
class Stores:
    """What is read from the database at start and again at every change."""

    settings: Settings
    dsn: str
    db: Database

    async def read(self) -> tuple[ConfigSnapshot, Sealer, Grants]:
        """Snapshot, opened keys, grants."""
        sealer = await load_sealer(self.db, FileMasterKey(self.settings.key_path))
        snapshot = await load_config(self.db)
        operators = load_operators(self.settings.data_dir / "operators.json")
        return snapshot, sealer, load_grants(snapshot, sealer, operators)


async def serve(settings: Settings, dsn: str, ready: Callable[[str, int, int], None]) -> int:
    """Run the gateway until SIGTERM or SIGINT; returns the exit code. `ready(host, port, live sessions)`."""
    await check_schema(dsn)
    async with Database(dsn, "kopitra gateway") as db, _machine(settings, dsn, db) as (machine, app, lost):
        sockets = [listen(settings.host, settings.port)]
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="websockets-sansio",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=REQUESTS_S,
        )
        server = uvicorn.Server(config)
        _on_stop(server, machine)
        lost.append(lambda reason: setattr(server, "should_exit", True))
        await sessions_up(machine)
        tame_collector()
        host, port = sockets[0].getsockname()[:2]
        live = sum(s.state == "live" for s in machine.sessions.all.values())
        asyncio.get_running_loop().call_soon(ready, host, port, live)
        await server.serve(sockets)
        return 0 if machine.lease.valid else 3


@asynccontextmanager
async def _machine(
    settings: Settings, dsn: str, db: Database
) -> AsyncGenerator[tuple[Machine, ASGIApp, list[Callable[[str], None]]]]:
    adapters = registry()
    metrics, clock = Metrics(), SystemClock()
    rows = [
        BrokerRow(code, a.title, encode(a.capabilities), encode(a.credential_schema), clock.now())
        for code, a in adapters.items()
    ]
    await publish_brokers(db, rows)
    stores = Stores(settings, dsn, db)
    snapshot, sealer, grants = await stores.read()
    holder = settings.holder or f"{socket.gethostname()}-{os.getpid()}"
    shelf = PostgresShelf(db)
    broadcast = Broadcast(shelf, settings.shard)
    lost: list[Callable[[str], None]] = []
    machine = await Machine.start(
        Identity(settings.shard, holder, settings.build),
        Supplies(
            shelf,
            clock,
            adapters,
            metrics,
            _tracer(settings),
            LeaseSettings(exit_grace_s=settings.exit_grace_s),
            LocalExitFile(settings.data_dir, settings.shard),
        ),
        gateway_config(snapshot, sealer),
        broadcast,
        lambda reason: _lease_lost(reason, lost),
    )
    live = LiveGrants(grants)
    doors = Doors(
        clock=clock,
        credentials=live,
        intake=machine.intake,
        executions=machine.callbacks,
        views=machine.views,
        control=machine.control,
        broadcast=broadcast,
        metrics=lambda: generate_latest(metrics.registry),
        settings=DoorSettings(trust_proxy=settings.trusted_proxies > 0),
        observe=_observer(metrics),
    )
    watching = asyncio.get_running_loop().create_task(_follow(stores, machine, live), name="config watch")
    try:
        yield machine, build_app(doors), lost
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await machine.stop(settings.drain_s)


def _lease_lost(reason: str, listeners: list[Callable[[str], None]]) -> None:
    _log.critical("lease_lost", reason=reason)
    for listener in listeners:
        listener(reason)


async def _follow(stores: Stores, machine: Machine, live: LiveGrants) -> None:
    """Take every change of the configuration."""
    watch = ConfigWatch(stores.dsn, machine.state.clock, on_current=machine.control.switches_read)
    try:
        while True:
            await watch.following()
            try:
                snapshot, sealer, live.now = await stores.read()
                await machine.reconfigure(gateway_config(snapshot, sealer), snapshot.switches)
                machine.control.switches_read(watch.read_ns)
            except (KopitraError, OSError) as error:
                _log.error("configuration_not_taken", error=str(error))
                watch.again()
    finally:
        await watch.close()


async def sessions_up(machine: Machine) -> None:
    """Wait for the sessions that come up soon; the others go on trying behind the open door."""
    loop = asyncio.get_running_loop()
    end = loop.time() + START_WAIT_S
    while True:
        await asyncio.sleep(WAIT_STEP_S)  # first: a session that has not begun is closed, too
        coming = any(s.state not in ("live", "closed") for s in machine.sessions.all.values())
        if not coming or loop.time() >= end:
            return


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that answers without waiting for more bytes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener


def _on_stop(server: uvicorn.Server, machine: Machine) -> None:
    """SIGTERM: refuse new signals at once, then let uvicorn end what is under way (R-087)."""

    def stop() -> None:
        machine.accepting = False
        machine.intake.closed = True
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]


def _observer(metrics: Metrics) -> Callable[[Served], None]:
    """Counts and logs a request in the turn after its answer: a turn's writes leave when the turn ends."""
    loop = asyncio.get_running_loop()
    log = _log.bind()  # once: the module's logger makes a new one for every line

    def observe(served: Served) -> None:
        metrics.requests.labels(served.route, str(served.status)).inc()
        if served.status >= 500:
            log.error("request", **_fields(served))
        elif served.status >= 400:
            log.warning("request", **_fields(served))
        else:
            log.info("request", **_fields(served))

    def soon(served: Served) -> None:
        loop.call_soon(observe, served)

    return soon


def _fields(served: Served) -> dict[str, object]:
    return {
        "route": served.route,
        "method": served.method,
        "status": served.status,
        "code": served.code,
        "requestId": served.request_id,
        "workspace": served.workspace,
        "principal": served.principal,
        "signalId": served.signal_id,
        "took_us": served.took_ns // 1000,
    }


def _tracer(settings: Settings) -> Tracer | None:
    if not settings.otlp_endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "kopitra-gateway"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    return provider.get_tracer("kopitra")


def tame_collector() -> None:
    """What is alive now stays alive: it is never looked at again, and new objects are looked at rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 100)
