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
from gateway_container.config_source import Grants, config_digest, gateway_config, load_grants
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.machine import Identity, Supplies
from gateway_container.exit_writer import LocalExitFile
from gateway_container.operators import OperatorsFile
from gateway_container.replica import Parts, Replica
from gateway_container.snapshot_process import SnapshotProcess, environment_of
from kopitra.clock import SystemClock
from kopitra.domain.errors import KopitraError
from kopitra.ports import Clock
from kopitra.settings import Settings
from kopitra.store.catalogue import BrokerRow, publish_brokers
from kopitra.store.config import ConfigSnapshot, ConfigWatch, load_config
from kopitra.store.encoding import encode
from kopitra.store.ending import ended
from kopitra.store.lease import LeaseSettings
from kopitra.store.migrate import check_schema
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.sealing import FileMasterKey, Sealer, load_sealer
from kopitra.telemetry import Metrics

#: seconds for requests under way after SIGTERM
REQUESTS_S: Final = 3
#: seconds that an idle connection stays: longer than an ingress keeps it (Azure's 240 [unconfirmed]), because the
#: signal that meets a close on its way is a reset for its sender
KEEP_ALIVE_S: Final = 300
#: allocations between two collections of young objects: the hot path makes no cycles worth looking for often
GC_YOUNG: Final = 50_000

#: seconds before a configuration that could not be taken is read again
CONFIG_AGAIN_S: Final = 0.5

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
    operators: OperatorsFile

    async def read(self) -> tuple[ConfigSnapshot, Sealer, Grants]:
        """Snapshot, opened keys, grants."""
        sealer = await load_sealer(self.db, FileMasterKey(self.settings.key_path))
        snapshot = await load_config(self.db)
        return snapshot, sealer, load_grants(snapshot, sealer, self.operators.read())


async def serve(settings: Settings, dsn: str, ready: Callable[[str, int, int], None]) -> int:
    """Run the gateway until SIGTERM or SIGINT; returns the exit code. `ready(host, port, live sessions)`."""
    await check_schema(dsn)
    async with Database(dsn, "kopitra gateway") as db, _replica(settings, dsn, db) as (replica, app):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, replica.stop)
        await replica.begin()
        tame_collector()
        sockets = [listen(settings.host, settings.port)]
        server = uvicorn.Server(_config(app))
        server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
        serving = loop.create_task(server.serve(sockets), name="doors")
        serving.add_done_callback(lambda _done: replica.stop())
        while not (server.started or serving.done()):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        machine = replica.machine
        live = 0 if machine is None else sum(s.state == "live" for s in machine.sessions.all.values())
        host, port = sockets[0].getsockname()[:2]
        ready(host, port, live)
        # The door queues for the successor while we hand over; it closes last.
        code = await replica.run()
        server.should_exit = True
        await serving
        return code


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
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
        timeout_keep_alive=KEEP_ALIVE_S,
    )


@asynccontextmanager
async def _replica(settings: Settings, dsn: str, db: Database) -> AsyncGenerator[tuple[Replica, ASGIApp]]:
    adapters = registry()
    metrics, clock = Metrics(), SystemClock()
    rows = [
        BrokerRow(code, a.title, encode(a.capabilities), encode(a.credential_schema), clock.now())
        for code, a in adapters.items()
    ]
    await publish_brokers(db, rows)
    holder = settings.holder or f"{socket.gethostname()}-{os.getpid()}"
    shelf = PostgresShelf(db)
    broadcast = Broadcast(shelf, settings.shard)
    supplies = Supplies(
        shelf,
        clock,
        adapters,
        metrics,
        _tracer(settings),
        LeaseSettings.of(settings.lease_ttl_s, settings.exit_grace_s),
        LocalExitFile(settings.data_dir, settings.shard),
        canary=settings.canary,
        make_snapshot=SnapshotProcess(environment_of(settings, dsn)).make,
    )
    identity = Identity(settings.shard, holder, settings.build)
    replica = Replica(Parts(identity, supplies, db, broadcast, settings.drain_s))
    stores = Stores(settings, dsn, db, OperatorsFile(settings.data_dir / "operators.json"))
    read_ns = clock.monotonic_ns()
    snapshot, sealer, grants = await stores.read()
    await replica.reconfigure(gateway_config(snapshot, sealer), snapshot.switches, config_digest(snapshot))
    replica.switches_read(read_ns)
    live = LiveGrants(grants)
    doors = Doors(
        clock=clock,
        credentials=live,
        intake=replica.intake,
        executions=replica.executions,
        views=replica.standby.views,
        control=replica.control,
        broadcast=broadcast,
        metrics=lambda: generate_latest(metrics.registry),
        settings=DoorSettings(trust_proxy=settings.trusted_proxies > 0),
        observe=_observer(metrics),
    )
    replica.stand(doors)
    watching = asyncio.get_running_loop().create_task(
        follow_config(stores, replica, live, clock), name="config watch"
    )
    try:
        yield replica, build_app(doors)
    finally:
        await ended([watching])
        await replica.close()


async def follow_config(stores: Stores, replica: Replica, live: LiveGrants, clock: Clock) -> None:
    """Take every change of the configuration."""

    def current(read_ns: int) -> None:
        replica.switches_read(read_ns)
        if stores.operators.mended():
            watch.again()

    watch = ConfigWatch(stores.dsn, clock, on_current=current)
    try:
        while True:
            try:
                await watch.following()
                snapshot, sealer, live.now = await stores.read()
                config = gateway_config(snapshot, sealer)
                await replica.reconfigure(config, snapshot.switches, config_digest(snapshot))
                replica.switches_read(watch.read_ns)
            except Exception as error:  # noqa: BLE001 - a watch that ended would hear of no switch any more (R-093)
                told = error.message if isinstance(error, KopitraError) else repr(error)
                _log.error("configuration_not_taken", error=told)
                watch.again()
                await asyncio.sleep(CONFIG_AGAIN_S)
    finally:
        await watch.close()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that answers without waiting for more bytes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener


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
