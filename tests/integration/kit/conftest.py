"""A scripted broker on a real loopback socket, and settings that let the tests wait for conditions only."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest
import uvloop

Script = Callable[["Peer"], Awaitable[None]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: uvloop serves in production, and differs in when it writes and tells of a hang-up."""
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


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Yield to the loop until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.001)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    return until
