"""A console's WebSocket over bare ASGI."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Scope

Frame = dict[str, object]


class Console:
    """One connection: what the server sent, and what this side says."""

    def __init__(self) -> None:
        self.outgoing: asyncio.Queue[Message] = asyncio.Queue(maxsize=2_000)
        self.sent: asyncio.Queue[Message] = asyncio.Queue(maxsize=2_000)

    async def next(self) -> Message:
        return await asyncio.wait_for(self.sent.get(), 5)

    async def frame(self) -> Frame:
        message = await self.next()
        assert message["type"] == "websocket.send", message
        loaded: Frame = json.loads(message["text"])
        return loaded

    async def entries(self) -> list[Frame]:
        frame = await self.frame()
        assert frame["type"] == "entries"
        loaded: list[Frame] = json.loads(json.dumps(frame["entries"]))
        return loaded

    async def leave(self) -> None:
        await self.outgoing.put({"type": "websocket.disconnect", "code": 1000})

    async def say(self, text: str) -> None:
        await self.outgoing.put({"type": "websocket.receive", "text": text})


@asynccontextmanager
async def connect(
    app: ASGIApp, query: str, headers: tuple[tuple[str, str], ...] = (), path: str = "/ops/v1/stream"
) -> AsyncGenerator[Console]:
    """Open a WebSocket; at the end the server must come to its own end."""
    console = Console()
    scope: Scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"gateway"), *((n.encode(), v.encode()) for n, v in headers)],
        "client": ("127.0.0.1", 40000),
        "subprotocols": [],
        "state": {},
    }
    await console.outgoing.put({"type": "websocket.connect"})
    server = asyncio.ensure_future(app(scope, console.outgoing.get, console.sent.put))
    try:
        yield console
        await console.leave()
        await asyncio.wait_for(server, 5)
    finally:
        server.cancel()
