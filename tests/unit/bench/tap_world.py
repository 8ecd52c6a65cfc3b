"""A gateway and a simulator small enough to be read, around a real tap."""

import asyncio
import struct
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from bench.tap import Face, Load, Reading, Tap

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
TEMPLATE = """POST /signals HTTP/1.1
Host: gateway
Idempotency-Key: key-@ID@
Content-Length: @LEN@

{"signalId":"@ID@","occurredAt":"@NOW@"}
"""
UPGRADE = (
    b"GET /v1/websocket HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: eA==\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
HTTP_CARD = """# a broker whose orders are HTTP requests
order-path /api/Order/place
http-answer {"orderId":@ORDER@,"success":true}
account-key "accountId":
"""
FRAME_CARD = """# a broker whose orders are socket messages of several lines
order-path /order/placeorder
http-answer {"orderId":@ORDER@}
socket-path /websocket
order-frame order/placeorder
order-frame order/placeoso
frame-answer a[{"s":200,"i":@REQUEST@,"d":{"orderId":@ORDER@}}]
account-key "accountId":
"""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OnSignal = Callable[[str], Awaitable[bytes]]


def client_frame(text: str, opcode: int = 1) -> bytes:
    """A masked frame, as RFC 6455 asks of clients."""
    mask, body = b"\x11\x22\x33\x44", text.encode()
    size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + struct.pack(">H", len(body))
    return bytes([0x80 | opcode]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(body))


def server_frame(text: str) -> bytes:
    body = text.encode()
    size = bytes([len(body)]) if len(body) < 126 else b"\x7e" + struct.pack(">H", len(body))
    return b"\x81" + size + body


def order_frame(request: int, *, route: str = "order/placeorder", note: str = "") -> bytes:
    return client_frame(f'{route}\n{request}\n\n{{"accountId":1,"orderQty":1,"text":"{note}"}}')


def http_request(path: str, body: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: broker\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def http_order(account: int = 1) -> bytes:
    return http_request("/api/Order/place", f'{{"accountId":{account},"size":1}}')


async def read_frame(reader: asyncio.StreamReader) -> str:
    """The text of one frame, masked or not."""
    head = await reader.readexactly(2)
    size, mask = head[1] & 0x7F, b"\0\0\0\0"
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    if head[1] & 0x80:
        mask = await reader.readexactly(4)
    body = await reader.readexactly(size)
    return bytes(b ^ mask[i % 4] for i, b in enumerate(body)).decode()


async def read_http(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Head and body of one message."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length")]
    body = await reader.readexactly(int(lengths[0]) if lengths else 0)
    return head, body.decode()


@asynccontextmanager
async def server(serve: Serve) -> AsyncGenerator[int]:
    """A loopback server for the length of the block; yields its port."""

    serving: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionResetError):
                await serve(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(handle(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@asynccontextmanager
async def gateway(on_signal: OnSignal) -> AsyncGenerator[int]:
    """Hands each signal's body to `on_signal` and answers with what it returns."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _head, body = await read_http(reader)
            writer.write(await on_signal(body))

    async with server(serve) as port:
        yield port


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


@contextmanager
def tap_to(card: str, simulator: int = 0, *, pass_through: bool = False) -> Generator[Tap]:
    """A tap with one face, and a simulator at that port behind it (0: none)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "order.wire"
        path.write_text(card)
        tap = Tap([Face(path, simulator)], pass_through=pass_through, name="tap-test")
    try:
        yield tap
    finally:
        tap.stop()


async def run(tap: Tap, port: int, template: Path, load: Load) -> Reading:
    """The reading, while this loop goes on serving."""
    return await asyncio.to_thread(tap.run, port, [template], load, 1)
