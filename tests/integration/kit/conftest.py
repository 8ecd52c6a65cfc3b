"""A scripted broker on a real loopback socket, and settings that let the tests wait for conditions only."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import pytest
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,  # pyright: ignore[reportUnknownVariableType]
)

from brokers._kit.order_http import OrderHttpPool, PoolSettings

Script = Callable[["Peer"], Awaitable[None]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops for the transports: uvloop serves in production, and writes at other moments."""
    if item.path.name.startswith("test_sim"):
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass(slots=True)
class Peer:
    """The server's side of one accepted connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    server: "ScriptedServer"

    async def request(self) -> bytes:
        """Head and body of the next request; counted before it is returned."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        request = head + await self.reader.readexactly(length)
        self.server.requests.append(request)
        return request

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Until the client has hung up."""
        await self.reader.read(1)

    def hang_up(self) -> None:
        self.writer.close()


@dataclass(slots=True)
class ScriptedServer:
    port: int = 0
    requests: list[bytes] = field(default_factory=list[bytes])
    accepted: int = 0
    script: Script | None = None

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        peer = Peer(reader, writer, self.accepted, self)
        assert self.script is not None
        try:
            await self.script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up: the test looks at what was counted
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    listener = await asyncio.start_server(scripted.on_connection, "127.0.0.1", 0)
    scripted.port = listener.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        listener.close()


class Wire(WSListener):
    """The server's side: what it heard, and hands to misbehave with."""

    def __init__(self, server: "WireServer") -> None:
        self.server = server
        self.heard: list[bytes] = []
        self.pongs = 0
        self.on_ping: Callable[[Wire, bytes], object] | None = None  # None: pings are not answered
        self.closed_with: int | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.server.wires.append(self)
        if self.server.greet is not None:
            self.server.greet(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.heard.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PONG:
            self.pongs += 1
        elif frame.msg_type == WSMsgType.PING:
            if self.on_ping is not None:
                self.on_ping(self, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.closed_with = int.from_bytes(frame.get_payload_as_bytes()[:2])
            transport.disconnect()

    def say(self, text: bytes, *, fin: bool = True, kind: WSMsgType = WSMsgType.TEXT) -> None:
        self.transport.send(kind, text, fin=fin)

    def raw(self, data: bytes) -> None:
        self.transport.underlying_transport.write(data)


class WireServer:
    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.greet: Callable[[Wire], None] | None = None
        self.refuse: WSUpgradeResponse | None = None
        self.requests: list[WSUpgradeRequest] = []
        self.port = 0

    def on_request(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        self.requests.append(request)
        if self.refuse is not None:
            return WSUpgradeResponseWithListener(self.refuse, None)
        return Wire(self)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/hub?access_token=t"


@pytest.fixture
async def wires() -> AsyncIterator[WireServer]:
    server = WireServer()
    listener = await ws_create_server(server.on_request, "127.0.0.1", 0, enable_auto_pong=False)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    for wire in server.wires:
        wire.transport.disconnect(graceful=False)
    await asyncio.gather(*(wire.transport.wait_disconnected() for wire in server.wires))


@pytest.fixture
async def pools(server: ScriptedServer) -> AsyncIterator[Callable[[PoolSettings], Awaitable[OrderHttpPool]]]:
    """Opens pools to the scripted server, waits until all links are up, and closes them afterwards."""
    made: list[OrderHttpPool] = []

    async def open_pool(settings: PoolSettings) -> OrderHttpPool:
        pool = OrderHttpPool(
            "127.0.0.1", server.port, None, clock_ns=time.monotonic_ns, rng=Random(1), settings=settings
        )
        made.append(pool)
        pool.start()
        async with asyncio.timeout(5):
            await pool.ready(settings.links)
        return pool

    yield open_pool
    for pool in made:
        await pool.close(drain_s=0)


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Yield to the loop until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    return until
